"""Tests for datachef_jax/training/optimizer.py."""

import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.training import optimizer


def test_the_schedule_rises_to_its_peak_and_falls_to_its_end():
    rate = optimizer.schedule(
        peak=1.0, warmup_steps=3, total_steps=13, final_fraction=0.1
    )
    got = [float(rate(count)) for count in (0, 1, 2, 3, 8, 13, 99)]
    np.testing.assert_allclose(got, [0.25, 0.5, 0.75, 1.0, 0.55, 0.1, 0.1], rtol=1e-6)


def test_without_warm_up_and_decay_the_rate_is_constant():
    rate = optimizer.schedule(
        peak=0.5, warmup_steps=0, total_steps=4, final_fraction=1.0
    )
    np.testing.assert_allclose([float(rate(count)) for count in range(6)], 0.5)


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match="warmup_steps 4 leaves none of 4"):
        optimizer.schedule(peak=1.0, warmup_steps=4, total_steps=4, final_fraction=1.0)


def _adamw(**changes):
    settings = dict(b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.0, max_grad_norm=1.0)
    return optimizer.adamw(lambda count: 0.1, **settings | changes)


def test_the_clip_leaves_the_direction_and_bounds_the_length():
    made = _adamw(eps=10.0)  # so large that AdamW is gradient descent: 0.1 g / 10
    params = {"w": jnp.zeros(2)}
    updates, _ = made.update({"w": jnp.array([30.0, 40.0])}, made.init(params), params)
    np.testing.assert_allclose(updates["w"], [-0.006, -0.008], rtol=0.1)


def test_only_matrices_decay():
    made = _adamw(weight_decay=0.5)
    params = {"matrix": jnp.ones((2, 2)), "scale": jnp.ones(2)}
    zeros = {"matrix": jnp.zeros((2, 2)), "scale": jnp.zeros(2)}
    updates, _ = made.update(zeros, made.init(params), params)
    np.testing.assert_allclose(updates["matrix"], -0.05 * np.ones((2, 2)), rtol=1e-6)
    np.testing.assert_array_equal(updates["scale"], np.zeros(2))
