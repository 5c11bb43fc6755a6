"""Keys and values in pages: the pool, as plain jnp wants it.

A page holds the same stretch of `page_size` positions of one or of many sequences. The
pool that rows decode from is cut into segments: one without live pages is skipped, and
a part of an array would have to be copied before it can be multiplied. Pages that are
only read from prompts are copied anyway, out of one segment the fastest.
"""

import itertools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from datachef_jax.models.qwen3 import quantize
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.page_mix import Content
from datachef_jax.parallel import sharding

# Numbers in the keys of a segment: 64 pages of 64 positions and four heads of 64. More
# segments would skip more, and take longer to compile.
_SEGMENT = 2**20
# Pages of prompts begin at the end of the pool (`sampling/pages.py`) and are few.
_LAST_SEGMENTS = (1 / 4, 1 / 4, 1 / 2)


class Pages(NamedTuple):
    """Keys and values of one layer: segments of pages, one after the other."""

    segments: tuple[Content, ...]

    @property
    def count(self) -> int:
        """Returns how many pages there are."""
        return sum(x.keys.shape[0] for x in self.segments)

    @property
    def firsts(self) -> list[int]:
        """Returns the first page of each segment."""
        sizes = (x.keys.shape[0] for x in self.segments)
        return list(itertools.accumulate(sizes, initial=0))[:-1]

    @property
    def size(self) -> int:
        """Returns how many positions a page has."""
        return self.segments[0].keys.shape[-1]

    @property
    def kv_heads(self) -> int:
        """Returns how many key heads there are."""
        return self.segments[0].keys.shape[1]


class Places(NamedTuple):
    """Where the keys and values of new tokens go."""

    page: Int[Array, " tokens"]  # the number of pages for tokens that do not count
    offset: Int[Array, " tokens"]  # in the page


class Packed(NamedTuple):
    """A batch of new tokens of several sequences, one sequence after the other."""

    tables: Int[Array, "sequences max_pages"]
    starts: Int[Array, " sequences"]  # position of each one's first new token
    counts: Int[Array, " sequences"]  # new tokens of each; from some on, none
    sequence: Int[Array, " tokens"]  # that each token belongs to
    position: Int[Array, " tokens"]  # in its sequence
    valid: Bool[Array, " tokens"]  # False where the batch is not full


def empty(
    config: Qwen3Config,
    dtype: DTypeLike,
    *,
    count: int,
    size: int,
    decodes: bool = True,
) -> tuple[Pages, ...]:
    """Returns a pool of pages for each layer.

    Args:
      config: The model's sizes.
      dtype: Of keys and values; int8 have scales beside them.
      count: Pages.
      size: Positions of a page.
      decodes: Whether rows decode from them.
    """
    heads, width = config.num_kv_heads, config.head_dim
    scaled = jnp.dtype(dtype) == jnp.int8

    def zeros(*shape: int, axes: tuple, dtype: DTypeLike = dtype) -> Array:
        return sharding.constrain(jnp.zeros(shape, dtype), *axes)

    def segment(some: int) -> Content:
        first = (None, "kv_heads", None, None)
        second = (None, None, "kv_heads", None)
        return Content(
            keys=zeros(some, heads, width, size, axes=first),
            values=zeros(some, heads, size, width, axes=first),
            scales=zeros(some, 2, heads, size, axes=second, dtype=jnp.float32)
            if scaled
            else None,
        )

    counts = _segments(count, heads * width * size) if decodes else [count]
    return tuple(
        Pages(tuple(segment(some) for some in counts)) for _ in range(config.num_layers)
    )


def _segments(count: int, numbers: int) -> list[int]:
    """Returns how many pages, each of so many numbers, each segment has."""
    whole = max(_SEGMENT // numbers, 4)
    last, left = [], count
    for part in _LAST_SEGMENTS:
        last.insert(0, min(int(part * whole), left))
        left -= last[0]
    first = [min(whole, left - i) for i in range(0, left, whole)]
    return [some for some in first + last if some]


def write(
    pages: Pages,
    key: Float[Array, "tokens kv_heads head_dim"],
    value: Float[Array, "tokens kv_heads head_dim"],
    places: Places,
) -> Pages:
    """Puts keys and values of tokens where they belong.

    Args:
      pages: Of one layer.
      key: Rotated keys.
      value: Values.
      places: Where each goes.
    """
    new = _stored(key, value, pages.segments[0])
    segments = []
    for old, first in zip(pages.segments, pages.firsts, strict=True):
        row, at = _row(places.page, first, old.keys.shape[0]), places.offset
        put = Content(
            keys=old.keys.at[row, :, :, at].set(new.keys, mode="drop"),
            values=old.values.at[row, :, at].set(new.values, mode="drop"),
            scales=old.scales,
        )
        if old.scales is not None:
            scales = old.scales.at[row, :, :, at].set(new.scales, mode="drop")
            put = put._replace(scales=scales)
        segments.append(put)
    return Pages(tuple(segments))


def _stored(key: Array, value: Array, like: Content) -> Content:
    """Returns keys and values of tokens in the numbers that pages have."""
    dtype = like.keys.dtype
    if like.scales is None:
        key, value = (quantize.cast(x, dtype) for x in (key, value))
        return Content(key, value, None)
    (key, first), (value, second) = (quantize.int8(x, axis=-1) for x in (key, value))
    return Content(key, value, jnp.stack((first, second), axis=1))


def copy(pages: Pages, source: Int[Array, ""], target: Int[Array, ""]) -> Pages:
    """Copies one page to another."""
    content = fetch(pages, source[None])

    def put(segment: Content, first: int) -> Content:
        row = _row(target, first, segment.keys.shape[0])
        return jax.tree.map(
            lambda x, y: x.at[row].set(y[0], mode="drop"), segment, content
        )

    return Pages(tuple(map(put, pages.segments, pages.firsts)))


def fetch(pages: Pages, wanted: Int[Array, " pages"]) -> Content:
    """Returns copies of some pages."""
    if len(pages.segments) == 1:
        # Of a gather that looks for indices out of bounds XLA makes a slow loop.
        wanted = jnp.clip(wanted, 0, pages.count - 1)
        return jax.tree.map(
            lambda x: x.at[wanted].get(mode="promise_in_bounds"), pages.segments[0]
        )
    firsts = jnp.asarray(pages.firsts)

    def one(segments: tuple[Array, ...], page: Int[Array, ""]) -> Array:
        take = [lambda row, x=x: x[row] for x in segments]
        at = jnp.searchsorted(firsts, page, side="right") - 1
        return lax.switch(at, take, page - firsts[at])

    def some(*segments: Array) -> Array:
        return lax.map(lambda page: one(segments, page), wanted)

    return jax.tree.map(some, *pages.segments)


def _row(page: Int[Array, "*n"], first: int, count: int) -> Int[Array, "*n"]:
    """Returns where a page is in a segment; the segment's length if it is elsewhere."""
    row = page - first
    return jnp.where((row >= 0) & (row < count), row, count)
