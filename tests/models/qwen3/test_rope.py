"""Tests for datachef_jax/models/qwen3/rope.py."""

import jax
import jax.numpy as jnp
import numpy as np

from datachef_jax.models.qwen3 import rope


@jax.jit
def _rotate(x, positions):
    angles = rope.rotation(positions, head_dim=x.shape[-1], theta=100.0)
    return rope.rotate(x, angles)


def _turn(x, positions):
    return _rotate(x, jnp.asarray(positions))


def test_matches_a_hand_computed_example():
    # Two pairs, (0, 2) and (1, 3), with frequencies 1 and 100^-1/2 = 0.1.
    got = _turn(jnp.array([[[1.0, 0.0, 0.0, 2.0]]]), [3])[0, 0]
    expected = [np.cos(3.0), -2.0 * np.sin(0.3), np.sin(3.0), 2.0 * np.cos(0.3)]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_scores_depend_on_the_distance_alone():
    query, key = jax.random.normal(jax.random.key(0), (2, 1, 1, 8))
    score = lambda m, n: (_turn(query, [m]) * _turn(key, [n])).sum()
    np.testing.assert_allclose(score(9, 4), score(105, 100), atol=1e-4)
    assert abs(score(9, 4) - score(4, 9)) > 1e-2
