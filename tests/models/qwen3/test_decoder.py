"""Tests for datachef_jax/models/qwen3/decoder.py against the model without pages."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.models.qwen3 import decoder
from datachef_jax.models.qwen3 import paged
from tests.models.qwen3 import tiny

_PAGE, _PAGES = 4, 12


def _places(tables, rows, positions):
    return paged.Places(page=tables[rows, positions // _PAGE], offset=positions % _PAGE)


@pytest.mark.parametrize("config", [tiny.CONFIG, tiny.UNTIED])
def test_reading_and_decoding_agree_with_the_full_forward_pass(config):
    model = tiny.make(config)
    rng = np.random.default_rng(3)
    tokens, lengths = rng.integers(0, 64, (3, 12)), np.array([7, 3, 1])
    tables = jnp.asarray(rng.permutation(_PAGES)[:9].reshape(3, 3), jnp.int32)
    graphdef, params = nnx.split(decoder.Decoder(model), nnx.Param)

    def extend(tokens, rows, positions, pages, reads):
        hidden, pages = nnx.merge(graphdef, params).extend(
            tokens, positions, pages, _places(tables, rows, positions), reads
        )
        return nnx.merge(graphdef, params).logits(hidden), pages

    @jax.jit
    def read(tokens, rows, positions, pages):
        packed = paged.Packed(
            tables=tables,
            starts=jnp.zeros(3, jnp.int32),
            counts=jnp.asarray(lengths),
            sequence=rows,
            position=positions,
            valid=jnp.ones(rows.size, bool),
        )
        reads = paged.reads_of_prompts(pages[0], packed)
        return extend(tokens, rows, positions, pages, reads)

    @jax.jit
    def decode(tokens, lengths, pages):
        whole = jnp.zeros(3, jnp.int32)
        reads = paged.reads_of_rows(pages[0], tables, whole, lengths + 1)
        return extend(tokens, jnp.arange(3), lengths, pages, reads)

    pages = decoder.empty(config, jnp.float32, count=_PAGES, size=_PAGE, decodes=True)
    rows = np.repeat(np.arange(3), lengths)
    positions = np.concatenate([np.arange(n) for n in lengths])
    scores, pages = read(tokens[rows, positions], rows, positions, pages)
    full = tiny.logits(model, tokens)
    np.testing.assert_allclose(scores, full[rows, positions], atol=1e-4)
    for step in range(5):
        new = lengths + step
        scores, pages = decode(tokens[np.arange(3), new], jnp.asarray(new), pages)
        np.testing.assert_allclose(scores, full[np.arange(3), new], atol=1e-4)
