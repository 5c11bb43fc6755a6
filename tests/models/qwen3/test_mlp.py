"""Tests for datachef_jax/models/qwen3/mlp.py."""

from flax import nnx
import jax
import numpy as np

from datachef_jax.models.qwen3 import mlp


def test_agrees_with_numpy():
    with nnx.use_eager_sharding(False):
        block = mlp.GatedMlp(
            6, 10, dtype="float32", param_dtype="float32", rngs=nnx.Rngs(0)
        )
    x = jax.random.normal(jax.random.key(1), (2, 3, 6))
    gate, up, down = (np.array(w[...]) for w in (block.gate, block.up, block.down))
    gated = np.array(x) @ gate
    expected = (gated / (1.0 + np.exp(-gated)) * (np.array(x) @ up)) @ down
    np.testing.assert_allclose(jax.jit(block)(x), expected, atol=1e-5)
