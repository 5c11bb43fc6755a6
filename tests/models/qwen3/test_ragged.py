"""Tests for datachef_jax/models/qwen3/ragged.py.

The kernel runs on a TPU only (JAX's interpreter lacks what it uses), so what it is
given is checked with the reference that comes with it, and that it compiles in
`test_tpu.py`.
"""

import dataclasses
import functools

import jax
from jax.experimental.pallas.ops.tpu.ragged_paged_attention import kernel
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.models.qwen3 import paged
from datachef_jax.models.qwen3 import ragged
from datachef_jax.parallel import sharding
from tests.models.qwen3 import tiny

_PAGE, _COUNT, _MOST = 4, 64, 8
_KV_HEADS, _GROUP, _WIDTH = 2, 3, 8


def _both(rng):
    """Returns the same random pages in both layouts."""
    shape = (_COUNT * _PAGE, _KV_HEADS, _WIDTH)
    key, value = (jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(2))
    at = jnp.arange(_COUNT * _PAGE)
    places = paged.Places(page=at // _PAGE, offset=at % _PAGE)
    empty = paged.Content(
        keys=jnp.zeros((_COUNT, _KV_HEADS, _WIDTH, _PAGE)),
        values=jnp.zeros((_COUNT, _KV_HEADS, _PAGE, _WIDTH)),
        scales=None,
    )
    pool = ragged.Pages(jnp.zeros((_COUNT, _PAGE, 2 * _KV_HEADS, _WIDTH)))
    return (
        paged.write(paged.Pages((empty,)), key, value, places),
        ragged.write(pool, key, value, places),
    )


def _reference(query, pages, reads, *, window):
    """Does what `ragged.attend` does, in plain jnp."""
    return kernel.ref_ragged_paged_attention(
        query,
        pages.pool,
        reads.lengths,
        reads.tables,
        reads.ends,
        reads.count,
        sm_scale=_WIDTH**-0.5,
        sliding_window=window,
    )


@pytest.mark.parametrize("window", [None, 5])
def test_rows_read_what_they_read_in_the_other_layout(window):
    rng = np.random.default_rng(0)
    plain, pool = _both(rng)
    lengths = jnp.asarray([1, 4, 5, 30, 17], jnp.int32)
    tables = rng.permutation(_COUNT)[: 5 * _MOST].reshape(5, _MOST)
    rows = jnp.asarray(tables, jnp.int32), jnp.asarray([0, 0, 1, 2, 4]), lengths
    query = jnp.asarray(rng.normal(size=(5, _KV_HEADS * _GROUP, _WIDTH)), jnp.float32)
    got = _reference(query, pool, ragged.reads_of_rows(pool, *rows), window=window)
    expected = paged.attend(
        query, plain, paged.reads_of_rows(plain, *rows), window=window
    )
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("window", [None, 5])
def test_prompts_read_what_they_read_in_the_other_layout(window):
    rng = np.random.default_rng(1)
    plain, pool = _both(rng)
    starts, counts = np.array([3, 0, 20, 0]), np.array([6, 21, 2, 0])
    sequence = np.repeat(np.arange(4), counts)
    offset = np.concatenate([np.arange(n) for n in counts])
    room = 3  # the batch is not full
    packed = paged.Packed(
        tables=jnp.asarray(rng.permutation(_COUNT)[: 4 * _MOST].reshape(4, _MOST)),
        starts=jnp.asarray(starts),
        counts=jnp.asarray(counts),
        sequence=jnp.asarray(np.pad(sequence, (0, room))),
        position=jnp.asarray(np.pad(starts[sequence] + offset, (0, room))),
        valid=jnp.arange(counts.sum() + room) < counts.sum(),
    )
    shape = (counts.sum() + room, _KV_HEADS * _GROUP, _WIDTH)
    query = jnp.asarray(rng.normal(size=shape), jnp.float32)
    reads = ragged.reads_of_prompts(pool, packed)
    got = _reference(
        query, pool, jax.tree.map(lambda x: x.astype(int), reads), window=window
    )
    tiles = paged.reads_of_prompts(plain, packed)
    expected = jax.jit(functools.partial(paged.attend, window=window))(
        query, plain, tiles
    )
    count = counts.sum()
    np.testing.assert_allclose(got[:count], expected[:count], atol=1e-5)


def test_a_copied_page_is_the_same_in_both_layouts():
    plain, pool = _both(np.random.default_rng(2))
    source, target = jnp.asarray(9), jnp.asarray(40)
    got = ragged.copy(pool, source, target).pool
    expected = pool.pool.at[40].set(pool.pool[9])
    np.testing.assert_array_equal(got, expected)
    keys = np.asarray(paged.copy(plain, source, target).segments[0].keys)
    np.testing.assert_array_equal(keys[40].transpose(2, 0, 1), got[40, :, 0::2])


def test_what_the_kernel_cannot_read_is_refused():
    sizes = dict(count=2, size=4)
    with pytest.raises(ValueError, match="cannot be int8 on a TPU: .* float8"):
        ragged.empty(tiny.CONFIG, "int8", **sizes)
    one = dataclasses.replace(tiny.CONFIG, num_kv_heads=1)
    with pytest.raises(ValueError, match="float8_e4m3fn with 1 key heads"):
        ragged.empty(one, "float8_e4m3fn", **sizes)
    for config, dtype in ((one, "bfloat16"), (tiny.CONFIG, "float8_e4m3fn")):
        (pages, _) = ragged.empty(config, dtype, **sizes)
        assert pages.pool.shape == (2, 4, 2 * config.num_kv_heads, 16)


def test_float8_pages_hold_what_is_written():
    (pages, _) = ragged.empty(tiny.CONFIG, "float8_e4m3fn", count=2, size=4)
    key = jnp.full((1, 2, 16), 1e4)
    places = paged.Places(page=jnp.asarray([1]), offset=jnp.asarray([2]))
    pool = ragged.write(pages, key, -key / 1e4, places).pool.astype(jnp.float32)
    assert (pool[1, 2, 0::2] == 448).all() and (pool[1, 2, 1::2] == -1).all()
    assert jnp.abs(pool).sum() == 2 * 16 * 449


@pytest.mark.parametrize(("model", "own"), [(2, 2), (4, 4)])
def test_a_key_and_its_value_stay_on_one_device(model, own):
    """Of two key heads two devices have one each, and of four all have both."""
    mesh = sharding.make_mesh(data=1, model=model, devices=jax.devices()[:model])
    with jax.set_mesh(mesh):
        make = lambda: ragged.empty(tiny.CONFIG, "float32", count=2, size=4)
        (pages, _) = jax.jit(make)()
    assert pages.pool.addressable_shards[0].data.shape == (2, 4, own, 16)
