"""Advantages: how much better a completion scored than its siblings."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def group_relative(
    rewards: Float[Array, "prompts group"],
    valid: Bool[Array, "prompts group"],
    *,
    divide_by_std: bool,
    delta: float,
) -> Float[Array, "prompts group"]:
    """Centers every reward on the mean reward of its own group.

    The group mean stands in for the value network of PPO. With `divide_by_std`
    this is GRPO (Shao et al. 2024, arXiv:2402.03300, section 4.1.2) as the paper
    has it, (R - mean) / (std + delta); without it, Dr. GRPO (Liu et al. 2025,
    arXiv:2503.20783), which does not weight a prompt up for having nearly equal
    rewards.

    Args:
      rewards: One reward per completion, dimensionless, on any scale.
      valid: False where no reward exists (the verifier or the sandbox was
        unreachable). Such members neither enter their group's mean nor learn. A
        recipe that ran and failed is a valid member with a low reward.
      divide_by_std: Whether to divide by the group's population standard deviation.
      delta: Added to that deviation, on the scale of the rewards; it keeps groups
        of nearly equal rewards from counting as much as spread ones.

    Returns:
      Advantages. In every group they sum to zero over the valid members. They are
      zero for invalid members and for whole groups that are tied, that is, whose
      valid rewards are all equal or fewer than two.

    Raises:
      ValueError: If the groups have a single member, which can teach nothing.
    """
    if rewards.shape[-1] < 2:
        raise ValueError(f"group must have at least 2 members, got {rewards.shape[-1]}")

    # `where` rather than `rewards * valid`: an unscored member may hold a NaN.
    count = jnp.maximum(valid.sum(-1, keepdims=True), 1)
    mean = jnp.where(valid, rewards, 0.0).sum(-1, keepdims=True) / count
    centered = jnp.where(valid, rewards - mean, 0.0)

    # Ties are found by comparison: `centered` holds rounding noise, not zeros, and
    # dividing that noise by its own deviation would make advantages of +-1 from it.
    lowest = jnp.where(valid, rewards, jnp.inf).min(-1, keepdims=True)
    highest = jnp.where(valid, rewards, -jnp.inf).max(-1, keepdims=True)
    tied = lowest >= highest
    if not divide_by_std:
        return jnp.where(tied, 0.0, centered)

    variance = (centered**2).sum(-1, keepdims=True) / count
    deviation = jnp.sqrt(jnp.where(tied, 1.0, variance))
    return jnp.where(tied, 0.0, centered / (deviation + delta))
