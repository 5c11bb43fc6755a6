"""Tests for datachef_jax/finetune/optimizer.py."""

import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.finetune import optimizer

_NUMBERS = dict(warmup_steps=0, steps=1000, b1=0.9, b2=0.98, weight_decay=0.0)


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    rate = optimizer.warmup_cosine(2.0, warmup_steps=4, steps=12)
    got = [float(rate(step)) for step in (0, 2, 4, 8, 12, 20)]
    np.testing.assert_allclose(got, [0.4, 1.2, 2.0, 1.0, 0.0, 0.0], atol=1e-6)


def test_a_warm_up_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="warmup_steps 5 leaves none of 5"):
        optimizer.warmup_cosine(2.0, warmup_steps=5, steps=5)


def test_the_first_step_of_adamw_by_hand():
    # Bias-corrected, Adam's first step is the sign of the gradient, whatever its
    # size; only the matrix decays, by rate x weight decay x weight.
    params = {"matrix": jnp.full((2, 2), 4.0), "scale": jnp.full((2,), 4.0)}
    gradients = {"matrix": jnp.full((2, 2), 1e-2), "scale": jnp.array([1e-2, -1e-2])}
    adamw = optimizer.adamw(
        0.1, **(_NUMBERS | dict(weight_decay=0.5)), max_grad_norm=1.0
    )
    updates, _ = adamw.update(gradients, adamw.init(params), params)
    np.testing.assert_allclose(updates["matrix"], np.full((2, 2), -0.3), rtol=1e-4)
    np.testing.assert_allclose(updates["scale"], [-0.1, 0.1], rtol=1e-4)


@pytest.mark.parametrize("build", [optimizer.adamw, optimizer.muon])
def test_a_huge_gradient_is_clipped_before_it_enters_the_moments(build):
    params = {"scale": jnp.zeros(4)}
    built = build(0.1, **_NUMBERS, max_grad_norm=1.0)
    first, second = jnp.array([6e9, 8e9, 0.0, 0.0]), jnp.array([0.0, 0.0, 0.6, 0.8])
    state = built.init(params)
    _, state = built.update({"scale": first}, state, params)
    updates, _ = built.update({"scale": second}, state, params)
    # Clipped, both gradients are of norm 1, so all four moves are of one order;
    # unclipped, the second gradient would vanish beside the first.
    moves = np.abs(np.asarray(updates["scale"]))
    assert moves.min() > 0.03
    assert moves.max() < 0.2


def test_muon_makes_layer_matrices_orthogonal_and_leaves_the_rest_to_adam():
    numbers = np.random.default_rng(0).normal(size=(3, 4, 4))
    stacked = jnp.asarray(numbers, jnp.float32)  # of three layers, each by itself
    gradient = stacked[0]
    params = {"layers": {"up": jnp.ones((3, 4, 4))}, "embedding": jnp.ones((4, 4))}
    gradients = {"layers": {"up": stacked}, "embedding": gradient}
    muon = optimizer.muon(0.1, **_NUMBERS, max_grad_norm=1e9)
    updates, _ = muon.update(gradients, muon.init(params), params)
    # Newton-Schulz brings singular values near 1; the scale 0.2 x sqrt(4) and the
    # rate 0.1 remain (Liu et al. 2025, section 2.2).
    singular = np.linalg.svd(np.asarray(updates["layers"]["up"]), compute_uv=False)
    np.testing.assert_allclose(singular / 0.04, np.ones((3, 4)), atol=0.4)
    # Adam's first step is the sign, here with Nesterov's factor 0.9 / 1.9 + 1.
    np.testing.assert_allclose(
        updates["embedding"], -0.1 * (0.9 / 1.9 + 1) * np.sign(gradient), rtol=1e-3
    )
