"""The optimizer of the policy; fine-tuning has its own, with a falling rate."""

import optax

from datachef_jax.finetune import optimizer as optimizers


def adamw(
    learning_rate: float,
    *,
    warmup_steps: int,
    b1: float,
    b2: float,
    weight_decay: float,
    max_grad_norm: float,
) -> optax.GradientTransformation:
    """Returns AdamW (arXiv:1711.05101) behind a clip of the global gradient norm.

    The learning rate stays constant after its warm-up: reinforcement learning has no
    fixed end. The first update is done at `learning_rate / (warmup_steps + 1)`, not
    at 0, which would waste a whole step of rollouts.

    Args:
      learning_rate: After the warm-up.
      warmup_steps: Updates over which the rate rises linearly.
      b1: Decay of the mean of the gradients.
      b2: Decay of the mean of their squares.
      weight_decay: Of matrices; the scales of norms are left alone.
      max_grad_norm: Longer gradients are scaled down to it.
    """
    return optax.chain(
        optax.clip_by_global_norm(max_grad_norm),
        optax.adamw(
            _warmup(learning_rate, steps=warmup_steps),
            b1=b1,
            b2=b2,
            weight_decay=weight_decay,
            mask=optimizers.is_matrix,
        ),
    )


def _warmup(peak: float, *, steps: int) -> optax.Schedule:
    if steps == 0:
        return optax.constant_schedule(peak)
    return optax.linear_schedule(peak / (steps + 1), peak, transition_steps=steps)
