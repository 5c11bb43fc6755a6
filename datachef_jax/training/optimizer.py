"""The optimizer, made from the numbers of a config."""

import jax
import optax


def schedule(
    *, peak: float, warmup_steps: int, total_steps: int, final_fraction: float
) -> optax.Schedule:
    """Returns a learning rate that rises linearly and falls along a cosine.

    The first step is taken at `peak / (warmup_steps + 1)`, not at the 0 of optax's
    own warm-up, which would waste a whole step of rollouts.

    Args:
      peak: Reached after the warm-up.
      warmup_steps: Optimizer steps before the peak.
      total_steps: Optimizer steps in all, warm-up included; more than that.
      final_fraction: Of the peak, at the end; 1 keeps the rate constant.
    """
    if warmup_steps >= total_steps:
        raise ValueError(
            f"warmup_steps {warmup_steps} leaves none of {total_steps} total steps"
        )
    return optax.warmup_cosine_decay_schedule(
        init_value=peak / (warmup_steps + 1),
        peak_value=peak,
        warmup_steps=warmup_steps,
        decay_steps=total_steps,
        end_value=peak * final_fraction,
    )


def adamw(
    learning_rate: optax.Schedule,
    *,
    b1: float,
    b2: float,
    eps: float,
    weight_decay: float,
    max_grad_norm: float,
) -> optax.GradientTransformation:
    """Returns AdamW (arXiv:1711.05101) behind a clip of the global gradient norm.

    Args:
      learning_rate: Of each optimizer step.
      b1: Decay of the mean of the gradients.
      b2: Decay of the mean of their squares.
      eps: Added to the root of that mean.
      weight_decay: Of matrices; the scales of norms are left alone.
      max_grad_norm: Longer gradients are scaled down to it.
    """
    return optax.chain(
        optax.clip_by_global_norm(max_grad_norm),
        optax.adamw(
            learning_rate,
            b1=b1,
            b2=b2,
            eps=eps,
            weight_decay=weight_decay,
            mask=lambda params: jax.tree.map(lambda x: x.ndim > 1, params),
        ),
    )
