"""Tests for datachef_jax/models/qwen3/block_tables.py.

Here the kernel runs in JAX's interpreter, and is lowered for a GPU that is not there.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.models.qwen3 import block_tables
from datachef_jax.models.qwen3 import paged
from datachef_jax.parallel import sharding
from tests.models.qwen3 import tiny

_PAGE, _COUNT, _MOST = 16, 40, 5
_HEADS, _KV_HEADS, _WIDTH = 4, 2, 16


def _both(rng, dtype):
    """Returns the same random keys and values in both layouts."""
    shape = (_COUNT * _PAGE, _KV_HEADS, _WIDTH)
    key, value = (jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(2))
    at = jnp.arange(_COUNT * _PAGE)
    places = paged.Places(page=at // _PAGE, offset=at % _PAGE)
    made = []
    for layout in (paged, block_tables):
        (pages, _) = layout.empty(tiny.CONFIG, dtype, count=_COUNT, size=_PAGE)
        made.append(layout.write(pages, key, value, places))
    return made


def _rows(rng):
    """Returns tables, shared pages and lengths of rows; one is dead."""
    tables = jnp.asarray(rng.permutation(_COUNT)[: 6 * _MOST].reshape(6, _MOST))
    lengths = jnp.asarray([1, 16, 17, 0, 80, 63], jnp.int32)
    return tables.at[0, 1:].set(-1), jnp.zeros(6, jnp.int32), lengths


def _query(rng, count):
    return jnp.asarray(rng.normal(size=(count, _HEADS, _WIDTH)), jnp.float32)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.filterwarnings("ignore:attention uses")
def test_rows_get_what_they_get_in_the_other_layout(dtype, window):
    rng = np.random.default_rng(0)
    (plain, pool), rows, query = _both(rng, dtype), _rows(rng), _query(rng, 6)
    got = block_tables.attend(
        query,
        pool,
        block_tables.reads_of_rows(pool, *rows),
        window=window,
        interpret=True,
    )
    reads = paged.reads_of_rows(plain, *rows)
    expected = paged.attend(query, plain, reads, window=window)
    live = np.asarray(rows[2]) > 0
    np.testing.assert_allclose(got[live], expected[live], atol=1e-5)
    assert np.isfinite(got).all()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_prompts_get_what_they_get_in_the_other_layout(dtype):
    rng = np.random.default_rng(1)
    plain, pool = _both(rng, dtype)
    starts, counts = np.array([3, 0, 20]), np.array([6, 30, 2])
    sequence = np.repeat(np.arange(3), counts)
    offset = np.concatenate([np.arange(n) for n in counts])
    packed = paged.Packed(
        tables=jnp.asarray(rng.permutation(_COUNT)[: 3 * _MOST].reshape(3, _MOST)),
        starts=jnp.asarray(starts),
        counts=jnp.asarray(counts),
        sequence=jnp.asarray(sequence),
        position=jnp.asarray(starts[sequence] + offset),
        valid=jnp.ones(sequence.size, bool),
    )
    query, both = _query(rng, sequence.size), []
    for layout, pages in ((block_tables, pool), (paged, plain)):
        reads = layout.reads_of_prompts(pages, packed)
        both.append(layout.attend(query, pages, reads, window=None))
    np.testing.assert_allclose(*both, atol=1e-6)


def test_what_is_written_is_fetched_and_copied_like_in_the_other_layout():
    places = paged.Places(page=jnp.asarray([_COUNT]), offset=jnp.asarray([0]))
    for dtype in ("float32", "int8"):
        plain, pool = _both(np.random.default_rng(2), dtype)
        nothing = jnp.ones((1, _KV_HEADS, _WIDTH))
        pages = []
        for layout, x in ((paged, plain), (block_tables, pool)):
            x = layout.copy(x, jnp.asarray(9), jnp.asarray(30))
            x = layout.write(x, nothing, nothing, places)  # goes nowhere
            pages.append(layout.fetch(x, jnp.asarray([9, 30, 31])))
        jax.tree.map(np.testing.assert_array_equal, *pages)
        keys = pages[1].keys
        np.testing.assert_array_equal(keys[0], keys[1])
        assert (keys[1] != keys[2]).any()


def test_each_device_decodes_its_heads():
    rng = np.random.default_rng(3)
    (_, pool), rows, query = _both(rng, "int8"), _rows(rng), _query(rng, 6)
    run = functools.partial(block_tables.attend, window=None, interpret=True)
    reads = block_tables.reads_of_rows(pool, *rows)
    alone = run(query, pool, reads)
    for model in (2, 4):  # four devices have two key heads: all look at both
        mesh = sharding.make_mesh(data=1, model=model, devices=jax.devices()[:model])
        with jax.set_mesh(mesh):
            split = jax.jit(run)(query, pool, reads)
        np.testing.assert_allclose(split, alone, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "int8"])
def test_decoding_becomes_one_kernel_for_a_gpu_that_is_not_there(dtype):
    shape = (8, 64, 64, 128)
    activations = "bfloat16" if dtype == "int8" else dtype
    pool, scales = jnp.zeros(shape, dtype), None
    if dtype == "int8":
        scales = jnp.zeros(shape[:-1], jnp.float32)
    pages = block_tables.Pages(pool, pool, scales, scales)
    reads = block_tables.Reads(
        tables=jnp.zeros((4, 36), jnp.int32), lengths=jnp.ones(4, jnp.int32)
    )
    run = jax.jit(functools.partial(block_tables.attend, window=None))
    traced = run.trace(jnp.zeros((4, 16, 128), activations), pages, reads)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count('name = "paged_attention_block_h') == 1
    assert "triton" in text


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "int8"])
def test_a_gpu_decodes_like_plain_jnp(dtype):
    if jax.default_backend() != "gpu":
        pytest.skip("needs a GPU and JAX_PLATFORMS=cuda")
    rng = np.random.default_rng(4)
    (plain, pool), rows, query = _both(rng, dtype), _rows(rng), _query(rng, 6)
    reads = block_tables.reads_of_rows(pool, *rows)
    got = block_tables.attend(query, pool, reads, window=None)
    expected = paged.attend(
        query, plain, paged.reads_of_rows(plain, *rows), window=None
    )
    live = np.asarray(rows[2]) > 0
    # Of bfloat16, and of the TensorFloat-32 in which GPUs multiply float32.
    np.testing.assert_allclose(got[live], expected[live], atol=0.05)


def test_what_is_lost_is_said_once_and_kept(monkeypatch):
    monkeypatch.setattr(block_tables.kernels, "_said", [])
    lost = block_tables.choose(128, 64, window=True)
    with pytest.warns(UserWarning, match="gathered pages: the Triton kernel has no wi"):
        block_tables.kernels.warn(lost)
    block_tables.kernels.warn(lost)  # a second warning would fail as an error
    (said,) = block_tables.kernels.said()
    assert "no window" in said
    assert block_tables.choose(128, 64, window=False).name == "paged triton"
    assert "not heads of 96" in block_tables.choose(96, 64, window=False).lost
    assert "pages of 24" in block_tables.choose(128, 24, window=False).lost


def test_float8_is_refused():
    with pytest.raises(ValueError, match="cannot be float8 on a GPU"):
        block_tables.empty(tiny.CONFIG, "float8_e4m3fn", count=2, size=16)


@pytest.mark.parametrize(
    ("most", "size", "expected"),
    [(32, 64, (1, 16)), (3, 64, (1, 2)), (40, 16, (4, 8)), (1, 16, (4, 1))],
)
def test_a_sequence_is_cut_into_powers_of_two(most, size, expected):
    assert block_tables._blocks(most, size) == expected
