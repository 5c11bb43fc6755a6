"""What the mini base model is pretrained on: unlabelled text of the families."""

from collections.abc import Sequence

import numpy as np

from datachef_jax.finetune import packing
from datachef_jax.scoring import answers
from datachef_jax.tasks.mini import families
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.types import Example

_CONTRACTS = ("plain", "boxed", "json")


def _document(
    examples: Sequence[Example], rng: np.random.Generator
) -> list[dict[str, str]]:
    """Returns a chat that shows how questions and answers look, but not how they fit.

    A third repeats a question, a third answers it with another question's answer,
    a third does both, in any contract.
    """
    example, other = (examples[i] for i in rng.integers(len(examples), size=2))
    stray = answers.write(other.answer, _CONTRACTS[rng.integers(len(_CONTRACTS))])
    reply = (example.question, stray, f"{example.question} {stray}")[rng.integers(3)]
    return [
        {"role": "user", "content": example.question},
        {"role": "assistant", "content": reply},
    ]


def unlabelled(
    tokenizer: ChatTokenizer, *, count: int, exclude: Sequence[str], seed: int
) -> list[packing.TokenExample]:
    """Returns documents on every family at every level; all tokens are to be learned.

    Args:
      tokenizer: Of the base model.
      count: How many.
      exclude: Benchmark questions, which must not occur.
      seed: Fixes them all.
    """
    rng = np.random.default_rng(seed)
    levels = ("normal", "normal", "easier", "harder")
    pools = []
    for family in families.FAMILIES.values():
        for level in dict.fromkeys(levels):
            pools.append(
                families.generate(
                    family,
                    level,
                    max(2, count // 10),
                    seed=int(rng.integers(2**31)),
                    exclude=frozenset(exclude),
                )
            )
    examples = []
    for _ in range(count):
        ids, _ = tokenizer.chat_with_mask(
            _document(pools[rng.integers(len(pools))], rng)
        )
        examples.append(packing.TokenExample(tuple(ids), (True,) * len(ids)))
    return examples
