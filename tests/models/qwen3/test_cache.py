"""Tests for datachef_jax/models/qwen3/cache.py."""

import jax
import numpy as np

from datachef_jax.models.qwen3 import cache


def test_widening_keeps_the_tokens_and_adds_room_behind_them():
    keys, values = jax.random.normal(jax.random.key(0), (2, 3, 2, 4, 5))
    layer = cache.LayerCache(keys=keys, values=values.swapaxes(2, 3))
    wide = cache.widen(layer, slots=9)
    assert wide.keys.shape == (3, 2, 4, 9) and wide.values.shape == (3, 2, 9, 4)
    np.testing.assert_array_equal(wide.keys[..., :5], layer.keys)
    np.testing.assert_array_equal(wide.values[:, :, :5], layer.values)
