"""The objective that tests train with, GRPO as the paper prints it."""

import functools

from datachef_jax.rl import losses
from datachef_jax.rl import update


def grpo(
    max_new_tokens: int, *, clip=0.2, per="budget", kl_weight=0.0, **changes
) -> update.Objective:
    """Returns the paper's objective (§3.3); `changes` replace whole parts of it."""
    parts = dict(
        gain=functools.partial(
            losses.objective,
            ratio=losses.token_ratio,
            surrogate=functools.partial(losses.clipped, clip_low=clip, clip_high=clip),
        ),
        weights=functools.partial(
            losses.token_weights, per=per, max_new_tokens=max_new_tokens
        ),
        engine_weights=None,
        kl=functools.partial(losses.kl_to_reference, estimator="k3"),
        kl_weight=kl_weight,
    )
    return update.Objective(**(parts | changes))
