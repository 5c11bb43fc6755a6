"""Attention from one token of each row to the row's pages, in plain jnp.

Decoding works page by page and not sequence by sequence: each page is multiplied in
place with the queries of its readers, and a sequence puts together what its pages gave
it. Gathering the pages of every sequence first takes two to three times as long on a
CPU, and what many sequences share is read once for `SHARED_READERS` of them.

A sequence's numbers depend neither on which pages it got nor on who else reads them:
whole pages of a prompt always go through the products for shared pages, others never.
"""

from typing import NamedTuple

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from datachef_jax.models.qwen3 import page_mix
from datachef_jax.models.qwen3.page_mix import Part
from datachef_jax.models.qwen3.page_pool import fetch
from datachef_jax.models.qwen3.page_pool import Pages

# Measured on a CPU at 64 positions a page: two products cost as much for one reader as
# one alone, for four 1.8 times, for eight three times.
SHARED_READERS = 8
_EXTRA = 16  # pages copied at a time, for the readers that are still too many


class Reads(NamedTuple):
    """Who reads which page while one token a row is decoded."""

    lengths: Int[Array, " rows"]  # positions of each row; 0 if it is dead
    most: Int[Array, " max_pages"]  # numbers of a row's pages, from 0
    starts: Int[Array, " pages"]  # a page's first position
    # Rows that read a page, -1 if none: the one that it belongs to, or those that share
    # it; for the readers that are too many, shared pages stand in `items` once more.
    own: Int[Array, "pages 1"]
    shared: Int[Array, "pages_and_extra readers"]
    items: Int[Array, " extra"]
    extra: Int[Array, ""]  # how many of them there are


class _View(NamedTuple):
    """How some readers look at some pages."""

    reader: Int[Array, "pages readers"]  # the number of rows if none
    step: Int[Array, "pages readers"]  # which of the reader's pages it is
    visible: Bool[Array, "pages readers page"]
    any: Bool[Array, ""]  # whether anybody does


# Parts of every row from each of its pages: mixed values, then top, then weight.
_Parts = Float[Array, "max_pages rows kv_heads group head_dim_and_two"]


def reads_of(
    pages: Pages,
    tables: Int[Array, "rows max_pages"],
    whole: Int[Array, " rows"],
    lengths: Int[Array, " rows"],
) -> Reads:
    """Finds the readers of every page; arguments as for `paged.reads_of_rows`."""
    count, size = pages.count, pages.size
    rows, most = tables.shape
    step = jnp.arange(most)[None, :]
    used = step * size < lengths[:, None]
    shared = used & (step < whole[:, None])
    own = jnp.where(used & ~shared, tables, count).reshape(-1)
    row = jnp.repeat(jnp.arange(rows), most)
    starts = (
        jnp.zeros(count, jnp.int32)
        .at[jnp.where(used, tables, count)]
        .set(jnp.broadcast_to(step * size, tables.shape), mode="drop")
    )
    # The readers of a page stand side by side in this order.
    page = jnp.where(shared, tables, count).reshape(-1)
    order = jnp.argsort(page, stable=True)
    page = page[order]
    rank = jnp.arange(page.size) - jnp.searchsorted(page, page, side="left")
    seat = rank % SHARED_READERS
    overflow = (page < count) & (rank >= SHARED_READERS)
    extra = jnp.cumsum(overflow & (seat == 0))
    most_extra = rows * most // SHARED_READERS + 1
    item = jnp.where(overflow, count + extra - 1, page)
    item = jnp.where(page < count, item, count + most_extra)
    place = item * SHARED_READERS + seat
    readers = jnp.full((count + most_extra) * SHARED_READERS, -1)
    return Reads(
        lengths=lengths,
        most=jnp.arange(most),
        starts=starts,
        own=jnp.full(count, -1).at[own].set(row, mode="drop")[:, None],
        shared=readers.at[place]
        .set(row[order], mode="drop")
        .reshape(-1, SHARED_READERS),
        items=jnp.zeros(most_extra, page.dtype)
        .at[jnp.where(overflow, extra - 1, most_extra)]
        .set(page, mode="drop"),
        extra=extra[-1],
    )


