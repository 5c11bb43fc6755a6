"""Tests for datachef_jax/models/qwen3/paged.py against attention without pages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.models.qwen3 import paged

_PAGE, _COUNT, _MOST = 4, 128, 10
_KV_HEADS, _GROUP, _WIDTH = 2, 3, 8


def _pool(rng, dtype="float32", segments=(64, 48, 16)):
    """Returns a pool of random pages, in segments of different lengths."""

    def content(some):
        shapes = (some, _KV_HEADS, _WIDTH, _PAGE), (some, _KV_HEADS, _PAGE, _WIDTH)
        if dtype == "int8":
            scales = rng.uniform(0.5, 1.5, size=(some, 2, _KV_HEADS, _PAGE)) / 64
            drawn = (rng.integers(-127, 128, size=shape) for shape in shapes)
            keys, values = (jnp.asarray(x, jnp.int8) for x in drawn)
            return paged.Content(keys, values, jnp.asarray(scales, jnp.float32))
        drawn = (rng.normal(size=shape) for shape in shapes)
        return paged.Content(*(jnp.asarray(x, dtype) for x in drawn), None)

    return paged.Pages(tuple(content(some) for some in segments))


def _whole(pool):
    """Returns all pages' keys and values as NumPy arrays of float32, scaled."""
    joined = jax.tree.map(lambda *x: np.concatenate(x), *pool.segments)
    keys, values = (x.astype(np.float32) for x in joined[:2])
    if joined.scales is not None:
        keys *= joined.scales[:, 0, :, None, :]
        values *= joined.scales[:, 1, :, :, None]
    return keys, values


def _sequence(pool, table, length):
    """Returns keys and values [length, kv_heads, head_dim] of one table's pages."""
    keys, values = _whole(pool)
    keys = keys[table].transpose(0, 3, 1, 2)
    values = values[table].transpose(0, 2, 1, 3)
    shape = (-1, _KV_HEADS, _WIDTH)
    return keys.reshape(shape)[:length], values.reshape(shape)[:length]


