"""What the mini policy reads before GRPO: prompts with recipes for them."""

from collections.abc import Sequence

import numpy as np

from datachef_jax.finetune import packing
from datachef_jax.recipes import grammar
from datachef_jax.recipes import parse
from datachef_jax.tasks import augment
from datachef_jax.tasks.mini import rename
from datachef_jax.text import prompts
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.types import Task


def tokenize(
    prompt: Sequence[dict[str, str]],
    completion: str,
    tokenizer: ChatTokenizer,
    *,
    max_tokens: int,
) -> packing.TokenExample:
    """Tokenizes a prompt with its completion, which is what is to be learned.

    Raises:
      ValueError: If it is longer than `max_tokens`.
    """
    messages = [*prompt, {"role": "assistant", "content": completion}]
    row = {"dialogs": messages}
    example = packing.tokenize_row(
        row, tokenizer, max_tokens=max_tokens + 1, max_targets=max_tokens
    )
    if len(example.tokens) > max_tokens:
        raise ValueError(f"demonstration of more than {max_tokens} tokens")
    return example


def random_recipes(
    tasks: Sequence[Task],
    tokenizer: ChatTokenizer,
    *,
    style: prompts.PromptStyle,
    count: int,
    min_sources: int,
    max_sources: int,
    topics_share: float,
    max_tokens: int,
    seed: int,
) -> list[packing.TokenExample]:
    """Returns random recipes of every degree of care, with all names drawn anew.

    They teach the format and to copy names from the prompt, not which choices pay.

    Args:
      tasks: Tasks whose sources the recipes use.
      tokenizer: Of the policy.
      style: Of the prompts.
      count: How many.
      min_sources: Fewest sources in a prompt.
      max_sources: Most sources in a prompt.
      topics_share: Share of the prompts that are retold about other topics.
      max_tokens: Of prompt and recipe together.
      seed: Fixes them all.
    """
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        task = tasks[rng.integers(len(tasks))]
        task = augment.subset(task, rng, smallest=min_sources, largest=max_sources)
        recipe = grammar.sample(task, rng, care=float(rng.random()))
        replace = rename.renamer(rng, topics=bool(rng.random() < topics_share))
        prompt = [
            {"role": message["role"], "content": replace(message["content"])}
            for message in prompts.policy_messages(task, style)
        ]
        completion = replace(parse.render(recipe))
        examples.append(tokenize(prompt, completion, tokenizer, max_tokens=max_tokens))
    return examples
