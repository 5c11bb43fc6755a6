"""A Qwen3 small enough to test with, and its plain forward pass."""

import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp

from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.config import Qwen3Config

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
UNTIED = dataclasses.replace(CONFIG, tie_embeddings=False)


def make(config=CONFIG, *, seed=0, remat=False):
    """Returns a random float32 model with pronounced opinions about next tokens."""
    model = weights.random(
        config, seed=seed, dtype="float32", param_dtype="float32", remat=remat
    )
    model.embedding[...] = model.embedding[...] * 20.0
    return model


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
