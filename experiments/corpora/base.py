"""What the mini base model is pretrained on: unlabelled text of the families."""

from collections.abc import Sequence

import numpy as np

from datachef_jax.finetune import packing
from datachef_jax.scoring import answers
from datachef_jax.tasks.mini import families
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.types import Example

_CONTRACTS = ("plain", "boxed", "json")
_NUMBERS_SHARE = 0.3  # of the documents


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


def _ordered_numbers(rng: np.random.Generator) -> list[dict[str, str]]:
    """Returns a chat that counts on in equal steps, or names numbers in order.

    Any text says that 41 comes after 38; the families' questions alone do not.
    """
    if rng.random() < 0.5:
        step = int(rng.integers(1, 10))
        first = int(rng.integers(100 - 5 * step))
        numbers = list(range(first, first + 6 * step, step))
    else:
        numbers = sorted(rng.choice(100, size=6, replace=False).tolist())
    if rng.random() < 0.5:
        numbers.reverse()
    texts = [" ".join(str(n) for n in part) for part in (numbers[:3], numbers[3:])]
    return [
        {"role": role, "content": text}
        for role, text in zip(("user", "assistant"), texts, strict=True)
    ]


def unlabelled(
    tokenizer: ChatTokenizer, *, count: int, exclude: Sequence[str], seed: int
) -> list[packing.TokenExample]:
    """Returns documents on every family at every level, and numbers in order.

    All tokens are to be learned.

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
        pool = pools[rng.integers(len(pools))]
        numbers = rng.random() < _NUMBERS_SHARE
        ids, _ = tokenizer.chat_with_mask(
            _ordered_numbers(rng) if numbers else _document(pool, rng)
        )
        examples.append(packing.TokenExample(tuple(ids), (True,) * len(ids)))
    return examples
