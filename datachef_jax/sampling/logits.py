"""From scores to a token: temperature, seeded noise, the token's log-probability."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32


def sample(
    logits: Float[Array, "batch vocab"],
    seeds: UInt32[Array, " batch"],
    position: Int[Array, ""],
    temperature: Float[Array, ""],
) -> tuple[Int[Array, " batch"], Float[Array, " batch"]]:
    """Draws one token per row.

    The noise of a token depends on its request's seed and its position alone, so a
    request draws the same tokens whatever else is in the batch.

    Args:
      logits: Scores of the next token.
      seeds: One per request.
      position: Index of the token within its completion, from 0.
      temperature: Divides the logits; 0 takes the likeliest token.

    Returns:
      The tokens, and the natural-log probability of each under the distribution
      that was sampled: `log_softmax(logits / temperature)`, or of the raw logits if
      the temperature is 0.
    """
    greedy = temperature == 0.0
    scaled = logits / jnp.where(greedy, 1.0, temperature)
    logprobs = jax.nn.log_softmax(scaled, axis=-1)
    drawn = choose(jnp.exp(logprobs), uniform(seeds, position))
    tokens = jnp.where(greedy, logits.argmax(-1), drawn)
    return tokens, jnp.take_along_axis(logprobs, tokens[:, None], axis=-1)[:, 0]


def uniform(
    seeds: UInt32[Array, " batch"], position: Int[Array, ""]
) -> Float[Array, " batch"]:
    """Returns one number in [0, 1) for each request's token at this position."""

    def draw(seed: UInt32[Array, ""]) -> Float[Array, ""]:
        return jax.random.uniform(jax.random.fold_in(jax.random.key(seed), position))

    return jax.vmap(draw)(seeds)


def choose(
    probabilities: Float[Array, "batch vocab"], level: Float[Array, " batch"]
) -> Int[Array, " batch"]:
    """Inverts the cumulative distribution: the first token that passes the level.

    One number per token replaces one Gumbel variate per vocabulary entry, which for
    32 rows of 2048 took three times as long as all of this. Tokens rarer than 2^-23,
    the spacing of float32 uniforms, may not be drawn at their exact rate.

    Args:
      probabilities: Of the tokens; they need not quite add up to 1.
      level: In [0, 1).

    Returns:
      Tokens of non-zero probability.
    """
    possible = probabilities > 0.0
    # Rounding may leave the sum a little off 1, or let it sink along the way.
    cumulative = jnp.where(possible, jnp.cumsum(probabilities, axis=-1), 0.0)
    threshold = level * cumulative.max(axis=-1)
    return jnp.argmax(cumulative > threshold[:, None], axis=-1)
