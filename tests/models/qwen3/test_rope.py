"""Tests for datachef_jax/models/qwen3/rope.py."""

import jax
import jax.numpy as jnp
import numpy as np

from datachef_jax.models.qwen3 import rope


@jax.jit
def _rotate(x, positions):
    angles = rope.rotation(positions, head_dim=x.shape[-1], theta=100.0, scaling=None)
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


def test_yarn_stretches_the_long_wavelengths_only():
    yarn = rope.Yarn(
        factor=4.0,
        original_positions=64,
        beta_fast=4.0,
        beta_slow=1.0,
        attention_factor=1.5,
    )
    got = rope._frequencies(16, 100.0, yarn) / rope._frequencies(16, 100.0, None)
    # Pair i turns 64 / (2 pi 100^(i/8)) times: 10.2, 5.7, 3.2, 1.8, 1.01, 0.6 ...; the
    # ramp goes from pair floor(1.61) to pair ceil(4.02).
    ramp = np.clip((np.arange(8) - 1) / (5 - 1), 0, 1)
    np.testing.assert_allclose(got, 1 - ramp + ramp / 4, rtol=1e-6)
    angles = rope.rotation(jnp.zeros(1, int), head_dim=16, theta=100.0, scaling=yarn)
    np.testing.assert_array_equal(angles.cos, np.full((1, 8), 1.5))


def test_llama3_stretches_by_how_often_a_pair_turns():
    llama = rope.Llama3(
        factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_positions=64
    )
    plain = rope._frequencies(16, 100.0, None)
    got = rope._frequencies(16, 100.0, llama) / plain
    turns = 64 * plain / (2 * np.pi)
    assert turns[1] > 4 > turns[2] > turns[4] > 1 > turns[5]
    kept = (turns - 1) / (4 - 1)
    np.testing.assert_allclose(got[:2], 1.0)
    np.testing.assert_allclose(got[2:5], kept[2:5] + (1 - kept[2:5]) / 8, rtol=1e-5)
    np.testing.assert_allclose(got[5:], 1 / 8)
