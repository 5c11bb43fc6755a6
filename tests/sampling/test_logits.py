"""Tests for datachef_jax/sampling/logits.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.sampling import logits


def _sample(scores, seeds, position=0, temperature=1.0):
    return jax.jit(logits.sample)(
        jnp.asarray(scores, jnp.float32),
        jnp.asarray(seeds, jnp.uint32),
        jnp.int32(position),
        jnp.float32(temperature),
    )


def test_choose_splits_the_levels_exactly_by_probability():
    probabilities = np.array([0.125, 0.0, 0.5, 0.25, 0.125], np.float32)
    levels = np.arange(64) / 64  # exact in float32, like these probabilities
    rows = np.tile(probabilities, (64, 1))
    tokens = logits.choose(jnp.asarray(rows), jnp.asarray(levels, jnp.float32))
    np.testing.assert_array_equal(np.bincount(tokens, minlength=5), [8, 0, 32, 16, 8])


def test_choose_never_takes_an_impossible_token():
    probabilities = np.zeros((2, 4096), np.float32)
    probabilities[:, 1000:3000] = 1.0 / 2000  # the running sum rounds all the time
    levels = np.array([0.0, 1.0 - 2.0**-24], np.float32)
    first, last = logits.choose(jnp.asarray(probabilities), jnp.asarray(levels))
    assert first == 1000 and 2990 <= last < 3000


def test_uniform_depends_on_seed_and_position_alone():
    draw = lambda seeds, position: np.array(
        logits.uniform(jnp.asarray(seeds, jnp.uint32), jnp.int32(position))
    )
    both = draw([5, 2**32 - 1], 3)
    assert draw([5], 3) == both[0] and draw([2**32 - 1, 0, 1], 3)[0] == both[1]
    assert len({*both, *draw([5, 2**32 - 1], 4), *draw([6], 3)}) == 5


def test_uniform_is_uniform_over_seeds_and_over_positions():
    seeds = np.sort(logits.uniform(jnp.arange(4096, dtype=jnp.uint32), jnp.int32(0)))
    one = jax.vmap(lambda i: logits.uniform(jnp.zeros(1, jnp.uint32), i)[0])
    positions = np.sort(one(jnp.arange(4096)))
    for draws in (seeds, positions):  # Kolmogorov-Smirnov, p = 0.001: 1.95 / sqrt(n)
        assert np.abs(draws - np.arange(4096) / 4096).max() < 1.95 / 64


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_softmax(temperature):
    scores = np.array([2.0, 1.0, 0.0, -1.0, -30.0])
    exact = np.exp(scores / temperature) / np.exp(scores / temperature).sum()
    n = 20_000
    tokens, logprobs = _sample(
        np.tile(scores, (n, 1)), np.arange(n), temperature=temperature
    )
    counts = np.bincount(tokens, minlength=5)
    chi_square = ((counts - n * exact)[:4] ** 2 / (n * exact)[:4]).sum()
    assert counts[4] == 0 and chi_square < 16.3  # 3 degrees of freedom, p = 0.001
    np.testing.assert_allclose(logprobs, np.log(exact)[np.array(tokens)], atol=1e-5)


def test_temperature_zero_takes_the_likeliest_and_reports_the_raw_probability():
    scores = np.array([[0.0, 3.0, 1.0], [5.0, -2.0, 4.0]])
    tokens, logprobs = _sample(scores, [1, 2], temperature=0.0)
    np.testing.assert_array_equal(tokens, [1, 0])
    expected = np.log(np.exp(scores) / np.exp(scores).sum(-1, keepdims=True))
    np.testing.assert_allclose(logprobs, [expected[0, 1], expected[1, 0]], atol=1e-6)
