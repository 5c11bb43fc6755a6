"""Policy losses: pure, without reduction over devices, sums over constant divisors.

Every loss is a sum divided by a constant and every diagnostic is a sum beside its
count. So the micro-batches of a step add up to its full batch exactly, and a long
completion does not shrink its own gradient (Dr. GRPO, arXiv:2503.20783).

All log-probabilities are in nats and of the tokens that were sampled.
"""

from typing import NamedTuple

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Diagnostics(NamedTuple):
    """Sums over what carries a ratio: tokens, or whole completions.

    Divide by `count` after adding up micro-batches. No gradient flows through them.
    """

    ratio: Float[Array, ""]  # new probability / probability when sampled
    clipped: Float[Array, ""]  # how many ratios lie outside the clip bounds
    approx_kl: Float[Array, ""]  # nats, KL(behavior || policy) by the k3 estimator
    count: Float[Array, ""]


def clipped_surrogate(
    logprobs: Float[Array, "batch time"],
    behavior_logprobs: Float[Array, "batch time"],
    advantages: Float[Array, " batch"],
    completion_mask: Bool[Array, "batch time"],
    *,
    clip_low: float,
    clip_high: float,
    token_budget: int,
) -> tuple[Float[Array, ""], Diagnostics]:
    """PPO's clipped objective with one ratio per token.

    Source: Schulman et al. 2017, arXiv:1707.06347, equation 7. Unequal clip bounds
    are DAPO's "clip-higher" (arXiv:2503.14476, section 3.1).

    Args:
      logprobs: Under the policy in training.
      behavior_logprobs: Under the policy that sampled the tokens.
      advantages: One per completion, shared by all of its tokens.
      completion_mask: True on the tokens that the policy chose: not the prompt,
        not the padding, but including the end token.
      clip_low: Nothing is gained by pushing a ratio below `1 - clip_low`.
      clip_high: Nothing is gained by pushing a ratio above `1 + clip_high`.
      token_budget: The divisor: completions per step x longest completion allowed.

    Returns:
      The scalar to minimize, and sums over completion tokens.
    """
    log_ratio = jnp.where(completion_mask, logprobs - behavior_logprobs, 0.0)
    objective, ratio = _pessimistic(
        log_ratio, advantages[:, None], clip_low=clip_low, clip_high=clip_high
    )
    loss = -jnp.where(completion_mask, objective, 0.0).sum() / token_budget
    return loss, _diagnose(
        log_ratio, ratio, completion_mask, clip_low=clip_low, clip_high=clip_high
    )


def recipe_surrogate(
    logprobs: Float[Array, "batch time"],
    behavior_logprobs: Float[Array, "batch time"],
    advantages: Float[Array, " batch"],
    completion_mask: Bool[Array, "batch time"],
    *,
    clip_low: float,
    clip_high: float,
    max_log_ratio: float,
    completions: int,
) -> tuple[Float[Array, ""], Diagnostics]:
    """PPO's clipped objective with one ratio per recipe, as the paper prints it.

    The ratio is that of the whole completion, exp of the summed log-ratio of its
    tokens. The sum is taken in float32 and its value held within
    +-`max_log_ratio` before the exp, for a few hundred tokens that each moved a
    little would overflow it. The clamp changes the value only (what it cuts off is
    detached): where the clip lets a gradient through, it is `ratio * A * grad log
    pi` with the clamped ratio. A clamp with a gradient of zero would free a bad
    recipe that has become e^max_log_ratio times more probable from its penalty.

    Args:
      logprobs: As in `clipped_surrogate`.
      behavior_logprobs: As in `clipped_surrogate`.
      advantages: One per completion.
      completion_mask: As in `clipped_surrogate`; a row without any True is left out.
      clip_low: As in `clipped_surrogate`.
      clip_high: As in `clipped_surrogate`.
      max_log_ratio: In nats, > 0.
      completions: The divisor: completions per step.

    Returns:
      The scalar to minimize, and sums over completions.
    """
    log_ratio = jnp.where(completion_mask, logprobs - behavior_logprobs, 0.0)
    total = log_ratio.astype(jnp.float32).sum(-1)
    clamped = jnp.clip(total, -max_log_ratio, max_log_ratio)
    total = total + lax.stop_gradient(clamped - total)
    present = completion_mask.any(-1)
    objective, ratio = _pessimistic(
        total, advantages, clip_low=clip_low, clip_high=clip_high
    )
    loss = -jnp.where(present, objective, 0.0).sum() / completions
    return loss, _diagnose(
        total, ratio, present, clip_low=clip_low, clip_high=clip_high
    )


def kl_to_reference(
    logprobs: Float[Array, "batch time"],
    ref_logprobs: Float[Array, "batch time"],
    completion_mask: Bool[Array, "batch time"],
) -> Float[Array, ""]:
    """KL(policy || reference) in nats, summed over the sampled tokens.

    The value is k3, exp(-d) - 1 + d with d = log pi - log ref, which is unbiased and
    never negative (joschu.net/blog/kl-approx.html). The gradient is that of k2,
    d^2 / 2: d * grad log pi, whose mean over the policy's own samples is the
    gradient of the KL. Minimizing k1 = d itself would regularize nothing, for the
    mean of grad log pi is zero, and the gradient of k3 is that of another divergence.

    The gradient is that of the KL between the next-token distributions at the
    prefixes that were visited; how a token changes which prefixes come after it is
    left out, as in GRPO.

    Args:
      logprobs: Under the policy in training.
      ref_logprobs: Under the fixed reference policy.
      completion_mask: True on the tokens that the policy chose.

    Returns:
      The sum. The caller divides it, by the same constant as the surrogate.
    """
    difference = jnp.where(completion_mask, logprobs - ref_logprobs, 0.0)
    k2 = (difference**2 / 2).sum()
    k3 = (jnp.expm1(-difference) + difference).sum()
    return k2 + lax.stop_gradient(k3 - k2)


def _pessimistic(
    log_ratio: Float[Array, "..."],
    advantages: Float[Array, "..."],
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Returns min(ratio A, clip(ratio) A), to be maximized, and the ratio."""
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)
    advantages = lax.stop_gradient(advantages)
    return jnp.minimum(ratio * advantages, clipped * advantages), ratio


def _diagnose(
    log_ratio: Float[Array, "..."],
    ratio: Float[Array, "..."],
    mask: Bool[Array, "..."],
    *,
    clip_low: float,
    clip_high: float,
) -> Diagnostics:
    """Sums over `mask`; the samples are the behavior policy's, hence its KL."""
    outside = (ratio < 1.0 - clip_low) | (ratio > 1.0 + clip_high)
    kl = jnp.expm1(log_ratio) - log_ratio
    sums = (jnp.where(mask, x, 0.0).sum() for x in (ratio, outside, kl, mask))
    return Diagnostics(*lax.stop_gradient(tuple(sums)))
