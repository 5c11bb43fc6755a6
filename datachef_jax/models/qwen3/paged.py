"""Keys and values in pages, and attention over them: the path in plain jnp.

What it means is the same in every layout (`ragged.py` for TPUs, `block_tables.py` for
GPUs): the functions here.
"""

from jaxtyping import Array, Float, Int

from datachef_jax.models.qwen3 import page_rows
from datachef_jax.models.qwen3 import page_tiles
from datachef_jax.models.qwen3.page_mix import Content
from datachef_jax.models.qwen3.page_pool import copy
from datachef_jax.models.qwen3.page_pool import empty
from datachef_jax.models.qwen3.page_pool import fetch
from datachef_jax.models.qwen3.page_pool import Packed
from datachef_jax.models.qwen3.page_pool import Pages
from datachef_jax.models.qwen3.page_pool import Places
from datachef_jax.models.qwen3.page_pool import write
from datachef_jax.models.qwen3.page_rows import Reads
from datachef_jax.models.qwen3.page_tiles import Tiles

__all__ = (
    "Content",
    "Packed",
    "Pages",
    "Places",
    "Reads",
    "Tiles",
    "copy",
    "empty",
    "write",
)


def reads_of_rows(
    pages: Pages,
    tables: Int[Array, "rows max_pages"],
    whole: Int[Array, " rows"],
    lengths: Int[Array, " rows"],
) -> Reads:
    """Finds the readers of every page where each row has one new token.

    Args:
      pages: Of any layer.
      tables: Pages of each row.
      whole: Of them the first so many are whole pages of a prompt.
      lengths: Positions of each row, the new one included; 0 if it is dead.
    """
    return page_rows.reads_of(pages, tables, whole, lengths)


def reads_of_prompts(pages: Pages, packed: Packed) -> Tiles:
    """Cuts a packed batch of prompts' tokens into tiles."""
    del pages
    return page_tiles.tiles_of(packed)


def attend(
    query: Float[Array, "tokens heads head_dim"],
    pages: Pages,
    reads: Reads | Tiles,
    *,
    window: int | None,
) -> Float[Array, "tokens heads head_dim"]:
    """Attends from new tokens to the pages of their sequences.

    Args:
      query: Rotated queries.
      pages: With the keys and values of the same tokens.
      reads: Which pages each token sees.
      window: How many positions a token sees, itself included; None for all.

    Returns:
      The mixed values; those of tokens that do not count mean nothing.
    """
    if isinstance(reads, Reads):
        return page_rows.attend(query, pages, reads, window=window)
    return page_tiles.attend(query, pages, reads, window=window, fetch=fetch)