def _attend(query, keys, values, window):
    """Attends from one query [heads, head_dim] at the last position, in float64."""
    keys, values = (np.repeat(x.astype(np.float64), _GROUP, 1) for x in (keys, values))
    scores = np.einsum("hd,lhd->hl", np.asarray(query, np.float64), keys)
    scores /= np.sqrt(_WIDTH)
    if window is not None:
        scores[:, : max(len(keys) - window, 0)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("hl,lhd->hd", weights / weights.sum(-1, keepdims=True), values)


def _rows(rng, rows):
    """Draws who has which pages: all share two, groups of three one more."""
    free = rng.permutation(_COUNT).tolist()
    common = [free.pop(), free.pop()]
    tables, whole = np.zeros((rows, _MOST), np.int32), np.zeros(rows, np.int32)
    lengths = np.zeros(rows, np.int32)
    for row in range(rows):
        if row % 3 == 0:
            shared = [*common, free.pop()]
        if row == 5:
            continue  # dead
        own = [free.pop() for _ in range(rng.integers(1, _MOST - 3))]
        table = shared + own
        tables[row, : len(table)], whole[row] = table, len(shared)
        lengths[row] = (len(table) - 1) * _PAGE + rng.integers(1, _PAGE + 1)
    return tables, whole, lengths


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize(
    ("rows", "dtype"),  # of 30 some read what had to be copied
    [(4, "float32"), (30, "float32"), (30, "int8"), (4, "float8_e4m3fn")],
)
def test_rows_attend_as_without_pages(rows, dtype, window):
    rng = np.random.default_rng(rows)
    pool, (tables, whole, lengths) = _pool(rng, dtype), _rows(rng, rows)
    shape = (rows, _KV_HEADS * _GROUP, _WIDTH)
    query = jnp.asarray(rng.normal(size=shape), jnp.float32)
    reads = jax.jit(paged.reads_of_rows)(
        pool, *map(jnp.asarray, (tables, whole, lengths))
    )
    assert (reads.extra > 0) == (rows == 30)
    got = jax.jit(functools.partial(paged.attend, window=window))(query, pool, reads)
    for row in np.flatnonzero(lengths):
        keys, values = _sequence(pool, tables[row], lengths[row])
        expected = _attend(query[row], keys, values, window)
        np.testing.assert_allclose(got[row], expected, atol=1e-5)


def test_a_row_gets_the_same_bits_whoever_reads_beside_it():
    rng = np.random.default_rng(0)
    pool = jax.tree.map(lambda x: jnp.tile(x, (1, 1, 4, 4)), _pool(rng))
    tables, whole, lengths = (jnp.asarray(x) for x in _rows(rng, 30))
    query = jnp.asarray(rng.normal(size=(30, 6, 4 * _WIDTH)), jnp.float32)

    @jax.jit
    def run(lengths, order):
        reads = paged.reads_of_rows(pool, tables[order], whole[order], lengths[order])
        got = paged.attend(query[order], pool, reads, window=None)
        return jnp.zeros_like(got).at[order].set(got)

    lengths = lengths * 4
    crowd = run(lengths, jnp.arange(30))
    for row in (0, 7, 29):
        alone = jnp.where(jnp.arange(30) == row, lengths, 0)
        got = run(alone, jnp.asarray(rng.permutation(30)))
        np.testing.assert_array_equal(got[row], crowd[row])


@pytest.mark.parametrize("segments", [(64, 48, 16), (_COUNT,)])
@pytest.mark.parametrize(
    ("window", "dtype"), [(None, "float32"), (5, "float32"), (None, "int8")]
)
def test_tiles_attend_as_without_pages(window, dtype, segments):
    rng = np.random.default_rng(1)
    pool = _pool(rng, dtype, segments)
    tables = rng.permutation(_COUNT)[: 2 * _MOST].reshape(2, _MOST)
    tables[0, 8:] = -1  # of pages that no token sees, a table says nothing
    # Positions 3 to 8 of one sequence and 20 to 21 of another; two tiles are unused.
    positions = [*range(3, 9), 20, 21]
    owner = [0] * 6 + [1] * 2
    tokens = np.array([[8, 0], [1, 2], [3, 4], [5, 8], [6, 7], [8, 8]])
    tiles = paged.Tiles(
        tokens=jnp.asarray(tokens),
        start=jnp.asarray([2, 4, 6, 8, 20, 0]),
        tables=jnp.asarray(tables[[0, 0, 0, 0, 1, 0]], jnp.int32),
        places=jnp.asarray([1, 2, 3, 4, 5, 6, 8, 9]),
    )
    query = jnp.asarray(rng.normal(size=(8, _KV_HEADS * _GROUP, _WIDTH)), jnp.float32)
    got = jax.jit(functools.partial(paged.attend, window=window))(query, pool, tiles)
    for i, (position, sequence) in enumerate(zip(positions, owner, strict=True)):
        keys, values = _sequence(pool, tables[sequence], position + 1)
        expected = _attend(query[i], keys, values, window)
        np.testing.assert_allclose(got[i], expected, atol=1e-5)


def test_what_is_written_is_found_and_nothing_else_changes():
    rng = np.random.default_rng(2)
    pool = _pool(rng)
    key, value = (
        jnp.asarray(rng.normal(size=(3, _KV_HEADS, _WIDTH)), jnp.float32)
        for _ in range(2)
    )
    places = paged.Places(
        page=jnp.asarray([70, _COUNT, 5]), offset=jnp.asarray([1, 0, 3])
    )
    got = paged.write(pool, key, value, places)
    keys, values = _whole(pool)
    keys[70, :, :, 1], keys[5, :, :, 3] = key[0], key[2]
    values[70, :, 1], values[5, :, 3] = value[0], value[2]
    for x, y in zip(_whole(got), (keys, values), strict=True):
        np.testing.assert_array_equal(x, y)
    got = paged.copy(got, jnp.asarray(70), jnp.asarray(2))
    keys[2], values[2] = keys[70], values[70]
    for x, y in zip(_whole(got), (keys, values), strict=True):
        np.testing.assert_array_equal(x, y)


def test_int8_pages_hold_each_token_and_head_with_a_scale_of_its_own():
    rng = np.random.default_rng(3)
    pool = _pool(rng, "int8")
    before = _whole(pool)
    size = np.array([[1.0, 100.0], [0.01, 1.0]])[:, :, None]  # of token and head
    key, value = (
        jnp.asarray(rng.normal(size=(2, _KV_HEADS, _WIDTH)) * size, jnp.float32)
        for _ in range(2)
    )
    places = paged.Places(page=jnp.asarray([70, 5]), offset=jnp.asarray([1, 3]))
    got = paged.copy(paged.write(pool, key, value, places), *map(jnp.asarray, (5, 9)))
    assert got.segments[0].keys.dtype == jnp.int8
    (keys, values), steps = _whole(got), 0.5001 / 127
    for page, offset, token in ((70, 1, 0), (5, 3, 1), (9, 3, 1)):
        for x, y in ((keys[page, :, :, offset], key), (values[page, :, offset], value)):
            room = np.abs(y[token]).max(-1, keepdims=True) * steps
            assert (np.abs(x - y[token]) <= room).all()
    keys[70, :, :, 1] = before[0][70, :, :, 1]
    keys[5, :, :, 3], keys[9] = before[0][5, :, :, 3], before[0][9]
    np.testing.assert_array_equal(keys, before[0])


def test_float8_pages_hold_the_largest_number_in_place_of_larger_ones():
    pool = jax.tree.map(
        jnp.zeros_like, _pool(np.random.default_rng(4), "float8_e4m3fn")
    )
    key = jnp.full((1, _KV_HEADS, _WIDTH), -1e4)
    places = paged.Places(page=jnp.asarray([1]), offset=jnp.asarray([0]))
    keys, values = _whole(paged.write(pool, key, key / -1e4, places))
    assert (keys[1, :, :, 0] == -448).all() and (values[1, :, 0] == 1).all()
