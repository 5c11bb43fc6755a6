"""Tests for datachef_jax/models/qwen3/attention.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.models.qwen3 import attention


def _random(batch, heads, kv_heads, time, head_dim):
    """Returns queries, and keys and values in the layout of the cache."""
    keys = jax.random.split(jax.random.key(0), 3)
    query = jax.random.normal(keys[0], (batch, heads, time, head_dim))
    key = jax.random.normal(keys[1], (batch, kv_heads, head_dim, time))
    value = jax.random.normal(keys[2], (batch, kv_heads, time, head_dim))
    return query, attention.KeysValues(keys=key, values=value)


def _by_hand(query, filled, visible):
    """Attends token by token and head by head, in float64."""
    query, keys, values = (np.asarray(x, np.float64) for x in (query, *filled))
    out = np.zeros_like(query)
    group = query.shape[1] // keys.shape[1]
    for b, n, t in np.ndindex(query.shape[:3]):
        seen = np.flatnonzero(visible[b, t])
        if len(seen):
            scores = query[b, n, t] @ keys[b, n // group][:, seen]
            weights = np.exp(scores / np.sqrt(query.shape[3]))
            out[b, n, t] = weights / weights.sum() @ values[b, n // group, seen]
    return out


def test_grouped_agrees_with_a_loop_over_heads_and_tokens():
    query, filled = _random(2, 6, 2, 5, 4)
    visible = np.array(jax.random.bernoulli(jax.random.key(1), 0.5, (2, 5, 5)))
    visible |= np.eye(5, dtype=bool)
    got = jax.jit(attention.grouped)(query, filled, jnp.asarray(visible))
    np.testing.assert_allclose(got, _by_hand(query, filled, visible), atol=1e-5)


def test_grouped_survives_large_scores_and_queries_that_see_nothing():
    query, filled = _random(1, 2, 1, 3, 4)
    visible = jnp.array([[[True, False, False], [True, True, False], [False] * 3]])
    total = lambda q: attention.grouped(q * 1e4, filled, visible).sum()
    value, gradient = jax.jit(jax.value_and_grad(total))(query)
    assert jnp.isfinite(value) and jnp.isfinite(gradient).all()


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("time", [5, 128, 300])  # one block, one full, three
def test_causal_sees_the_own_past_within_the_segment_and_the_window(time, window):
    query, filled = _random(2, 4, 2, time, 4)
    segments = np.ones((2, time), np.int32)
    segments[0, time // 3 :] = 2
    segments[1, time - 2 :] = 0
    traced = None if window is None else jnp.asarray(window)
    got = np.array(
        jax.jit(attention.causal)(query, filled, jnp.asarray(segments), window=traced)
    )
    steps = np.arange(time)
    visible = (segments[:, :, None] == segments[:, None, :]) & (
        steps[None, :, None] >= steps[None, None, :]
    )
    if window is not None:
        visible &= steps[None, :, None] - steps[None, None, :] < window
    real = segments > 0
    expected = _by_hand(query, filled, visible & real[:, :, None])
    got, expected = got.swapaxes(1, 2)[real], expected.swapaxes(1, 2)[real]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_long_sequence_has_the_values_and_gradients_of_short_ones():
    query, filled = _random(2, 4, 2, 300, 4)
    segments = jnp.asarray(np.r_[np.full(90, 1), np.full(200, 2), np.zeros(10)], int)
    segments = jnp.stack([segments, jnp.ones_like(segments)])
    weights = jax.random.normal(jax.random.key(3), query.shape)
    real = (segments > 0)[:, None, :, None]

    def total(function, query, filled):
        mixed = function(query, filled, segments)
        return (jnp.where(real, mixed, 0.0) * weights).sum()

    slope = jax.jit(jax.value_and_grad(total, argnums=(1, 2)), static_argnums=0)
    window = jnp.asarray(70)
    got = slope(lambda *rows: attention._looped(*rows, window), query, filled)
    short = functools.partial(attention.causal, window=window)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=2e-4),
        got,
        slope(short, query, filled),
    )


def test_memory_of_a_long_sequence_grows_with_its_length_only():
    def extra(time):
        shape = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
        query, keys = shape((1, 2, time, 8)), shape((1, 1, 8, time))
        filled = attention.KeysValues(keys=keys, values=shape((1, 1, time, 8)))
        segments = jax.ShapeDtypeStruct((1, time), jnp.int32)

        def total(query, filled, segments):
            return attention.causal(query, filled, segments, window=None).sum()

        program = jax.jit(jax.grad(total)).lower(query, filled, segments)
        return program.compile().memory_analysis().temp_size_in_bytes

    # Twice the tokens, at most about twice the memory: all scores of both heads would
    # take 2 x 4 bytes x 32768^2, 8 GiB.
    assert extra(32_768) < 2.2 * extra(16_384) < 2**29
