"""Tests for datachef_jax/models/qwen3/norm.py."""

import dataclasses

from flax import nnx
import jax.numpy as jnp
import numpy as np

from datachef_jax.models.qwen3 import norm
from tests.models.qwen3 import tiny


def _make(dtype):
    with nnx.use_eager_sharding(False):
        return norm.RmsNorm(
            2,
            "embed",
            dataclasses.replace(tiny.CONFIG, rms_norm_eps=0.5),
            dataclasses.replace(tiny.COMPUTE, dtype=dtype),
        )


def test_matches_a_hand_computed_example():
    block = _make("float32")
    block.scale[...] = jnp.array([1.0, -2.0])
    # mean square 24.5, plus eps 25, root 5
    got = block(jnp.array([[7.0, 0.0], [0.0, 7.0]]))
    np.testing.assert_allclose(got, [[1.4, 0.0], [0.0, -2.8]], rtol=1e-6)


def test_normalizes_in_float32_whatever_comes_in():
    # 300^2 is no float16, and bfloat16 would round the mean square.
    got = _make("bfloat16")(jnp.full((1, 2), 300.0, jnp.float16))
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(jnp.float32), [[1.0, 1.0]], rtol=1e-2)
