"""Tests for datachef_jax/training/optimizer.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.training import optimizer


def _updates(gradients, *, params=None, **changes):
    """Returns the update for each of the gradients, taken one after another."""
    settings = dict(warmup_steps=0, b1=0.0, b2=0.0, weight_decay=0.0, max_grad_norm=1e9)
    made = optimizer.adamw(0.1, **settings | changes)
    params = params or jax.tree.map(jnp.zeros_like, gradients[0])
    state, found = made.init(params), []
    for gradient in gradients:
        update, state = made.update(gradient, state, params)
        found.append(update)
    return found


@pytest.mark.parametrize(
    "warmup_steps,rates", [(3, [0.025, 0.05, 0.075, 0.1, 0.1]), (0, [0.1, 0.1])]
)
def test_the_rate_rises_to_its_peak_and_stays(warmup_steps, rates):
    # Without memory of earlier gradients Adam takes steps of the rate's length.
    got = _updates([{"w": jnp.ones(1)}] * len(rates), warmup_steps=warmup_steps)
    np.testing.assert_allclose([-u["w"][0] for u in got], rates, rtol=1e-5)


def test_a_long_gradient_counts_no_more_than_one_of_the_norm_allowed():
    long, short = {"w": jnp.array([30.0, 40.0])}, {"w": jnp.array([0.6, 0.8])}
    settings = dict(b1=0.5, b2=0.5, max_grad_norm=1.0)
    got = _updates([long, short], **settings)
    expected = _updates([short, short], **settings)
    np.testing.assert_allclose(got[1]["w"], expected[1]["w"], rtol=1e-5)
    unclipped = _updates([long, short], **settings | {"max_grad_norm": 1e9})
    assert abs(unclipped[1]["w"] - expected[1]["w"]).max() > 0.01


def test_only_matrices_decay():
    params = {"matrix": jnp.ones((2, 2)), "scale": jnp.ones(2)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    (got,) = _updates([zeros], params=params, weight_decay=0.5)
    np.testing.assert_allclose(got["matrix"], -0.05 * np.ones((2, 2)), rtol=1e-6)
    np.testing.assert_array_equal(got["scale"], np.zeros(2))
