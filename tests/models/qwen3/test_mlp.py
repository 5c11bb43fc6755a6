"""Tests for datachef_jax/models/qwen3/mlp.py."""

from flax import nnx
import jax
import numpy as np

from datachef_jax.models.qwen3 import mlp
from tests.models.qwen3 import tiny


def test_agrees_with_numpy():
    with nnx.use_eager_sharding(False):
        block = mlp.GatedMlp(tiny.CONFIG, tiny.COMPUTE, lora=None, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (6, 32))
    parts = (block.gate, block.up, block.down)
    gate, up, down = (np.array(part.weights[...]) for part in parts)
    gated = np.array(x) @ gate
    expected = (gated / (1.0 + np.exp(-gated)) * (np.array(x) @ up)) @ down
    np.testing.assert_allclose(jax.jit(block)(x), expected, atol=1e-5)
