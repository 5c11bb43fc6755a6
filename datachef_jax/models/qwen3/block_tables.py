"""Keys and values in pages on a GPU: the paged attention that comes with JAX (Triton).

The same as `paged.py` in another layout: one array for all pages, as the kernel wants
it, which decodes. It knows one new token a sequence and no windows: prompts, and layers
with a window, are read in plain jnp from copies of the pages.

The kernel was checked against plain attention in JAX's interpreter, and lowered for
GPUs; it has not run on one yet.
"""

from typing import NamedTuple

import jax
from jax.experimental.pallas.ops.gpu import paged_attention as triton
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num

from datachef_jax.models.qwen3 import by_heads
from datachef_jax.models.qwen3 import kernels
from datachef_jax.models.qwen3 import page_mix
from datachef_jax.models.qwen3 import page_tiles
from datachef_jax.models.qwen3 import paged
from datachef_jax.models.qwen3 import quantize
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.parallel import sharding

# Blocks of the kernel, none of them tuned: positions at a time, and parts of a sequence
# that are looked at side by side.
_POSITIONS_PER_BLOCK = 64
_MOST_SPLITS = 16


class Pages(NamedTuple):
    """Keys and values of one layer; if they are int8, with their scales."""

    keys: Num[Array, "kv_heads pages page head_dim"]
    values: Num[Array, "kv_heads pages page head_dim"]
    key_scales: Float[Array, "kv_heads pages page"] | None
    value_scales: Float[Array, "kv_heads pages page"] | None

    @property
    def count(self) -> int:
        """Returns how many pages there are."""
        return self.keys.shape[1]

    @property
    def size(self) -> int:
        """Returns how many positions a page has."""
        return self.keys.shape[2]

    @property
    def kv_heads(self) -> int:
        """Returns how many key heads there are."""
        return self.keys.shape[0]


class Reads(NamedTuple):
    """Which pages rows of one new token each see."""

    tables: Int[Array, "rows max_pages"]
    lengths: Int[Array, " rows"]  # positions, the new one included


def choose(head_dim: int, size: int, *, window: bool) -> kernels.Choice:
    """Returns the implementation that decodes one kind of layer.

    Args:
      head_dim: Width of a head.
      size: Positions of a page.
      window: Whether tokens see only so many tokens before them.
    """
    if window:
        return kernels.Choice("gathered pages", "the Triton kernel has no window")
    # Triton's arrays have powers of two, and matrices of 16 at least.
    if any(n < 16 or n & (n - 1) for n in (head_dim, size)):
        return kernels.Choice(
            "gathered pages",
            "the Triton kernel wants powers of two of at least 16, not heads of "
            f"{head_dim} and pages of {size}",
        )
    return kernels.Choice("paged triton")


def empty(
    config: Qwen3Config, dtype: DTypeLike, *, count: int, size: int
) -> tuple[Pages, ...]:
    """Returns a pool of pages for each layer; arguments as for `paged.empty`.

    Raises:
      ValueError: If keys and values are to be float8, which have no kernel.
    """
    dtype = jnp.dtype(dtype)
    if dtype == quantize.FLOAT8:
        raise ValueError("pages cannot be float8 on a GPU: int8 is what the kernel has")
    shape = (config.num_kv_heads, count, size, config.head_dim)

    def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        axes = ("kv_heads", *(None,) * (len(shape) - 1))
        return sharding.constrain(jnp.zeros(shape, dtype), *axes)

    def scales() -> Array | None:
        return zeros(shape[:-1], jnp.float32) if dtype == jnp.int8 else None

    return tuple(
        Pages(zeros(shape, dtype), zeros(shape, dtype), scales(), scales())
        for _ in range(config.num_layers)
    )


def write(
    pages: Pages,
    key: Float[Array, "tokens kv_heads head_dim"],
    value: Float[Array, "tokens kv_heads head_dim"],
    places: paged.Places,
) -> Pages:
    """Puts keys and values of tokens where they belong; see `paged.write`."""
    if pages.key_scales is None:
        new = Pages(key, value, None, None)
    else:
        (key, key_scale), (value, value_scale) = (
            quantize.int8(x, axis=-1) for x in (key, value)
        )
        new = Pages(key, value, key_scale, value_scale)

    def put(pool: Array, x: Array) -> Array:
        at = pool.at[:, places.page, places.offset]
        return at.set(x.swapaxes(0, 1).astype(pool.dtype), mode="drop")

    return jax.tree.map(put, pages, new)


