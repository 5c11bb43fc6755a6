"""Policy objectives, one small function for each part that papers vary.

A ratio says how much more probable what was sampled has become, a surrogate what is
gained by that, `token_weights` what a token counts, `engine_weights` how far the
trainer mistrusts the sampler's log-probabilities, and `kl_to_reference` what straying
costs:

| objective | ratio | surrogate | weights |
|---|---|---|---|
| GRPO (arXiv:2402.03300) | token | clipped | completion |
| as DataChef prints it (arXiv:2602.11089) | recipe | clipped | sequence |
| Dr. GRPO (arXiv:2503.20783) | token | clipped | budget |
| DAPO (arXiv:2503.14476) | token | clipped, clip_high > clip_low | token |
| GSPO (arXiv:2507.18071) | sequence | clipped | sequence |
| CISPO (arXiv:2506.13585) | token | cispo | token |

All log-probabilities are in nats and of the tokens that were sampled; `old` ones are
those of the policy before the first update of the step. Every value stands at its token
and nothing is averaged: so the micro-batches of a step add up to its full batch.
"""

from collections.abc import Callable
from typing import NamedTuple

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Ratio = Callable[
    [Float[Array, "batch time"], Float[Array, "batch time"], Bool[Array, "batch time"]],
    Float[Array, " batch #time"],
]
"""(logprobs, old logprobs, mask) -> log-ratios of tokens, or one of each completion."""

Surrogate = Callable[
    [Float[Array, " batch #time"], Float[Array, "batch 1"]],
    tuple[Float[Array, " batch #time"], Bool[Array, " batch #time"]],
]
"""(log-ratios, advantages) -> what is to be maximized, and which ratios are clipped."""


class Diagnostics(NamedTuple):
    """Sums over what carries a ratio: tokens, or whole completions.

    Divide by `count` after adding up micro-batches. No gradient flows through them.
    """

    ratio: Float[Array, ""]  # new probability / old probability
    clipped: Float[Array, ""]  # how many ratios lie outside the clip bounds
    approx_kl: Float[Array, ""]  # nats, KL(old || policy) by the k3 estimator
    count: Float[Array, ""]


def objective(
    logprobs: Float[Array, "batch time"],
    old_logprobs: Float[Array, "batch time"],
    advantages: Float[Array, " batch"],
    completion_mask: Bool[Array, "batch time"],
    *,
    ratio: Ratio,
    surrogate: Surrogate,
) -> tuple[Float[Array, "batch time"], Diagnostics]:
    """Returns what every token contributes to the objective.

    Args:
      logprobs: Under the policy in training.
      old_logprobs: Under the policy before the first update on this batch.
      advantages: One per completion, shared by all of its tokens.
      completion_mask: True on the tokens that the policy chose: not the prompt,
        not the padding, but including the end token.
      ratio: One of this module with its numbers bound.
      surrogate: One of this module with its numbers bound.

    Returns:
      Values to be maximized, 0 outside the mask; where a completion has one ratio,
      its value stands in equal parts at its tokens. And sums for metrics.
    """
    log_ratio = ratio(logprobs, old_logprobs, completion_mask)
    gain, clipped = surrogate(log_ratio, lax.stop_gradient(advantages)[:, None])
    present = completion_mask
    if log_ratio.shape[1] == 1 < completion_mask.shape[1]:
        gain = gain / _lengths(completion_mask)
        present = completion_mask.any(-1, keepdims=True)
    kl = jnp.expm1(log_ratio) - log_ratio
    parts = (jnp.exp(log_ratio), clipped, kl, jnp.ones_like(log_ratio))
    sums = (jnp.where(present, x, 0.0).sum() for x in parts)
    return (
        jnp.where(completion_mask, gain, 0.0),
        Diagnostics(*lax.stop_gradient(tuple(sums))),
    )


def token_ratio(
    logprobs: Float[Array, "batch time"],
    old_logprobs: Float[Array, "batch time"],
    completion_mask: Bool[Array, "batch time"],
) -> Float[Array, "batch time"]:
    """Returns the log-ratio of every token, 0 outside the mask."""
    return jnp.where(completion_mask, logprobs - old_logprobs, 0.0)


