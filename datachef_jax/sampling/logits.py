"""From scores to a token: masks, temperature, filters, noise, log-probabilities.

All of it is traced and per row: other settings compile nothing, and a row's token is
the same bit for bit whatever the rows beside it ask for.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32


class Settings(NamedTuple):
    """How each row's token is drawn.

    Attributes:
      temperature: Divides the scores; 0 takes the likeliest allowed token, whatever
        the filters say.
      top_k: Only the k likeliest tokens can be drawn; 0 for all.
      top_p: Only the likeliest tokens that together reach this probability, at least
        one; 1 for all.
      min_p: Only tokens at least this many times as likely as the likeliest one, in
        [0, 1]; 0 for all.
    """

    temperature: Float[Array, " rows"]
    top_k: Int[Array, " rows"]
    top_p: Float[Array, " rows"]
    min_p: Float[Array, " rows"]


class Drawn(NamedTuple):
    """One token per row, and how likely it was, in natural logarithms.

    Attributes:
      tokens: What was drawn.
      raw_logprobs: Under the model's own distribution: no mask, temperature 1, no
        filter.
      logprobs: Under the distribution that was drawn from: masked, tempered, filtered
        and made to add up to 1 again. Where the temperature is 0: under
        `log_softmax` of the masked scores.
    """

    tokens: Int[Array, " rows"]
    raw_logprobs: Float[Array, " rows"]
    logprobs: Float[Array, " rows"]


def sample(
    logits: Float[Array, "rows vocab"],
    allowed: Bool[Array, "rows vocab"] | None,
    settings: Settings,
    seeds: UInt32[Array, " rows"],
    positions: Int[Array, " rows"],
) -> Drawn:
    """Draws one token per row.

    The noise of a token depends on its completion's seed and its position alone, so a
    completion has the same tokens whatever else is in the batch.

    Args:
      logits: Scores of the next token.
      allowed: Tokens that can be drawn, at least one per row whose score is finite;
        None for all.
      settings: Of each row.
      seeds: One per completion.
      positions: Index of the token within its completion, from 0.
    """
    masked = logits if allowed is None else jnp.where(allowed, logits, -jnp.inf)
    greedy = settings.temperature == 0.0
    divisor = jnp.where(greedy, 1.0, settings.temperature)[:, None]
    logprobs = jax.nn.log_softmax(restrict(masked, settings) / divisor, axis=-1)
    drawn = choose(jnp.exp(logprobs), uniform(seeds, positions))
    tokens = jnp.where(greedy, masked.argmax(-1), drawn)
    at = lambda of: jnp.take_along_axis(of, tokens[:, None], axis=-1)[:, 0]
    return Drawn(
        tokens=tokens,
        raw_logprobs=at(jax.nn.log_softmax(logits, axis=-1)),
        logprobs=at(logprobs),
    )


def restrict(
    scores: Float[Array, "rows vocab"], settings: Settings
) -> Float[Array, "rows vocab"]:
    """Takes away the tokens that a row's filters exclude: their score becomes -inf.

    In the order of Hugging Face transformers: after the temperature top-k, then top-p
    on what it left, then min-p. (vLLM applies min-p first; only top-p then sees
    another distribution.) Each filter keeps all scores from some threshold up, and
    tokens that tie with the last one kept are kept too, so that which tokens can be
    drawn does not hang on their ids: k equal scores may be more than top-k tokens.

    A step in which no row uses a filter does not pay for it.

    Args:
      scores: Logits, not yet divided by the temperature: it does not change their
        order, and XLA's CPU code for the softmax has other last bits if the division
        happens elsewhere.
      settings: Of each row. A row of temperature 0 has no filters.
    """
    drawn = settings.temperature != 0.0
    by_count = drawn & (settings.top_k > 0)
    by_mass = drawn & (settings.top_p < 1.0)
    by_ratio = drawn & (settings.min_p > 0.0)

    # A limit of infinity keeps every token, for rows beside one that has a filter.
    counts = jnp.where(by_count, settings.top_k.astype(scores.dtype), jnp.inf)
    masses = jnp.where(by_mass, settings.top_p, jnp.inf)
    divisor = jnp.where(drawn, settings.temperature, 1.0)

    def likeliest() -> Float[Array, " rows"]:
        return _least(scores, jnp.ones_like(scores), counts)

    def nucleus() -> Float[Array, " rows"]:
        left = jnp.where(scores >= top[:, None], scores, -jnp.inf)
        return _least(scores, jax.nn.softmax(left / divisor[:, None], axis=-1), masses)

    def close() -> Float[Array, " rows"]:
        ratio = jnp.where(by_ratio, settings.min_p, 0.0)
        return scores.max(-1) + divisor * jnp.log(ratio)

    top = _when(by_count, likeliest)
    least = jnp.maximum(
        top, jnp.maximum(_when(by_mass, nucleus), _when(by_ratio, close))
    )
    return jnp.where(scores >= least[:, None], scores, -jnp.inf)


def _when(
    needed: Bool[Array, " rows"], compute: Callable[[], Float[Array, " rows"]]
) -> Float[Array, " rows"]:
    """Returns what `compute` gives, or -inf without running it if no row needs it."""
    return lax.cond(needed.any(), compute, lambda: jnp.full(needed.shape, -jnp.inf))


def _least(
    scores: Float[Array, "rows vocab"],
    weights: Float[Array, "rows vocab"],
    limit: Float[Array, " rows"],
) -> Float[Array, " rows"]:
    """Returns the least score that is kept while those above it weigh under `limit`.

    Exact, by bisection over the bits of a float: 32 sums over the vocabulary. For 8
    rows of 151,936 XLA's CPU code takes 10 ms for them, and 245 ms to sort. The sums
    cannot fail to shrink as the score grows: rounding keeps the order.

    Args:
      scores: Of the tokens, -inf for those that are out already.
      weights: Not negative. 1 each for top-k, probabilities for top-p.
      limit: The likeliest score is kept even if this is 0.
    """

    def halve(_: Int[Array, ""], bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low & high) + ((low ^ high) >> 1)  # the sum might overflow
        above = scores > _float_of(middle)[:, None]
        enough = jnp.where(above, weights, 0.0).sum(-1) < limit
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    bounds = _rank(scores.min(-1)), _rank(scores.max(-1))
    _, high = lax.fori_loop(0, 32, halve, bounds)
    return _float_of(high)


def _rank(number: Float[Array, " rows"]) -> Int[Array, " rows"]:
    """Returns an integer for each float32, in the same order."""
    bits = lax.bitcast_convert_type(number, jnp.int32)
    return jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def _float_of(rank: Int[Array, " rows"]) -> Float[Array, " rows"]:
    """Inverts `_rank`."""
    bits = jnp.where(rank < 0, rank ^ 0x7FFFFFFF, rank)
    return lax.bitcast_convert_type(bits, jnp.float32)


def uniform(
    seeds: UInt32[Array, " rows"], positions: Int[Array, " rows"]
) -> Float[Array, " rows"]:
    """Returns one number in [0, 1) for each completion's token at its position."""

    def draw(seed: UInt32[Array, ""], position: Int[Array, ""]) -> Float[Array, ""]:
        return jax.random.uniform(jax.random.fold_in(jax.random.key(seed), position))

    return jax.vmap(draw)(seeds, positions)


def choose(
    probabilities: Float[Array, "rows vocab"], level: Float[Array, " rows"]
) -> Int[Array, " rows"]:
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
