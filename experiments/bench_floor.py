"""The fewest bytes that decoding must move, whatever the program."""

from collections.abc import Sequence

from datachef_jax.models.qwen3.config import Qwen3Config


def step_bytes(sizes: Qwen3Config, *, itemsize: int) -> tuple[int, int]:
    """Returns what a step reads once, and what one more token of context adds.

    Args:
      sizes: Of the model.
      itemsize: Bytes of a number, in weights and in the cache.

    Returns:
      Bytes of the weights that a decoding step multiplies with, which are all but the
      embedding of a model that has a head beside it (only some rows of that are
      looked up), and bytes of a token's keys and values in all layers.
    """
    queries = sizes.num_heads * sizes.head_dim
    keys = sizes.num_kv_heads * sizes.head_dim
    norms = 2 * sizes.hidden_size + (2 * sizes.head_dim if sizes.qk_norm else 0)
    layer = (
        2 * sizes.hidden_size * (queries + keys)
        + 3 * sizes.hidden_size * sizes.intermediate_size
        + norms
    )
    head = sizes.vocab_size * sizes.hidden_size
    weights = sizes.num_layers * layer + sizes.hidden_size + head
    return weights * itemsize, 2 * sizes.num_layers * keys * itemsize


def decode_bytes(
    prompt_tokens: Sequence[int],
    new_tokens: Sequence[int],
    *,
    slots: int,
    weight_bytes: int,
    token_bytes: int,
) -> int:
    """Returns the bytes of ideal continuous batching.

    Each step gives every live row one token; a slot whose row has ended has the next
    row in the step after. A step reads all weights once, and of each live row the
    keys and values of the tokens before the new one once. Prompts are read in the
    steps of their first tokens and cost nothing of their own; nothing is counted
    for writing. Prompts that rows share are read once for each row.

    Args:
      prompt_tokens: Of each row, in the order in which they start.
      new_tokens: Of each row, at least one.
      slots: Rows that are live at a time.
      weight_bytes: Of all weights that a step reads.
      token_bytes: Of one token's keys and values.
    """
    free = [0] * min(slots, len(new_tokens))  # for each slot the step when it is free
    context = 0
    for prompt, new in zip(prompt_tokens, new_tokens, strict=True):
        slot = free.index(min(free))
        free[slot] += new
        # prompt, prompt + 1, ..., prompt + new - 1 tokens come before the new ones.
        context += new * prompt + new * (new - 1) // 2
    return max(free) * weight_bytes + context * token_bytes
