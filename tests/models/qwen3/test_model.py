"""Tests for datachef_jax/models/qwen3/model.py."""

import dataclasses
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from datachef_jax.models.qwen3 import layout
from datachef_jax.models.qwen3 import weights
from tests.models.qwen3 import tiny

_GOLDEN = pathlib.Path(__file__).parent / "golden"
_BOTH = pytest.mark.parametrize("config", [tiny.CONFIG, tiny.UNTIED])


def _tokens(*shape):
    return np.array(jax.random.randint(jax.random.key(7), shape, 0, 64))


def test_agrees_with_transformers_as_recorded():
    model = weights.load(_GOLDEN, tiny.COMPUTE)
    golden = np.load(_GOLDEN / "logits.npz")
    steps = np.arange(golden["tokens"].shape[1])
    real = steps[None] < golden["lengths"][:, None]
    got = tiny.logits(model, golden["tokens"], segments=real)
    np.testing.assert_allclose(got[real], golden["logits"][real], atol=1e-4)
    assert np.ptp(golden["logits"][real]) > 1.0  # or the tolerance proves nothing


@_BOTH
def test_packed_sequences_do_not_see_one_another(config):
    model = tiny.make(config)
    tokens = _tokens(1, 20)
    packed = tiny.logits(
        model,
        tokens,
        positions=np.r_[np.arange(8), np.arange(9), 0, 0, 0][None],
        segments=np.r_[np.full(8, 1), np.full(9, 2), 0, 0, 0][None],
    )
    first = tiny.logits(model, tokens[:, :8])
    second = tiny.logits(model, tokens[:, 8:17])
    np.testing.assert_allclose(packed[:, :8], first, atol=1e-4)
    np.testing.assert_allclose(packed[:, 8:17], second, atol=1e-4)


def test_later_tokens_change_nothing():
    model = tiny.make()
    tokens = _tokens(2, 10)
    other = tokens.copy()
    other[:, 6:] = (other[:, 6:] + 1) % 64
    a, b = tiny.logits(model, tokens), tiny.logits(model, other)
    np.testing.assert_array_equal(a[:, :6], b[:, :6])
    assert np.abs(a[:, 6:] - b[:, 6:]).min(-1).max() > 1e-3


def _loss(graphdef, params, tokens):
    model = nnx.merge(graphdef, params)
    steps = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
    hidden = model(tokens, steps, jnp.ones_like(tokens))
    return jax.nn.logsumexp(model.logits(hidden), axis=-1).mean()


@pytest.mark.parametrize(
    "remat, unroll",
    [("full", 1), ("dots", 1), ("offload", 1), ("none", 2), ("none", 9)],
)
def test_recomputing_and_unrolling_layers_changes_no_gradient(remat, unroll):
    tokens = jnp.asarray(_tokens(2, 9))
    compute = dataclasses.replace(tiny.COMPUTE, remat=remat, unroll=unroll)
    gradients = []
    for model in (tiny.make(), tiny.make(tiny.CONFIG, compute)):
        graphdef, params = nnx.split(model, nnx.Param)
        step = jax.jit(jax.grad(_loss, argnums=1), static_argnums=0)
        gradients.append(jax.tree.leaves(step(graphdef, params, tokens)))
    assert all(np.abs(g).max() > 0.0 for g in gradients[0])
    for plain, recomputed in zip(*gradients, strict=True):
        np.testing.assert_allclose(plain, recomputed, atol=1e-6)


@pytest.mark.parametrize("unroll", [1, 4])
def test_recomputing_takes_less_memory(unroll):
    tokens = jax.ShapeDtypeStruct((8, 128), jnp.int32)
    config = dataclasses.replace(tiny.CONFIG, num_layers=4)

    def temporary(remat):
        compute = dataclasses.replace(tiny.COMPUTE, remat=remat, unroll=unroll)
        graphdef, params = nnx.split(layout.abstract(config, compute), nnx.Param)
        step = jax.jit(jax.grad(_loss, argnums=1), static_argnums=0)
        compiled = step.lower(graphdef, params, tokens).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary("full") < 0.6 * temporary("none")


def test_splitting_over_devices_changes_no_number(mesh, tmp_path):
    whole = tiny.make()
    weights.save(whole, tmp_path, stored_dtype="float32")
    tokens = jnp.asarray(_tokens(8, 10))
    step = jax.jit(jax.value_and_grad(_loss, argnums=1), static_argnums=0)
    with jax.set_mesh(mesh):
        split = weights.load(tmp_path, tiny.COMPUTE)
        query = split.layers.attention.query.weights[...]
        assert query.sharding.spec == P(None, "data", "model")
        got = step(*nnx.split(split, nnx.Param), jax.device_put(tokens, P("data")))
    expected = step(*nnx.split(whole, nnx.Param), tokens)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-6)
    for a, b in zip(*map(jax.tree.leaves, (got[1], expected[1])), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_bfloat16_compute_keeps_float32_weights_and_logits():
    compute = dataclasses.replace(tiny.COMPUTE, dtype="bfloat16")
    model, exact = tiny.make(tiny.CONFIG, compute), tiny.make()
    tokens = jnp.asarray(_tokens(2, 6))
    assert model.embedding[...].dtype == jnp.float32
    hidden = jax.eval_shape(model, tokens, tokens * 0, tokens * 0 + 1)
    assert hidden.dtype == jnp.bfloat16
    got, expected = tiny.logits(model, tokens), tiny.logits(exact, tokens)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, atol=0.02 * np.ptp(expected))
