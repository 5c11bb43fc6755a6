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


@pytest.mark.parametrize("config", [tiny.CONFIG, tiny.UNTIED])
def test_the_last_layer_is_computed_for_the_tokens_that_are_asked_for(config):
    model = tiny.make(config)
    rng = np.random.default_rng(4)
    # Of the first sequence three tokens are there already; the last one has none.
    tokens, starts = rng.integers(0, 64, (4, 12)), np.array([3, 0, 0, 0])
    counts = np.array([5, 1, 9, 0])
    tables = jnp.asarray(rng.permutation(_PAGES).reshape(4, 3), jnp.int32)
    graphdef, params = nnx.split(decoder.Decoder(model), nnx.Param)

    @jax.jit
    def read(starts, counts, rows, positions, pages, every):
        packed = paged.Packed(
            tables=tables,
            starts=starts,
            counts=counts,
            sequence=rows,
            position=positions,
            valid=jnp.ones(rows.size, bool),
        )
        return nnx.merge(graphdef, params).read(
            jnp.asarray(tokens)[rows, positions],
            positions,
            pages,
            _places(tables, rows, positions),
            packed,
            every=every,
        )

    def ask(starts, counts, pages, every):
        rows = np.repeat(np.arange(4), counts)
        positions = np.concatenate([s + np.arange(n) for s, n in zip(starts, counts)])
        found = read(starts, counts, rows, positions, pages, jnp.asarray(every))
        return rows, positions, *found

    pages = decoder.empty(config, jnp.float32, count=_PAGES, size=_PAGE, decodes=False)
    *_, pages = ask(np.zeros(4, int), starts, pages, False)
    full = tiny.logits(model, tokens)
    for every in (False, True):
        rows, positions, ends, everywhere, _ = ask(starts, counts, pages, every)
        scores = nnx.merge(graphdef, params).logits(ends)
        last = (starts + counts - 1)[:3]
        np.testing.assert_allclose(scores[:3], full[np.arange(3), last], atol=1e-4)
        if every:
            scores = nnx.merge(graphdef, params).logits(everywhere)
            np.testing.assert_allclose(scores, full[rows, positions], atol=1e-4)
        else:
            assert not everywhere.any()
