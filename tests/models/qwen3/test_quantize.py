"""Tests for datachef_jax/models/qwen3/quantize.py."""

import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.models.qwen3 import quantize


def test_numbers_become_multiples_of_a_scale_of_their_own_stretch():
    x = jnp.asarray([[1.27, -0.5, 0.004], [0.0, 0.0, 0.0], [-254.0, 2.0, 3.1]])
    numbers, scales = quantize.int8(x, axis=1)
    np.testing.assert_allclose(scales, [0.01, 1e-30, 2.0], rtol=1e-6)
    np.testing.assert_array_equal(numbers, [[127, -50, 0], [0, 0, 0], [-127, 1, 2]])
    numbers, scales = quantize.int8(x.T, axis=0)
    np.testing.assert_array_equal(numbers[:, 2], [-127, 1, 2])
    assert numbers.dtype == jnp.int8 and scales.dtype == jnp.float32


def test_the_error_is_at_most_half_a_step():
    x = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    numbers, scales = quantize.int8(jnp.asarray(x, jnp.bfloat16), axis=1)
    back = np.asarray(numbers, np.float32) * scales[:, None]
    x = np.asarray(jnp.asarray(x, jnp.bfloat16), np.float32)
    steps = np.abs(x).max(1) / 127
    assert (np.abs(back - x).max(1) <= 0.5001 * steps).all()


def test_unknown_ways_to_store_are_refused_by_name():
    with pytest.raises(ValueError, match="weights 'int4' are none of"):
        quantize.Stored(weights="int4")
    with pytest.raises(ValueError, match="pages 'fp8' are none of"):
        quantize.Stored(pages="fp8")
