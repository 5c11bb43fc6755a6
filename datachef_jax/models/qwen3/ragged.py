"""Keys and values in pages on a TPU: the ragged paged attention that comes with JAX.

The same as `paged.py` in another layout: keys and values of a page side by side, as the
kernel wants them, and one kernel for sequences of one new token and of many.
"""

import functools
from typing import NamedTuple

from jax.experimental.pallas.ops.tpu import ragged_paged_attention as kernels
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int
import numpy as np

from datachef_jax.models.qwen3 import by_heads
from datachef_jax.models.qwen3 import paged
from datachef_jax.models.qwen3 import quantize
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.parallel import sharding

# Passed explicitly: the kernel's own table knows only some shapes, and none of v6e's.
_PAGES_PER_BLOCK = 8
_QUERIES_PER_BLOCK = 32
_VMEM_BYTES = 64 * 2**20


class Pages(NamedTuple):
    """Keys and values of one layer; of each head first the key, then the value."""

    pool: Float[Array, "pages page twice_kv_heads head_dim"]

    @property
    def count(self) -> int:
        """Returns how many pages there are."""
        return self.pool.shape[0]

    @property
    def size(self) -> int:
        """Returns how many positions a page has."""
        return self.pool.shape[1]


class Reads(NamedTuple):
    """Which pages the sequences of a packed batch of new tokens see."""

    tables: Int[Array, "sequences max_pages"]
    lengths: Int[Array, " sequences"]  # positions, the new ones included
    ends: Int[Array, " sequences_and_one"]  # where in the batch each one's tokens end
    count: Int[Array, "1"]  # of the sequences, only the first so many are there


def empty(
    config: Qwen3Config, dtype: DTypeLike, *, count: int, size: int
) -> tuple[Pages, ...]:
    """Returns a pool of pages for each layer; arguments as for `paged.empty`.

    Raises:
      ValueError: If the kernel cannot read such keys and values.
    """
    heads = config.num_kv_heads
    (own,) = sharding.spec((heads,), ("kv_heads",))
    _check(jnp.dtype(dtype), heads // sharding.ways("kv_heads") if own else heads)
    shape = (count, size, 2 * heads, config.head_dim)

    def pool() -> Pages:
        zeros = jnp.zeros(shape, dtype)
        axis = "kv_heads" if own else None  # a key and its value stay together
        return Pages(sharding.constrain(zeros, None, None, axis, None))

    return tuple(pool() for _ in range(config.num_layers))


def _check(dtype: np.dtype, kv_heads: int) -> None:
    """Refuses what the kernel cannot read; `kv_heads` are those of one device."""
    if dtype == jnp.int8:
        raise ValueError(
            "pages cannot be int8 on a TPU: its kernel has one scale for all tokens, "
            "and int8 needs one for each; float8 needs none"
        )
    if 2 * kv_heads * dtype.itemsize % 4:
        raise ValueError(
            f"pages cannot be {dtype.name} with {kv_heads} key heads on a device: its "
            "kernel reads keys and values of several heads as 4 bytes"
        )


def write(
    pages: Pages,
    key: Float[Array, "tokens kv_heads head_dim"],
    value: Float[Array, "tokens kv_heads head_dim"],
    places: paged.Places,
) -> Pages:
    """Puts keys and values of tokens where they belong; see `paged.write`."""
    both = jnp.stack((key, value), axis=2).reshape(key.shape[0], -1, key.shape[2])
    both = quantize.cast(both, pages.pool.dtype)
    return Pages(pages.pool.at[places.page, places.offset].set(both, mode="drop"))


def copy(pages: Pages, source: Int[Array, ""], target: Int[Array, ""]) -> Pages:
    """Copies one page to another."""
    return Pages(pages.pool.at[target].set(pages.pool[source]))


def reads_of_rows(
    pages: Pages,
    tables: Int[Array, "rows max_pages"],
    whole: Int[Array, " rows"],
    lengths: Int[Array, " rows"],
) -> Reads:
    """Lets every row have one new token; see `paged.reads_of_rows`.

    The kernel knows no dead rows: one of length 0 reads one position of page 0.
    """
    del pages, whole
    rows = lengths.shape[0]
    return Reads(
        tables=jnp.maximum(tables, 0),
        lengths=jnp.maximum(lengths, 1),
        ends=jnp.arange(rows + 1, dtype=jnp.int32),
        count=jnp.full(1, rows, jnp.int32),
    )


def reads_of_prompts(pages: Pages, packed: paged.Packed) -> Reads:
    """Says where the sequences of a packed batch end."""
    del pages
    ends = jnp.cumsum(packed.counts, dtype=jnp.int32)
    return Reads(
        tables=jnp.maximum(packed.tables, 0),
        lengths=packed.starts + packed.counts,
        ends=jnp.concatenate([jnp.zeros(1, jnp.int32), ends]),
        count=(packed.counts > 0).sum(dtype=jnp.int32)[None],
    )


def attend(
    query: Float[Array, "tokens heads head_dim"],
    pages: Pages,
    reads: Reads,
    *,
    window: int | None,
) -> Float[Array, "tokens heads head_dim"]:
    """Attends from new tokens to the pages of their sequences, on each device's heads.

    Args:
      query: Rotated queries.
      pages: With the keys and values of the same tokens.
      reads: Which pages each token sees.
      window: How many positions a token sees, itself included; None for all.

    Returns:
      The mixed values; those of tokens that do not count mean nothing.
    """
    # Makes the kernel convert what is narrower than the queries.
    scale = None if pages.pool.dtype == query.dtype else 1.0
    run = functools.partial(
        kernels.ragged_paged_attention,
        sm_scale=query.shape[-1] ** -0.5,
        sliding_window=window,
        k_scale=scale,
        v_scale=scale,
        num_kv_pages_per_block=min(_PAGES_PER_BLOCK, reads.tables.shape[1]),
        num_queries_per_block=min(_QUERIES_PER_BLOCK, query.shape[0]),
        vmem_limit_bytes=_VMEM_BYTES,
    )
    return by_heads.run(
        run,
        query,
        pages.pool,
        reads.lengths,
        reads.tables,
        reads.ends,
        reads.count,
        kv_heads=pages.pool.shape[2] // 2,
        axis=2,
    )
