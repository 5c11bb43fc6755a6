"""Who gets pages and rows: everything that the device decides between two products.

All of it is loops that do one thing at a time, as long as there is one to do. They run
rarely, and a loop changes its state in place, where a branch would copy it.

Older prompts go first (`order`). Pages that an older one needs are taken from the
youngest: a completion that loses its pages is handed back to the host, which asks for
it again. As its tokens follow from its seed, it then draws the same ones.
"""

from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from datachef_jax.models.qwen3 import decoder
from datachef_jax.sampling import loops
from datachef_jax.sampling import pages as page_tables
from datachef_jax.sampling.state import CANCELLED
from datachef_jax.sampling.state import NONE
from datachef_jax.sampling.state import PREEMPTED
from datachef_jax.sampling.state import Prompts
from datachef_jax.sampling.state import READING
from datachef_jax.sampling.state import READY
from datachef_jax.sampling.state import Rows
from datachef_jax.sampling.state import State
from datachef_jax.sampling.state import WAITING

_LATEST = jnp.iinfo(jnp.int32).max


@loops.without_pages
def admit(state: State) -> State:
    """Gives pages to waiting prompts, oldest first, as long as there are enough.

    Pages of the same beginning are found even while another prompt is being read into
    them: prompts are read in the order in which they got pages.
    """
    return lax.while_loop(lambda s: _admissible(s)[1], _admit_one, state)


def start(state: State) -> State:
    """Starts completions of prompts that have been read, in free rows.

    Where the oldest lacks a page, the youngest of the others that have been read goes
    back to wait: prompts alone must not fill the pool.
    """
    return lax.while_loop(lambda s: _startable(s)[1], _start_one, _uncrowd(state))


@loops.without_pages
def make_room(state: State) -> State:
    """Gives each running row a page for its next position."""
    return lax.while_loop(lambda s: _short(s.rows, s).any(), _make_room_once, state)


@loops.without_pages
def retire(state: State) -> State:
    """Hands what has ended to the host, as far as it has room."""
    return lax.while_loop(lambda s: _retirable(s.rows) & _room(s), _retire_one, state)


def cancel(state: State, requests: Int[Array, "n 2"]) -> State:
    """Ends requests; what has been drawn of them is handed out.

    A prompt that is being read is read to its end, as others may wait for its pages.

    Args:
      state: The state.
      requests: Which ones, and of each which completion; -1 for all of it.
    """
    rows, prompts = state.rows, state.prompts
    request, sample = requests[None, :, 0], requests[None, :, 1]
    named = rows.request[:, None] == request
    named &= (sample < 0) | (rows.sample[:, None] == sample)
    named = named.any(-1) & running(rows)
    held = (prompts.request[:, None] == request) & (prompts.stage[:, None] != NONE)
    whole = (held & (sample < 0)).any(-1)
    each = jnp.arange(prompts.unwanted.shape[1])[None, None]
    single = (held[:, :, None] & (sample[:, :, None] == each)).any(1)
    return state._replace(
        rows=rows._replace(ended=jnp.where(named, CANCELLED, rows.ended)),
        prompts=prompts._replace(
            wanted=jnp.where(whole, prompts.started, prompts.wanted),
            scores=prompts.scores & ~whole,
            unwanted=prompts.unwanted | single,
        ),
    )


@loops.without_pages
def forget_reading(state: State) -> State:
    """Lets all prompts that have pages be read anew: the weights have changed."""
    return lax.while_loop(
        lambda s: (s.prompts.stage >= READING).any(),
        lambda s: _send_back(s, (s.prompts.stage >= READING).argmax()),
        state,
    )


@loops.without_pages
def release_finished(state: State) -> State:
    """Frees prompts of which nothing more is wanted."""

    def over(prompts: Prompts) -> Bool[Array, " prompts"]:
        idle = (prompts.stage == WAITING) | (prompts.stage == READY)
        return idle & (prompts.started >= prompts.wanted) & ~prompts.scores

    def free(state: State) -> State:
        at = over(state.prompts).argmax()
        state = _drop_pages(state, at)
        return _set(state, "prompts", at, stage=NONE)

    return lax.while_loop(lambda s: over(s.prompts).any(), free, state)


def running(rows: Rows) -> Bool[Array, " rows"]:
    """Says which rows draw tokens."""
    return rows.busy & (rows.ended == 0)