def attend(
    query: Float[Array, "rows heads head_dim"],
    pages: Pages,
    reads: Reads,
    *,
    window: int | None,
) -> Float[Array, "rows heads head_dim"]:
    """Attends from the last position of each row to all of them; see `paged.attend`."""
    rows, heads, width = query.shape
    kv_heads, most = pages.kv_heads, reads.most.shape[0]
    query = query.reshape(rows, kv_heads, -1, width) * width**-0.5
    parts = jnp.zeros((most, *query.shape[:-1], width + 2))
    parts = _look_at_segments(query, pages, reads, window, parts)
    parts = _look_at_extra(query, pages, reads, window, parts)
    used = reads.most[:, None] * pages.size < reads.lengths[None]
    used = used[:, :, None, None]
    top = jnp.where(used, parts[..., -2], page_mix.LOWEST)
    factor = jnp.where(used, jnp.exp(top - top.max(0, keepdims=True)), 0.0)
    summed = (factor[..., None] * parts).sum(0)
    mixed = summed[..., :-2] / summed[..., -1:]
    return mixed.reshape(rows, heads, width).astype(query.dtype)


def _look_at_segments(
    query: Float[Array, "rows kv_heads group head_dim"],
    pages: Pages,
    reads: Reads,
    window: int | None,
    parts: _Parts,
) -> _Parts:
    """Multiplies pages with their readers' queries, where they lie."""
    for content, first in zip(pages.segments, pages.firsts, strict=True):
        span = slice(first, first + content.keys.shape[0])
        for readers in (reads.own, reads.shared):
            # Outside the branch, so that all layers have it in common.
            view = _view(readers[span], reads.starts[span], reads, pages.size, window)

            def look(parts: _Parts) -> _Parts:
                return _look(query, content, view, parts)

            parts = lax.cond(view.any, look, lambda parts: parts, parts)
    return parts


def _look_at_extra(
    query: Float[Array, "rows kv_heads group head_dim"],
    pages: Pages,
    reads: Reads,
    window: int | None,
    parts: _Parts,
) -> _Parts:
    """Does the same for readers that are too many, with copies of the pages."""
    room = -reads.items.shape[0] % _EXTRA
    items = jnp.pad(reads.items, (0, room))
    everybody = reads.shared[pages.count :]
    everybody = jnp.pad(everybody, ((0, room), (0, 0)), constant_values=-1)

    def look(state: tuple[Array, _Parts]) -> tuple[Array, _Parts]:
        first, parts = state
        some = lax.dynamic_slice_in_dim(items, first, _EXTRA)
        readers = lax.dynamic_slice_in_dim(everybody, first, _EXTRA)
        view = _view(readers, reads.starts[some], reads, pages.size, window)
        return first + _EXTRA, _look(query, fetch(pages, some), view, parts)

    start = jnp.zeros((), jnp.int32), parts
    return lax.while_loop(lambda state: state[0] < reads.extra, look, start)[1]


def _view(
    readers: Int[Array, "pages readers"],
    starts: Int[Array, " pages"],
    reads: Reads,
    size: int,
    window: int | None,
) -> _View:
    """Says who looks at some pages, and what they see."""
    rows = reads.lengths.shape[0]
    reader = jnp.where(readers < 0, rows, readers)
    length = reads.lengths.at[reader].get(mode="fill", fill_value=0)[:, :, None]
    position = (starts[:, None] + jnp.arange(size)[None])[:, None]
    visible = position < length
    if window is not None:
        visible &= position >= length - window
    step = jnp.broadcast_to(starts[:, None] // size, readers.shape)
    return _View(reader=reader, step=step, visible=visible, any=(readers >= 0).any())


def _look(
    query: Float[Array, "rows kv_heads group head_dim"],
    content: page_mix.Content,
    view: _View,
    parts: _Parts,
) -> _Parts:
    """Multiplies pages with their readers' queries; each row gets its part."""
    asked = query.at[view.reader].get(mode="clip", wrap_negative_indices=False)
    part: Part = page_mix.mix(asked, content, view.visible)
    whole = jnp.concatenate(
        [part.mixed, part.top[..., None], part.weight[..., None]], axis=-1
    )
    at = parts.at[view.step, view.reader]
    return at.set(whole, mode="drop", wrap_negative_indices=False)
