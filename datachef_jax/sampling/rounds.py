"""The engine's program: many rounds of reading prompts and decoding, in one call.

A round gives pages to waiting prompts, reads some of their tokens, starts completions
in free rows, draws the next token of every running row and hands on what has ended. The
host fills in prompts before and fetches what is done after it.
"""

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from datachef_jax.models.qwen3 import decoder
from datachef_jax.models.qwen3 import paged
from datachef_jax.models.qwen3.decoder import Decoder
from datachef_jax.sampling import grammar
from datachef_jax.sampling import logits
from datachef_jax.sampling import loops
from datachef_jax.sampling import schedule
from datachef_jax.sampling.state import ENDED
from datachef_jax.sampling.state import LIMIT
from datachef_jax.sampling.state import Prompts
from datachef_jax.sampling.state import READING
from datachef_jax.sampling.state import READY
from datachef_jax.sampling.state import SCORED
from datachef_jax.sampling.state import Sizes
from datachef_jax.sampling.state import State


def work(
    model: Decoder,
    state: State,
    grammars: grammar.Table,
    version: Int[Array, ""],
    most_rounds: Int[Array, ""],
    enough: Int[Array, ""],
    *,
    sizes: Sizes,
    end_id: int,
    axis: str | None,
) -> tuple[State, Bool[Array, ""]]:
    """Works for a number of rounds, or until there is nothing to do.

    Args:
      model: The model.
      state: The state.
      grammars: That requests may name.
      version: Of the weights. If it is another one than before, prompts that have not
        started yet are read anew; what is being decoded goes on.
      most_rounds: How many at most.
      enough: Stops when so much has ended.
      sizes: Of the engine.
      end_id: The token that ends a completion.
      axis: Of the mesh, whose shards do this side by side and all stop together.

    Returns:
      The state, and whether anything happened.
    """
    state = loops.when(version != state.version, schedule.forget_reading, state)
    state = state._replace(version=version)
    last = state.counts.rounds + most_rounds

    def total(x: Int[Array, ""]) -> Int[Array, ""]:
        return lax.psum(x, axis) if axis else x

    def goes_on(state: State, before: Int[Array, ""]) -> Bool[Array, ""]:
        busy = state.rows.busy.any() | (state.prompts.stage > 0).any()
        busy &= _progress(state) > before
        full = state.done.count >= state.done.ended.shape[0]
        return (
            (total(busy.astype(jnp.int32)) > 0)
            & (total(full.astype(jnp.int32)) == 0)
            & (total(state.done.count) < enough)
            & (state.counts.rounds < last)
        )

    def round(carry: tuple[State, Array]) -> tuple[State, Array]:
        state, _ = carry
        before = _progress(state)
        state = schedule.admit(schedule.release_finished(state))
        state = _read(model, state, sizes)
        state = _score(model, state, sizes)
        if sizes.rows:
            state = _decode(model, schedule.start(state), grammars, end_id)
            state = schedule.retire(state)
        counts = state.counts
        state = state._replace(counts=counts._replace(rounds=counts.rounds + 1))
        return state, goes_on(state, before)

    start = _progress(state)
    carry = state, goes_on(state, start - 1)
    state, _ = lax.while_loop(lambda carry: carry[1], round, carry)
    return state, total(_progress(state) - start) > 0


def _progress(state: State) -> Int[Array, ""]:
    """Returns what grows with every round in which something happens."""
    counts = state.counts
    return counts.read + counts.decoded + state.done.count


def _read(model: Decoder, state: State, sizes: Sizes) -> State:
    """Reads prompts into their pages, a few batches of tokens."""

    def more(carry: tuple[Array, State]) -> Array:
        done, state = carry
        return (done < sizes.reads) & (state.prompts.stage == READING).any()

    def read(carry: tuple[Array, State]) -> tuple[Array, State]:
        return carry[0] + 1, _read_batch(model, carry[1], sizes)

    return lax.while_loop(more, read, (jnp.zeros((), jnp.int32), state))[1]


