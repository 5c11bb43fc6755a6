"""Tests for datachef_jax/rl/advantages.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.rl import advantages


def _group_relative(rewards, valid=None, *, divide_by_std=True, delta=0.0):
    valid = jnp.ones(rewards.shape, bool) if valid is None else valid
    return advantages.group_relative(
        rewards, valid, divide_by_std=divide_by_std, delta=delta
    )


def test_matches_the_formula_on_a_hand_computed_group():
    rewards = jnp.array([[0.0, 0.0, 1.0, 1.0]])  # mean 1/2, std 1/2
    got = _group_relative(rewards)
    np.testing.assert_allclose(got, [[-1.0, -1.0, 1.0, 1.0]], rtol=1e-6)
    got = _group_relative(rewards, delta=0.5)
    np.testing.assert_allclose(got, [[-0.5, -0.5, 0.5, 0.5]], rtol=1e-6)
    got = _group_relative(rewards, divide_by_std=False, delta=0.5)
    np.testing.assert_allclose(got, [[-0.5, -0.5, 0.5, 0.5]], rtol=1e-6)


@pytest.mark.parametrize("divide_by_std", [False, True])
def test_sums_to_zero_and_ignores_a_shift_of_the_rewards(divide_by_std):
    rewards = jax.random.normal(jax.random.key(0), (5, 8))
    got = _group_relative(rewards, divide_by_std=divide_by_std)
    shifted = _group_relative(rewards + 3.0, divide_by_std=divide_by_std)
    np.testing.assert_allclose(got.sum(-1), np.zeros(5), atol=1e-5)
    np.testing.assert_allclose(shifted, got, atol=1e-5)


@pytest.mark.parametrize("divide_by_std", [False, True])
def test_an_unscored_member_changes_nothing_for_the_others(divide_by_std):
    scored = jnp.array([[0.2, 0.9, 0.4]])
    with_hole = jnp.array([[0.2, jnp.nan, 0.9, 0.4]])
    valid = jnp.array([[True, False, True, True]])
    expected = _group_relative(scored, divide_by_std=divide_by_std, delta=0.01)
    got = _group_relative(with_hole, valid, divide_by_std=divide_by_std, delta=0.01)
    np.testing.assert_allclose(got[:, [0, 2, 3]], expected, rtol=1e-6)
    assert got[0, 1] == 0.0


@pytest.mark.parametrize("reward", [0.0, 0.1, 1.0 / 3.0, 1e6 / 3.0])
def test_equal_rewards_teach_nothing(reward):
    got = _group_relative(jnp.full((1, 7), reward))
    np.testing.assert_array_equal(got, np.zeros((1, 7)))


@pytest.mark.parametrize("survivors", [0, 1])
def test_fewer_than_two_valid_members_teach_nothing(survivors):
    rewards = jnp.array([[0.3, 0.7, 0.1]])
    got = _group_relative(rewards, jnp.arange(3)[None, :] < survivors)
    np.testing.assert_array_equal(got, np.zeros((1, 3)))


def test_a_group_of_one_is_refused():
    with pytest.raises(ValueError, match="at least 2 members, got 1"):
        _group_relative(jnp.ones((3, 1)))