def sequence_ratio(
    logprobs: Float[Array, "batch time"],
    old_logprobs: Float[Array, "batch time"],
    completion_mask: Bool[Array, "batch time"],
) -> Float[Array, "batch 1"]:
    """Returns the mean log-ratio of every completion's tokens.

    Its exp is the geometric mean of the token ratios, which GSPO clips (Zheng et al.
    2025, arXiv:2507.18071, equation 7).
    """
    log_ratio = token_ratio(logprobs, old_logprobs, completion_mask)
    return log_ratio.sum(-1, keepdims=True) / _lengths(completion_mask)


def recipe_ratio(
    logprobs: Float[Array, "batch time"],
    old_logprobs: Float[Array, "batch time"],
    completion_mask: Bool[Array, "batch time"],
    *,
    max_log_ratio: float,
) -> Float[Array, "batch 1"]:
    """Returns the summed log-ratio of every completion, as the paper prints it.

    The sum is taken in float32 and its value held within +-`max_log_ratio`, > 0 and
    in nats, for a few hundred tokens that each moved a little would overflow the exp.
    The clamp changes the value only (what it cuts off is detached): where the clip
    lets a gradient through, it is `ratio * A * grad log pi` with the clamped ratio. A
    clamp with a gradient of zero would free a bad recipe that has become
    e^max_log_ratio times more probable from its penalty.
    """
    log_ratio = token_ratio(logprobs, old_logprobs, completion_mask)
    total = log_ratio.astype(jnp.float32).sum(-1, keepdims=True)
    clamped = jnp.clip(total, -max_log_ratio, max_log_ratio)
    return total + lax.stop_gradient(clamped - total)


def clipped(
    log_ratio: Float[Array, " batch #time"],
    advantages: Float[Array, "batch 1"],
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Float[Array, " batch #time"], Bool[Array, " batch #time"]]:
    """Returns PPO's min(r A, clip(r) A) and which ratios lie outside the bounds.

    Source: Schulman et al. 2017, arXiv:1707.06347, equation 7. Nothing is gained by
    pushing a good ratio above `1 + clip_high` or a bad one below `1 - clip_low`.
    """
    ratio = jnp.exp(log_ratio)
    held = jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)
    return jnp.minimum(ratio * advantages, held * advantages), ratio != held


def cispo(
    log_ratio: Float[Array, " batch #time"],
    advantages: Float[Array, "batch 1"],
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Float[Array, " batch #time"], Bool[Array, " batch #time"]]:
    """Returns REINFORCE with a clipped, detached ratio, and which ratios are clipped.

    Source: MiniMax-M1, arXiv:2506.13585, equations 4 and 5: every token keeps a
    gradient, `clip(r) * A * grad log pi`. There `clip_low` is 1, which is no bound,
    and `clip_high` the one that is tuned. The value counts log pi from the old policy.
    """
    ratio = jnp.exp(log_ratio)
    held = lax.stop_gradient(jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high))
    return held * advantages * log_ratio, ratio != held


def token_weights(
    completion_mask: Bool[Array, "batch time"], *, per: str, max_new_tokens: int
) -> Float[Array, "batch time"]:
    """Returns what each token counts in the loss of a whole step.

    Args:
      completion_mask: Of all completions of the step, not of a micro-batch.
      per: "budget" divides by the completions and the longest one allowed, so that a
        long completion does not shrink its own gradient; "token" by the tokens there
        are; "completion" by the completions and the length of each; "sequence" by the
        completions only: the value of a completion is the sum over its tokens.
      max_new_tokens: The longest completion allowed.

    Returns:
      Weights, 0 outside the mask.

    Raises:
      ValueError: If `per` is none of these.
    """
    completions = completion_mask.shape[0]
    match per:
        case "budget":
            divisor = completions * max_new_tokens
        case "token":
            divisor = jnp.maximum(completion_mask.sum(keepdims=True), 1)
        case "completion":
            divisor = completions * _lengths(completion_mask)
        case "sequence":
            divisor = completions
        case unknown:
            raise ValueError(f"no weights are known per {unknown!r}")
    return completion_mask / jnp.asarray(divisor, jnp.float32)


