"""Optimizers for fine-tuning, from numbers.

All clip the gradient by its global norm and let only matrices decay, not the scales of
norms. The learning rate warms up linearly and then falls along a cosine to 0.
"""

import jax
from jaxtyping import PyTree
import optax


def warmup_cosine(
    learning_rate: float, *, warmup_steps: int, steps: int
) -> optax.Schedule:
    """Returns the learning rate of each update, which falls to 0 at the last.

    The first update is done at `learning_rate / (warmup_steps + 1)`, not at the 0 of
    optax's own warm-up, which would waste it.

    Raises:
      ValueError: If the warm-up leaves no update.
    """
    if warmup_steps >= steps:
        raise ValueError(f"warmup_steps {warmup_steps} leaves none of {steps} steps")
    return optax.warmup_cosine_decay_schedule(
        init_value=learning_rate / (warmup_steps + 1),
        peak_value=learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=steps,
        end_value=0.0,
    )


def adamw(
    learning_rate: float,
    *,
    warmup_steps: int,
    steps: int,
    b1: float,
    b2: float,
    weight_decay: float,
    max_grad_norm: float,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Args:
      learning_rate: Peak.
      warmup_steps: Updates before the peak.
      steps: Updates in total.
      b1: Decay of the mean of the gradients.
      b2: Decay of the mean of their squares.
      weight_decay: Of matrices, the embedding included; times the learning rate.
      max_grad_norm: Longer gradients are scaled down to it.
    """
    schedule = warmup_cosine(learning_rate, warmup_steps=warmup_steps, steps=steps)
    return optax.chain(
        optax.clip_by_global_norm(max_grad_norm),
        optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=is_matrix),
    )


def muon(
    learning_rate: float,
    *,
    warmup_steps: int,
    steps: int,
    b1: float,
    b2: float,
    weight_decay: float,
    max_grad_norm: float,
) -> optax.GradientTransformation:
    """Muon on the matrices inside the layers, Adam on embeddings, head and norms.

    Updates are scaled to the root mean square of AdamW's (Liu et al. 2025,
    arXiv:2502.16982, section 2.2), so both take the same learning rate. Momentum is
    Nesterov's in both parts.

    Args:
      learning_rate: Peak.
      warmup_steps: Updates before the peak.
      steps: Updates in total.
      b1: Momentum, of Muon and of Adam.
      b2: Decay of Adam's mean of squares.
      weight_decay: Of the matrices inside the layers; times the learning rate.
      max_grad_norm: Longer gradients are scaled down to it.
    """
    schedule = warmup_cosine(learning_rate, warmup_steps=warmup_steps, steps=steps)
    return optax.chain(
        optax.clip_by_global_norm(max_grad_norm),
        optax.contrib.muon(
            schedule,
            beta=b1,
            adam_b1=b1,
            adam_b2=b2,
            weight_decay=weight_decay,
            consistent_rms=0.2,
            muon_weight_dimension_numbers=_muon_dimensions,
        ),
    )


def is_matrix(params: PyTree) -> PyTree:
    """Says which weights may decay: all but the scales of norms.

    By name, for the scales of stacked layers have two axes as well.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "scale" not in jax.tree_util.keystr(path), params
    )


def _muon_dimensions(params: PyTree) -> PyTree:
    """Says which leaves Muon takes: the matrices `[layer, in, out]`."""

    def dimensions(path, leaf):
        if leaf.ndim != 3 or "layers" not in jax.tree_util.keystr(path):
            return None
        return optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)

    return jax.tree_util.tree_map_with_path(dimensions, params)
