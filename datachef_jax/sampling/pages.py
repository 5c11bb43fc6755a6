"""Which pages are in use, by how many, and what the unused ones still hold.

A whole page of a prompt is known by the hash of all tokens up to its end, so that a
later prompt with the same beginning finds it. Pages that nobody uses any more keep what
they hold until they are needed: first those that hold nothing known, then those unused
for the longest time.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32


class PageTable(NamedTuple):
    """What is known of every page."""

    users: Int[Array, " pages"]  # sequences that hold it
    hashes: UInt32[Array, "pages 2"]  # of the tokens up to its end; 0, 0 if unknown
    versions: Int[Array, " pages"]  # of the weights that its hash goes with
    used: Int[Array, " pages"]  # when it was last given back


def empty(count: int) -> PageTable:
    """Returns a table of unused pages."""
    return PageTable(
        users=jnp.zeros(count, jnp.int32),
        hashes=jnp.zeros((count, 2), jnp.uint32),
        versions=jnp.zeros(count, jnp.int32),
        used=jnp.zeros(count, jnp.int32),
    )


def unused(table: PageTable) -> Int[Array, ""]:
    """Returns how many pages can be taken."""
    return (table.users == 0).sum()


def take(
    table: PageTable,
    hashed: UInt32[Array, "2"],
    version: Int[Array, ""],
    *,
    top: bool,
) -> tuple[PageTable, Int[Array, ""]]:
    """Takes one page; there must be one.

    Args:
      table: The table.
      hashed: What the page is going to hold; 0, 0 if nobody else is to find it.
      version: Of the weights.
      top: Whether to begin with the last pages. Pages of prompts and of completions
        begin at different ends, so that attention finds them apart.

    Returns:
      The table, and the page.
    """
    count = table.users.shape[0]
    index = jnp.arange(count)
    known = (table.hashes != 0).any(-1)
    first = count - 1 - index if top else index
    rank = jnp.where(known, count + table.used, first)
    page = jnp.where(table.users > 0, jnp.iinfo(jnp.int32).max, rank).argmin()
    table = table._replace(
        users=table.users.at[page].set(1),
        hashes=table.hashes.at[page].set(hashed),
        versions=table.versions.at[page].set(version),
    )
    return table, page


def find(
    table: PageTable,
    hashes: UInt32[Array, "most 2"],
    wanted: Int[Array, ""],
    version: Int[Array, ""],
) -> tuple[Int[Array, " most"], Int[Array, ""]]:
    """Looks for the pages of a prompt's beginning.

    Args:
      table: The table.
      hashes: Of the prompt's whole pages, in order.
      wanted: How many of them to look for.
      version: Of the weights that they must be of.

    Returns:
      The pages, and how many there are from the first one on without a gap.
    """
    same = (hashes[:, None] == table.hashes[None]).all(-1)
    same &= (table.versions == version)[None]
    same &= (jnp.arange(hashes.shape[0]) < wanted)[:, None]
    return same.argmax(-1), jnp.cumprod(same.any(-1)).sum()


def share(
    table: PageTable, pages: Int[Array, " most"], held: Bool[Array, " most"]
) -> PageTable:
    """Counts one more user of some pages."""
    return table._replace(users=table.users.at[pages].add(held.astype(jnp.int32)))


def give_back(
    table: PageTable,
    pages: Int[Array, " most"],
    held: Bool[Array, " most"],
    now: Int[Array, ""],
) -> PageTable:
    """Counts one user less of some pages."""
    count = table.users.shape[0]
    return table._replace(
        users=table.users.at[pages].add(-held.astype(jnp.int32)),
        used=table.used.at[jnp.where(held, pages, count)].set(now, mode="drop"),
    )