def _admissible(state: State) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """Returns the oldest waiting prompt, and whether there are pages for it."""
    prompts, size = state.prompts, _page_size(state)
    waiting = (prompts.stage == WAITING) & (prompts.started < prompts.wanted)
    waiting |= (prompts.stage == WAITING) & prompts.scores
    at = jnp.where(waiting, prompts.order, _LATEST).argmin()
    found, count = _found(state, at)
    kept = jnp.arange(found.shape[0]) < count
    # Found pages that nobody uses are no longer there to be taken.
    idle = (kept & (state.table.users[found] == 0)).sum()
    needed = -(-prompts.length[at] // size) - count
    free = page_tables.unused(state.table) - idle
    return at, waiting.any() & (needed + _reserve(state) <= free)


def _reserve(state: State) -> Int[Array, ""]:
    """Returns how many pages are kept for the rows that are running.

    Without any, prompts would take the pages that completions are about to need, which
    then had to be taken back.
    """
    return running(state.rows).sum() // 4


def _found(state: State, at: Int[Array, ""]) -> tuple[Array, Int[Array, ""]]:
    """Looks for the beginning of a prompt.

    Of one whose own tokens are to be scored, everything has to be read.
    """
    prompts = state.prompts
    wanted = prompts.length[at] // _page_size(state)
    wanted = jnp.where(prompts.tell[at], 0, wanted)
    return page_tables.find(state.table, prompts.hashes[at], wanted, state.version)


def _admit_one(state: State) -> State:
    at, _ = _admissible(state)
    found, count = _found(state, at)
    size, length = _page_size(state), state.prompts.length[at]
    step = jnp.arange(found.shape[0])
    table = page_tables.share(state.table, found, step < count)
    whole = length // size

    def take(i: Array, carry: tuple) -> tuple:
        table, pages = carry
        hashed = jnp.where(i < whole, state.prompts.hashes[at, i], jnp.uint32(0))
        table, page = page_tables.take(table, hashed, state.version, top=True)
        return table, pages.at[i].set(page)

    found = jnp.where(step < count, found, 0)
    table, pages = lax.fori_loop(count, -(-length // size), take, (table, found))
    # The last token is read in any case: what comes after it is asked for.
    read = jnp.minimum(count * size, length - 1)
    counts = state.counts
    turn = counts.admitted
    counts = counts._replace(admitted=turn + 1, found=counts.found + read)
    state = state._replace(table=table, counts=counts)
    known = dict(table=pages, turn=turn, read=read, found=count * size)
    return _set(state, "prompts", at, stage=READING, **known)


def _startable(state: State) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """Returns the oldest prompt with a completion to start, and whether it can."""
    prompts = state.prompts
    ready = (prompts.stage == READY) & (prompts.started < prompts.wanted)
    at = jnp.where(ready, prompts.order, _LATEST).argmin()
    enough = ~_needs_copy(state, at) | (page_tables.unused(state.table) > 0)
    return at, ready.any() & ~state.rows.busy.all() & enough


@loops.without_pages
def _uncrowd(state: State) -> State:
    """Sends younger prompts back to wait as long as the oldest cannot start."""
    return lax.while_loop(_crowded, lambda s: _send_back(s, _youngest_ready(s)), state)


def _crowded(state: State) -> Bool[Array, ""]:
    """Says whether the oldest prompt cannot start because of younger ones."""
    at, possible = _startable(state)
    ready = state.prompts.stage == READY
    blocked = ready[at] & ~possible & ~state.rows.busy.all()
    return blocked & (_youngest_ready(state) != at)


def _youngest_ready(state: State) -> Int[Array, ""]:
    prompts = state.prompts
    return jnp.where(prompts.stage == READY, prompts.order, -1).argmax()


def _needs_copy(state: State, at: Int[Array, ""]) -> Bool[Array, ""]:
    """Says whether the prompt's last page has to be copied for its next completion."""
    prompts = state.prompts
    last = prompts.started[at] + 1 == prompts.wanted[at]
    return (prompts.length[at] % _page_size(state) > 0) & ~last


def _start_one(state: State) -> State:
    at, _ = _startable(state)
    prompts, size = state.prompts, _page_size(state)
    row, sample = (~state.rows.busy).argmax(), prompts.started[at]
    length, last = prompts.length[at], sample + 1 == prompts.wanted[at]
    whole, step = length // size, jnp.arange(prompts.table.shape[1])
    held = step < whole
    pages = jnp.where(step * size < length, prompts.table[at], -1)

    def copied(carry: tuple) -> tuple:
        table, pools, pages = carry
        table, page = _take_own(table, state.version)
        pools = tuple(
            decoder.layout(pool).copy(pool, pages[whole], page) for pool in pools
        )
        return table, pools, pages.at[whole].set(page)

    table, pools, pages = loops.when(
        _needs_copy(state, at), copied, (state.table, state.pages, pages)
    )
    # The last completion takes the prompt's own place.
    table = page_tables.share(table, pages, held & ~last)
    room = state.rows.table.shape[1] - pages.shape[0]
    state = state._replace(table=table, pages=pools)
    state = _set(
        state,
        "rows",
        row,
        ended=jnp.where(prompts.unwanted[at, sample], CANCELLED, 0),
        busy=True,
        request=prompts.request[at],
        sample=sample,
        order=prompts.order[at],
        table=jnp.pad(pages, (0, room), constant_values=-1),
        whole=whole,
        length=length,
        hidden=prompts.hidden[at],
        seed=prompts.seeds[at, sample],
        drawing=jax.tree.map(lambda x: x[at], prompts.drawing),
        matched=prompts.drawing.initial[at],
        count=0,
    )
    stage = jnp.where(last, NONE, READY)
    return _set(state, "prompts", at, started=sample + 1, stage=stage)


def _short(rows: Rows, state: State) -> Bool[Array, " rows"]:
    """Says which rows have no page for their next position."""
    size = _page_size(state)
    at = rows.length // size
    missing = jnp.take_along_axis(rows.table, at[:, None], axis=1)[:, 0] < 0
    return running(rows) & (rows.length % size == 0) & missing


def _make_room_once(state: State) -> State:
    """Takes a page for the oldest row that wants one, or frees the youngest's."""
    rows = state.rows
    oldest = _oldest(rows, _short(rows, state))
    free = page_tables.unused(state.table) > 0

    def take(state: State) -> State:
        table, page = _take_own(state.table, state.version)
        at = state.rows.length[oldest] // _page_size(state)
        changed = state.rows.table.at[oldest, at].set(page)
        return state._replace(table=table, rows=state.rows._replace(table=changed))

    state = loops.when(free, take, state)
    return loops.when(~free, _preempt, state)


def _preempt(state: State) -> State:
    """Takes back the pages of the youngest that has any."""
    prompts, rows = state.prompts, state.rows
    prompt, row = _youngest_ready(state), _youngest(rows, running(rows))
    first = (prompts.stage[prompt] == READY) & (
        prompts.order[prompt] >= rows.order[row]
    )

    def send_back(state: State) -> State:
        return _send_back(state, prompt)

    def stop(state: State) -> State:
        state = _drop_row_pages(state, row)
        counts = state.counts
        counts = counts._replace(preempted=counts.preempted + 1)
        state = state._replace(counts=counts)
        return _set(state, "rows", row, ended=PREEMPTED)

    state = loops.when(first, send_back, state)
    return loops.when(~first, stop, state)


def _oldest(rows: Rows, among: Bool[Array, " rows"]) -> Int[Array, ""]:
    """Returns the row that goes first: of the first request the first completion."""
    order = jnp.where(among, rows.order, _LATEST)
    among &= order == order.min()
    return jnp.where(among, rows.sample, _LATEST).argmin()


def _youngest(rows: Rows, among: Bool[Array, " rows"]) -> Int[Array, ""]:
    order = jnp.where(among, rows.order, -1)
    among &= order == order.max()
    return jnp.where(among, rows.sample, -1).argmax()


def _send_back(state: State, at: Int[Array, ""]) -> State:
    """Lets a prompt wait for pages again."""
    state = _drop_pages(state, at)
    return _set(state, "prompts", at, stage=WAITING, read=0)


def _drop_pages(state: State, at: Int[Array, ""]) -> State:
    prompts = state.prompts
    count = -(-prompts.length[at] // _page_size(state))
    held = jnp.arange(prompts.table.shape[1]) < count
    held &= prompts.stage[at] >= READING
    table = page_tables.give_back(
        state.table, prompts.table[at], held, state.counts.rounds
    )
    return state._replace(table=table)


def _drop_row_pages(state: State, at: Int[Array, ""]) -> State:
    """Gives back a row's pages; twice does no harm."""
    pages = state.rows.table[at]
    table = page_tables.give_back(
        state.table, jnp.maximum(pages, 0), pages >= 0, state.counts.rounds
    )
    state = state._replace(table=table)
    return _set(state, "rows", at, table=jnp.full_like(pages, -1))


def _retirable(rows: Rows) -> Bool[Array, ""]:
    return (rows.busy & (rows.ended > 0)).any()


def _room(state: State) -> Bool[Array, ""]:
    return state.done.count < state.done.ended.shape[0]


def _retire_one(state: State) -> State:
    rows, done = state.rows, state.done
    at, line = (rows.busy & (rows.ended > 0)).argmax(), done.count
    state = _drop_row_pages(state, at)
    state = _set(
        state,
        "done",
        line,
        ended=rows.ended[at],
        request=rows.request[at],
        sample=rows.sample[at],
        length=rows.count[at],
        tokens=rows.tokens[at],
        logprobs=rows.logprobs[at],
        raw_logprobs=rows.raw_logprobs[at],
        versions=rows.versions[at],
    )
    state = state._replace(done=state.done._replace(count=line + 1))
    return _set(state, "rows", at, busy=False)


def _set(state: State, part: str, at: Int[Array, ""], **values: Any) -> State:
    """Sets one line of some fields of one part of the state."""
    old = getattr(state, part)
    new = {
        name: jax.tree.map(lambda x, y: x.at[at].set(y), getattr(old, name), value)
        for name, value in values.items()
    }
    return state._replace(**{part: old._replace(**new)})


def _take_own(
    table: page_tables.PageTable, version: Int[Array, ""]
) -> tuple[page_tables.PageTable, Int[Array, ""]]:
    """Takes a page that nobody else is to find."""
    return page_tables.take(table, jnp.zeros(2, jnp.uint32), version, top=False)


def _page_size(state: State) -> int:
    return state.pages[0].size
