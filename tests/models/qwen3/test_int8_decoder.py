"""Tests for datachef_jax/models/qwen3/int8_decoder.py."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.models.qwen3 import int8_decoder
from datachef_jax.models.qwen3 import lora
from datachef_jax.models.qwen3 import paged
from datachef_jax.models.qwen3 import quantize
from datachef_jax.models.qwen3.config import Lora
from datachef_jax.models.qwen3.decoder import Decoder
from datachef_jax.models.qwen3.projection import Projection
from tests.models.qwen3 import tiny

_INT8 = quantize.Stored(weights="int8")


def _back(array, axis):
    """Rounds a matrix and undoes the scaling."""
    numbers, scales = quantize.int8(array, axis=axis)
    return numbers * jnp.expand_dims(scales, axis)


def _rounded(model):
    """Returns a model in which every matrix has the values that int8 can say."""
    graphdef, params = nnx.split(model, nnx.Param)
    flat = []
    for path, param in nnx.to_flat_state(params):
        array = param[...]
        if path[-1] == "weights":
            array = jax.vmap(lambda x: _back(x, 0))(array)
        elif path[-1] in ("embedding", "head"):
            array = _back(array, 1)
        flat.append((path, param.replace(array)))
    return nnx.merge(graphdef, nnx.from_flat_state(flat))


def _read(decoder, tokens):
    """Returns the hidden states of a sequence's tokens."""
    count = len(tokens)
    packed = paged.Packed(
        tables=jnp.arange(4)[None],
        starts=jnp.zeros(1, jnp.int32),
        counts=jnp.full(1, count),
        sequence=jnp.zeros(count, jnp.int32),
        position=jnp.arange(count),
        valid=jnp.ones(count, bool),
    )
    pages = paged.empty(decoder.config, "float32", count=4, size=8)
    places = paged.Places(page=jnp.arange(count) // 8, offset=jnp.arange(count) % 8)
    reads = paged.reads_of_prompts(pages[0], packed)
    return decoder.extend(jnp.asarray(tokens), packed.position, pages, places, reads)[0]


@pytest.mark.parametrize("config", [tiny.CONFIG, tiny.UNTIED])
def test_it_computes_what_the_rounded_weights_would(config):
    model = tiny.make(config)
    tokens = np.random.default_rng(0).integers(0, 64, 20)
    made = int8_decoder.decoder(model, _INT8)
    plain = int8_decoder.decoder(_rounded(model), quantize.Stored())
    assert type(plain) is Decoder
    hidden, expected = _read(made, tokens), _read(plain, tokens)
    np.testing.assert_allclose(hidden, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(hidden - _read(Decoder(model), tokens)).max() > 1e-2
    np.testing.assert_allclose(
        made.logits(hidden), plain.logits(expected), rtol=1e-4, atol=1e-3
    )
    got = made.token_logprobs(hidden, jnp.asarray(tokens), temperature=0.7)
    wanted = plain.token_logprobs(expected, jnp.asarray(tokens), temperature=0.7)
    for x, y in zip(got, wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3)


def test_all_matrices_are_int8_and_all_norms_as_before():
    params = nnx.state(int8_decoder.decoder(tiny.make(), _INT8), nnx.Param)
    bits = {path: param.dtype for path, param in nnx.to_flat_state(params)}
    for path, dtype in bits.items():
        matrix = path[-1] in ("weights", "embedding")
        assert (dtype == jnp.int8) == matrix, path
    assert sum(dtype == jnp.int8 for dtype in bits.values()) == 1 + 7 * 2


def test_an_adapter_is_not_rounded():
    wanted = Lora(rank=2, alpha=4.0, targets=("q_proj",))
    layer = lora.add(tiny.make(), wanted, seed=0).layers
    graphdef, stacked = nnx.split(layer.attention.query)
    whole = nnx.merge(graphdef, jax.tree.map(lambda x: x[1], stacked))
    whole.up[...] = jnp.ones_like(whole.up[...])
    x = jnp.asarray(np.random.default_rng(1).normal(size=(3, 32)), jnp.float32)
    base = x @ _back(whole.weights[...], 0)
    adapter = x @ whole.down[...] @ whole.up[...] * 2.0
    made = int8_decoder.Int8Projection(whole)
    assert isinstance(made, Projection)
    np.testing.assert_allclose(made(x), base + adapter, rtol=1e-4, atol=1e-5)