def _read_batch(model: Decoder, state: State, sizes: Sizes) -> State:
    prompts, size = state.prompts, sizes.page_size
    turn = jnp.where(prompts.stage == READING, prompts.turn, jnp.iinfo(jnp.int32).max)
    who = jnp.argsort(turn, stable=True)[: sizes.read_prompts]
    reading = prompts.stage[who] == READING
    left = jnp.where(reading, prompts.length[who] - prompts.read[who], 0)
    ends = jnp.minimum(jnp.cumsum(left), sizes.read_tokens)
    begins = jnp.concatenate([jnp.zeros(1, ends.dtype), ends[:-1]])
    taken = ends - begins
    index = jnp.arange(sizes.read_tokens)
    valid = index < ends[-1]
    # Compared, not looked up: XLA's compiler for TPUs stumbles over indices of indices.
    mine = (index[:, None] >= ends[None]).sum(1, dtype=jnp.int32)
    mine = jnp.minimum(mine, who.size - 1)
    own = mine[:, None] == jnp.arange(who.size)[None]

    def of_token(x: Int[Array, " prompts"]) -> Int[Array, " tokens"]:
        return jnp.where(own, x[None], 0).sum(1)

    prompt = of_token(who)
    first = of_token(prompts.read[who] - begins)
    position = jnp.where(valid, first + index, 0)
    packed = paged.Packed(
        tables=prompts.table[who],
        starts=prompts.read[who],
        counts=taken,
        sequence=mine,
        position=position,
        valid=valid,
    )
    page = prompts.table[prompt, position // size]
    new = valid & (position >= of_token(prompts.found[who]))
    wanted = _told(prompts, prompt, position, valid)
    hidden, everywhere, pages = model.read(
        prompts.tokens[prompt, position],
        position,
        state.pages,
        paged.Places(page=jnp.where(new, page, sizes.pages), offset=position % size),
        packed,
        every=wanted.any(),
    )
    read = prompts.read.at[who].add(taken)
    finished = reading & (read[who] == prompts.length[who])
    places = jnp.where(finished, who, sizes.prompts)
    prompts = _tell(model, prompts, everywhere, prompt, position, wanted)
    prompts = prompts._replace(
        read=read,
        stage=prompts.stage.at[places].set(READY, mode="drop"),
        hidden=prompts.hidden.at[places].set(hidden, mode="drop"),
    )
    counts = state.counts
    counts = counts._replace(read=counts.read + ends[-1], reads=counts.reads + 1)
    return state._replace(prompts=prompts, pages=pages, counts=counts)


def _told(
    prompts: Prompts,
    prompt: Int[Array, " tokens"],
    position: Int[Array, " tokens"],
    valid: Bool[Array, " tokens"],
) -> Bool[Array, " tokens"]:
    """Returns after which tokens the next one is to be scored."""
    return valid & prompts.tell[prompt] & (position + 1 < prompts.length[prompt])


def _tell(
    model: Decoder,
    prompts: Prompts,
    hidden: Float[Array, "tokens embed"],
    prompt: Int[Array, " tokens"],
    position: Int[Array, " tokens"],
    wanted: Bool[Array, " tokens"],
) -> Prompts:
    """Scores the tokens of prompts, each by the state of the one before it."""
    after = position + 1

    def compute() -> Float[Array, " tokens"]:
        chosen = prompts.tokens[prompt, after]
        return model.token_logprobs(hidden, chosen, temperature=1.0)[0]

    logprobs = lax.cond(wanted.any(), compute, lambda: jnp.zeros(wanted.shape))
    line = jnp.where(wanted, prompt, prompts.tell.shape[0])
    return prompts._replace(
        logprobs=prompts.logprobs.at[line, after].set(logprobs, mode="drop")
    )


def _score(model: Decoder, state: State, sizes: Sizes) -> State:
    """Scores the candidates of prompts that have been read."""
    lines = state.done.ended.shape[0]

    def ready(state: State) -> Array:
        return (state.prompts.stage == READY) & state.prompts.scores

    def some(state: State) -> State:
        wanted, prompts, done = ready(state), state.prompts, state.done
        order = jnp.where(wanted, prompts.order, jnp.iinfo(jnp.int32).max)
        who = jnp.argsort(order, stable=True)[: sizes.read_prompts]
        logprobs = jax.nn.log_softmax(model.logits(prompts.hidden[who]), axis=-1)
        scores = jnp.take_along_axis(logprobs, prompts.candidates[who], axis=1)
        line = done.count + jnp.arange(who.size)
        fits = wanted[who] & (line < lines)
        line = jnp.where(fits, line, lines)
        done = done._replace(
            count=done.count + fits.sum(),
            ended=done.ended.at[line].set(SCORED, mode="drop"),
            request=done.request.at[line].set(prompts.request[who], mode="drop"),
            length=done.length.at[line].set(0, mode="drop"),
            scores=done.scores.at[line].set(scores, mode="drop"),
            prompt_logprobs=done.prompt_logprobs.at[line].set(
                prompts.logprobs[who], mode="drop"
            ),
        )
        who = jnp.where(fits, who, sizes.prompts)
        prompts = prompts._replace(
            scores=prompts.scores.at[who].set(False, mode="drop")
        )
        return schedule.release_finished(state._replace(prompts=prompts, done=done))

    return lax.while_loop(
        lambda state: ready(state).any() & (state.done.count < lines), some, state
    )


def _decode(
    model: Decoder, state: State, grammars: grammar.Table, end_id: int
) -> State:
    """Draws the next token of every running row, if there is one."""

    def step(state: State) -> State:
        state = _draw(model, state, grammars, end_id)
        state = schedule.make_room(state)
        rows, size = state.rows, state.pages[0].size
        live = schedule.running(rows)
        newest = jnp.maximum(rows.count - 1, 0)
        tokens = jnp.take_along_axis(rows.tokens, newest[:, None], axis=1)[:, 0]
        page = jnp.take_along_axis(rows.table, rows.length[:, None] // size, axis=1)
        count = state.pages[0].count
        length = jnp.where(live, rows.length + 1, rows.length)
        hidden, pages = model.extend(
            tokens,
            rows.length,
            state.pages,
            paged.Places(
                page=jnp.where(live, page[:, 0], count), offset=rows.length % size
            ),
            decoder.layout(state.pages[0]).reads_of_rows(
                state.pages[0], rows.table, rows.whole, jnp.where(live, length, 0)
            ),
        )
        rows = rows._replace(
            hidden=jnp.where(live[:, None], hidden, rows.hidden), length=length
        )
        return state._replace(rows=rows, pages=pages)

    return lax.cond(schedule.running(state.rows).any(), step, lambda x: x, state)


def _draw(model: Decoder, state: State, grammars: grammar.Table, end_id: int) -> State:
    rows, counts = state.rows, state.counts
    live = schedule.running(rows)
    held = rows.drawing.grammar, rows.matched
    drawn = logits.sample(
        model.logits(rows.hidden),
        grammar.allowed(grammars, *held),
        rows.drawing.settings,
        rows.seed,
        rows.count,
    )
    stops = (drawn.tokens == end_id) | (
        drawn.tokens[:, None] == rows.drawing.stop_ids
    ).any(-1)
    full = rows.count + 1 >= rows.drawing.limit
    ended = jnp.where(stops, ENDED, jnp.where(full, LIMIT, 0))
    line = jnp.where(live, rows.count, rows.tokens.shape[1])

    def put(x: Array, value: Array) -> Array:
        return x.at[jnp.arange(line.size), line].set(value, mode="drop")

    rows = rows._replace(
        ended=jnp.where(live, ended, rows.ended),
        matched=grammar.advance(grammars, *held, drawn.tokens),
        count=rows.count + live,
        tokens=put(rows.tokens, drawn.tokens),
        logprobs=put(rows.logprobs, drawn.logprobs),
        raw_logprobs=put(rows.raw_logprobs, drawn.raw_logprobs),
        versions=put(rows.versions, jnp.full(line.shape, state.version)),
    )
    counts = counts._replace(decoded=counts.decoded + live.sum())
    return state._replace(rows=rows, counts=counts)
