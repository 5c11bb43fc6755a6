"""A Qwen3 small enough to test with, and its plain forward pass."""

import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.model import Qwen3

CONFIG = Qwen3Config(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    rope_theta=10_000.0,
    rms_norm_eps=1e-6,
    tie_embeddings=True,
    max_positions=256,
)
COMPUTE = Compute(
    dtype="float32", param_dtype="float32", remat="none", shard_sequence=False, unroll=1
)
UNTIED = dataclasses.replace(CONFIG, tie_embeddings=False)


def make(config=CONFIG, compute=COMPUTE, *, seed=0):
    """Returns a model of random weights in which none has a special value.

    Drawn by numpy: compiling `weights.random` would take a test seconds.
    """
    with nnx.use_eager_sharding(False):
        shapes = nnx.eval_shape(lambda: Qwen3(config, compute, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(seed)

    def draw(path, shape):
        norm = "scale" in jax.tree_util.keystr(path)
        around = 1.0 if norm else 0.0  # norms scale, all else projects
        drawn = around + 0.3 * rng.standard_normal(shape.shape)
        return jnp.asarray(drawn, shape.dtype)

    graphdef, params = nnx.split(shapes, nnx.Param)
    return nnx.merge(graphdef, jax.tree.map_with_path(draw, params))


@functools.partial(jax.jit, static_argnames="graphdef")
def _logits(params, tokens, positions, segments, *, graphdef):
    model = nnx.merge(graphdef, params)
    return model.logits(model(tokens, positions, segments))


def logits(model, tokens, *, positions=None, segments=None):
    """Returns logits [batch, time, vocab] without any cache."""
    tokens = jnp.asarray(tokens, jnp.int32)
    if positions is None:
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
    if segments is None:
        segments = jnp.ones_like(tokens)
    graphdef, params = nnx.split(model, nnx.Param)
    return _logits(
        params,
        tokens,
        jnp.asarray(positions, jnp.int32),
        jnp.asarray(segments, jnp.int32),
        graphdef=graphdef,
    )