def copy(pages: Pages, source: Int[Array, ""], target: Int[Array, ""]) -> Pages:
    """Copies one page to another."""
    return jax.tree.map(lambda x: x.at[:, target].set(x[:, source]), pages)


def fetch(pages: Pages, wanted: Int[Array, " pages"]) -> page_mix.Content:
    """Returns copies of some pages."""
    some = jax.tree.map(lambda x: x[:, wanted].swapaxes(0, 1), pages)
    scales = None
    if some.key_scales is not None:
        scales = jnp.stack((some.key_scales, some.value_scales), axis=1)
    return page_mix.Content(some.keys.swapaxes(2, 3), some.values, scales)


def reads_of_rows(
    pages: Pages,
    tables: Int[Array, "rows max_pages"],
    whole: Int[Array, " rows"],
    lengths: Int[Array, " rows"],
) -> Reads:
    """Lets every row have one new token; see `paged.reads_of_rows`."""
    del pages, whole
    return Reads(tables=jnp.maximum(tables, 0), lengths=lengths.astype(jnp.int32))


def reads_of_prompts(pages: Pages, packed: paged.Packed) -> paged.Tiles:
    """Cuts a packed batch of prompts' tokens into tiles."""
    del pages
    return page_tiles.tiles_of(packed)


def attend(
    query: Float[Array, "tokens heads head_dim"],
    pages: Pages,
    reads: Reads | paged.Tiles,
    *,
    window: int | None,
    interpret: bool = False,
) -> Float[Array, "tokens heads head_dim"]:
    """Attends from new tokens to the pages of their sequences.

    Args:
      query: Rotated queries.
      pages: With the keys and values of the same tokens.
      reads: Which pages each token sees.
      window: How many positions a token sees, itself included; None for all.
      interpret: Whether to run the kernel in plain JAX instead, on any device.

    Returns:
      The mixed values; those of tokens that do not count mean nothing.
    """
    if isinstance(reads, Reads):
        head_dim = query.shape[-1]
        choice = choose(head_dim, pages.size, window=window is not None)
        kernels.warn(choice)
        if not choice.lost:
            return _decode(query, pages, reads, interpret=interpret)
        reads = _tiles(reads)
    return page_tiles.attend(query, pages, reads, window=window, fetch=fetch)


def _tiles(reads: Reads) -> paged.Tiles:
    """Returns one tile for each row."""
    rows = jnp.arange(reads.lengths.shape[0])
    live = reads.lengths > 0
    return paged.Tiles(
        tokens=jnp.where(live, rows, rows.size)[:, None],
        start=jnp.maximum(reads.lengths - 1, 0),
        tables=reads.tables,
        places=rows,
    )


def _decode(
    query: Float[Array, "rows heads head_dim"],
    pages: Pages,
    reads: Reads,
    *,
    interpret: bool,
) -> Float[Array, "rows heads head_dim"]:
    """Attends from one token of each row, with the kernel."""
    block, splits = _blocks(reads.tables.shape[1], pages.size)
    room = -reads.tables.shape[1] % (block * splits)
    tables = jnp.pad(reads.tables, ((0, 0), (0, room)))

    def kernel(query: Array, pages: Pages, tables: Array, lengths: Array) -> Array:
        return triton.paged_attention(
            query,
            pages.keys,
            pages.values,
            tables,
            lengths,
            pages.key_scales,
            pages.value_scales,
            pages_per_compute_block=block,
            k_splits=splits,
            interpret=interpret,
        )

    return by_heads.run(
        kernel,
        query * query.shape[-1] ** -0.5,
        pages,
        tables,
        reads.lengths,
        kv_heads=pages.kv_heads,
        axis=0,
    )


def _blocks(most: int, size: int) -> tuple[int, int]:
    """Returns how many pages the kernel takes at a time, and in how many parts."""
    block = max(_POSITIONS_PER_BLOCK // size, 1)
    splits = 1
    while splits < _MOST_SPLITS and 2 * splits * block <= most:
        splits *= 2
    return block, splits
