"""Attention from prompts' tokens to their pages, page after page, in plain jnp."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from datachef_jax.models.qwen3 import page_mix
from datachef_jax.models.qwen3.page_mix import Part
from datachef_jax.models.qwen3.page_pool import Packed

_TILE = 16  # positions that attention looks from at a time


class Tiles(NamedTuple):
    """Where the queries of a packed batch of prompt tokens belong.

    A tile is a stretch of positions of one sequence that starts at a multiple of its
    length, so that a token is always computed in the same place of the same shape.
    """

    tokens: Int[Array, "tiles tile"]  # index into the batch; its length if none
    start: Int[Array, " tiles"]  # first position
    tables: Int[Array, "tiles max_pages"]  # pages of the tile's sequence
    places: Int[Array, " tokens"]  # index of each token among those of the tiles


def tiles_of(packed: Packed) -> Tiles:
    """Cuts a packed batch of several sequences into tiles."""
    tokens, sequences = packed.position.shape[0], packed.counts.shape[0]
    most = tokens // _TILE + sequences
    first = packed.starts // _TILE
    last = (packed.starts + packed.counts - 1) // _TILE
    counts = jnp.where(packed.counts > 0, last - first + 1, 0)
    ends = jnp.cumsum(counts)
    starts = ends - counts
    tile = (starts - first)[packed.sequence] + packed.position // _TILE
    places = jnp.where(packed.valid, tile * _TILE + packed.position % _TILE, 0)
    filled = jnp.full(most * _TILE, tokens)
    filled = filled.at[jnp.where(packed.valid, places, filled.size)].set(
        jnp.arange(tokens), mode="drop"
    )
    number = jnp.arange(most)
    owner = jnp.searchsorted(ends, number, side="right")
    owner = jnp.minimum(owner, sequences - 1)
    return Tiles(
        tokens=filled.reshape(most, _TILE),
        start=(first[owner] + number - starts[owner]) * _TILE,
        tables=packed.tables[owner],
        places=places,
    )


def attend(
    query: Float[Array, "tokens heads head_dim"],
    pages: Any,
    tiles: Tiles,
    *,
    window: int | None,
    fetch: Callable[[Any, Int[Array, " pages"]], page_mix.Content],
) -> Float[Array, "tokens heads head_dim"]:
    """Attends from tokens of prompts to the positions before them, page after page.

    Args:
      query: Rotated queries.
      pages: In any layout, with the keys and values of the same tokens.
      tiles: Where they belong.
      window: How many positions a token sees, itself included; None for all.
      fetch: Returns copies of some of the pages.

    Returns:
      The mixed values; those of tokens that do not count mean nothing.
    """
    tokens, heads, width = query.shape
    query = query.reshape(tokens, pages.kv_heads, -1, width) * width**-0.5
    # A place for the queries that a tile does not have.
    query = jnp.pad(query, ((0, 1), (0, 0), (0, 0), (0, 0)))
    query = query.at[tiles.tokens].get(mode="promise_in_bounds")
    here = tiles.start[:, None] + jnp.arange(tiles.tokens.shape[1])[None]
    here = here[:, :, None]
    counts = (tiles.tokens < tokens).any(1)
    last = jnp.where(counts, here[:, -1, 0], -1).max()

    def look(j: Array, before: Part) -> Part:
        there = (j * pages.size + jnp.arange(pages.size))[None, None]
        visible = there <= here
        if window is not None:
            visible &= there > here - window
        found = fetch(pages, tiles.tables[:, j])
        return page_mix.join(before, page_mix.mix(query, found, visible))

    nothing = Part(
        top=jnp.full(query.shape[:-1], page_mix.LOWEST),
        weight=jnp.zeros(query.shape[:-1]),
        mixed=jnp.zeros(query.shape, jnp.float32),
    )
    part = lax.fori_loop(0, last // pages.size + 1, look, nothing)
    mixed = (part.mixed / jnp.maximum(part.weight, 1e-30)[..., None]).astype(
        query.dtype
    )
    mixed = mixed.reshape(-1, heads, width)
    return mixed.at[tiles.places].get(mode="promise_in_bounds")
