"""Log-probabilities of the sampled tokens, recomputed by the trainer."""

from flax import nnx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def completion_logprobs(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    tokens: Int[Array, "batch time"],
    completion_mask: Bool[Array, "batch time"],
    *,
    max_new_tokens: int,
    temperature: float,
) -> tuple[Float[Array, "batch time"], Float[Array, "batch time"]]:
    """Scores the completions with one forward pass.

    The vocabulary is only multiplied where completions can be: in a window of
    `max_new_tokens` positions that starts, in every row, with its last prompt token.

    Args:
      graphdef: Of the model, from `nnx.split(model, nnx.Param)`.
      params: Its weights.
      tokens: Rows of prompt, completion, padding.
      completion_mask: True on what was sampled of the completion, from its first
        token, which comes after at least one prompt token. Rows without any True give
        zeros.
      max_new_tokens: No completion is longer, what was not sampled included.
      temperature: Of sampling, > 0: logits are divided by it.

    Returns:
      Natural-log probability of each completion token given what stands before it,
      and the entropy in nats of the distribution it was drawn from, without
      gradient. Both lie where the token lies and are 0 outside the mask.
    """
    batch, time = tokens.shape
    model = nnx.merge(graphdef, params)
    positions = jnp.broadcast_to(jnp.arange(time), (batch, time))
    hidden = model(tokens, positions, None)

    first = jnp.argmax(completion_mask, axis=-1).astype(jnp.int32)[:, None]
    window = first + jnp.arange(max_new_tokens, dtype=jnp.int32)[None, :]
    before = jnp.clip(window - 1, 0, time - 1)
    hidden = jnp.take_along_axis(hidden, before[:, :, None], axis=1)
    chosen = jnp.take_along_axis(tokens, jnp.minimum(window, time - 1), axis=1)
    logprobs, entropy = model.token_logprobs(hidden, chosen, temperature=temperature)

    # Back from the window to the rows.
    offset = jnp.clip(positions - first, 0, max_new_tokens - 1)

    def place(values: Float[Array, "batch window"]) -> Float[Array, "batch time"]:
        aligned = jnp.take_along_axis(values, offset, axis=1)
        return jnp.where(completion_mask, aligned, 0.0)

    return place(logprobs), place(entropy)
