"""From sampled completions to the arrays of an update."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Bool
import numpy as np

from datachef_jax import types


def assemble(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[types.Completion],
    valid: Bool[np.ndarray, "prompts group"],
    *,
    time: int,
    pad_id: int,
) -> types.RolloutBatch:
    """Lays prompts and completions out in rows of one fixed length.

    Args:
      prompts: Ids of each prompt.
      completions: Of all prompts, prompt-major.
      valid: False for completions without a reward. Their rows get an empty
        completion mask: neither the loss, the KL nor any metric sees them.
      time: Length of the rows: longest prompt and longest completion together.
      pad_id: Fills the rows.

    Returns:
      The batch, its advantages still 0.

    Raises:
      ValueError: If a row is longer than `time`, or completions are missing.
    """
    shape = (valid.size, time)
    group = valid.shape[1]
    if (len(prompts), len(completions)) != (valid.shape[0], valid.size):
        raise ValueError(
            f"{len(prompts)} prompts and {len(completions)} completions do not make "
            f"{valid.shape[0]} groups of {group}"
        )
    tokens = np.full(shape, pad_id, np.int32)
    mask = np.zeros(shape, bool)
    logprobs = np.zeros(shape, np.float32)
    for row, completion in enumerate(completions):
        prompt = prompts[row // group]
        start, end = len(prompt), len(prompt) + len(completion.tokens)
        if end > time:
            raise ValueError(
                f"completion {row}: {start} prompt tokens and {end - start} sampled "
                f"ones do not fit a row of {time}"
            )
        tokens[row, :start] = prompt
        tokens[row, start:end] = completion.tokens
        if valid.reshape(-1)[row]:
            mask[row, start:end] = True
            for first, last in completion.told:
                mask[row, start + first : start + last] = False
            logprobs[row, start:end] = completion.logprobs
    rows = (tokens, mask, logprobs, np.zeros(shape[0], np.float32))
    return types.RolloutBatch(*map(jnp.asarray, rows))