def engine_weights(
    old_logprobs: Float[Array, "batch time"],
    behavior_logprobs: Float[Array, "batch time"],
    completion_mask: Bool[Array, "batch time"],
    *,
    level: str,
    cap: float,
) -> Float[Array, "batch time"]:
    """Returns truncated importance weights of the trainer's policy to the engine's.

    The same weights of the policy give other log-probabilities in another program:
    with kernels, int8 or bfloat16 the engine samples from a slightly different policy.
    Source: Yao et al. 2025, "Your efficient RL framework secretly brings you
    off-policy RL training" (fengyao.notion.site/off-policy-rl), truncated as in IMPALA
    (arXiv:1802.01561, section 4.1).

    Args:
      old_logprobs: The trainer's, before the first update on this batch.
      behavior_logprobs: The engine's.
      completion_mask: As in `objective`.
      level: "token", or "sequence" for one weight of the whole completion.
      cap: Largest weight.

    Returns:
      Weights in [0, cap] without gradient, 1 outside the mask.

    Raises:
      ValueError: If `level` is neither.
    """
    distance = token_ratio(old_logprobs, behavior_logprobs, completion_mask)
    match level:
        case "token":
            pass
        case "sequence":
            total = distance.sum(-1, keepdims=True)
            distance = jnp.where(completion_mask, total, 0.0)
        case unknown:
            raise ValueError(f"no importance weights are known per {unknown!r}")
    # Capped before the exp: no infinity is ever made.
    return lax.stop_gradient(jnp.exp(jnp.minimum(distance, jnp.log(cap))))


def kl_to_reference(
    logprobs: Float[Array, "batch time"],
    ref_logprobs: Float[Array, "batch time"],
    completion_mask: Bool[Array, "batch time"],
    *,
    estimator: str,
) -> Float[Array, "batch time"]:
    """Returns an estimate of KL(policy || reference) in nats at every sampled token.

    With d = log pi - log ref (joschu.net/blog/kl-approx.html):

    - "k2" is d^2 / 2, whose gradient d * grad log pi is, in expectation over the
      policy's own samples, that of the KL;
    - "k3" has the value exp(-d) - 1 + d, unbiased and never negative, and the gradient
      of k2: its own would be that of another divergence.

    k1 = d itself is no loss, for the mean of grad log pi is zero: it regularizes only
    within the reward, see `kl_penalty`.

    The gradient is that of the KL between the next-token distributions at the
    prefixes that were visited; how a token changes which prefixes come after it is
    left out, as in GRPO.

    Args:
      logprobs: Under the policy in training.
      ref_logprobs: Under the fixed reference policy.
      completion_mask: True on the tokens that the policy chose.
      estimator: "k2" or "k3".

    Raises:
      ValueError: If the estimator is neither.
    """
    distance = token_ratio(logprobs, ref_logprobs, completion_mask)
    k2 = distance**2 / 2
    match estimator:
        case "k2":
            return k2
        case "k3":
            k3 = jnp.expm1(-distance) + distance
            return k2 + lax.stop_gradient(k3 - k2)
        case unknown:
            raise ValueError(f"no KL loss is known as {unknown!r}")


def kl_penalty(
    old_logprobs: Float[Array, "batch time"],
    ref_logprobs: Float[Array, "batch time"],
    completion_mask: Bool[Array, "batch time"],
) -> Float[Array, " batch"]:
    """Returns the k1 estimate of each completion's KL in nats, for its reward.

    It may be negative. The policy gradient of a reward of -k1 is that of the KL of
    whole completions (Tang and Munos 2025, arXiv:2506.09477).
    """
    return token_ratio(old_logprobs, ref_logprobs, completion_mask).sum(-1)


def _lengths(completion_mask: Bool[Array, "batch time"]) -> Float[Array, "batch 1"]:
    """Returns the tokens of each completion, at least 1."""
    return jnp.maximum(completion_mask.sum(-1, keepdims=True), 1).astype(jnp.float32)
