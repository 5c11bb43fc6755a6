"""What the engine keeps on the device between two calls.

Prompts wait in `Prompts` until they have pages, are read, and then start completions in
free `Rows`; what is done goes to `Done`, where the host finds it.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, UInt32

from datachef_jax.models.qwen3 import decoder
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.sampling import logits
from datachef_jax.sampling import pages as page_tables

# Stages of a prompt.
NONE, WAITING, READING, READY = range(4)
# How something ended: at the end token or a stop token, at its limit, because it was
# cancelled, because its pages were needed for an older one, or with scores only.
ENDED, LIMIT, CANCELLED, PREEMPTED, SCORED = range(1, 6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """The engine's shapes, all fixed when it is compiled.

    Attributes:
      rows: Completions decoded at a time; 0 where there are only scores. A multiple of
        16 keeps a CPU's vectors full.
      prompts: Prompts that wait, are read or start completions at a time.
      group: Most completions of one prompt.
      pages: Of the pool.
      page_size: Positions of a page.
      max_prompt: Longest prompt, in tokens.
      max_new_tokens: Longest completion.
      read_tokens: Prompt tokens read at a time.
      read_prompts: Prompts that these may come from.
      reads: Times that prompts are read before every running row gets its next token.
      stop_ids: Most stop tokens of a request.
      candidates: Most candidates of a request.
      grammars: Grammars in use at a time.
      grammar_states: Most states of a grammar.
      grammar_classes: Most kinds of tokens that a grammar tells apart.
    """

    rows: int
    prompts: int
    group: int
    pages: int
    page_size: int
    max_prompt: int
    max_new_tokens: int
    read_tokens: int
    read_prompts: int
    reads: int
    stop_ids: int
    candidates: int
    grammars: int
    grammar_states: int
    grammar_classes: int

    @property
    def lines(self) -> int:
        """Returns how much can be ready before the host has to fetch it."""
        return max(self.rows, self.prompts)

    @property
    def prompt_pages(self) -> int:
        """Returns how many pages the longest prompt has."""
        return -(-self.max_prompt // self.page_size)

    @property
    def row_pages(self) -> int:
        """Returns how many pages the longest row has."""
        return -(-(self.max_prompt + self.max_new_tokens) // self.page_size)


class Drawing(NamedTuple):
    """How tokens are drawn, for each prompt or row."""

    settings: logits.Settings
    limit: Int[Array, " n"]  # tokens of a completion
    stop_ids: Int[Array, "n stops"]  # -1 where there is none
    grammar: Int[Array, " n"]  # in the table of grammars; 0 for none
    initial: Int[Array, " n"]  # the grammar's state before the first token


class Prompts(NamedTuple):
    """Prompts on their way."""

    stage: Int[Array, " prompts"]
    request: Int[Array, " prompts"]  # the host's number of it
    order: Int[Array, " prompts"]  # smaller goes first
    tokens: Int[Array, "prompts max_prompt"]
    length: Int[Array, " prompts"]
    hashes: UInt32[Array, "prompts prompt_pages 2"]  # of its whole pages
    table: Int[Array, "prompts prompt_pages"]
    turn: Int[
        Array, " prompts"
    ]  # when it got its pages; prompts are read in this order
    read: Int[Array, " prompts"]  # tokens that are in its pages
    found: Int[Array, " prompts"]  # tokens that somebody else has put there
    hidden: Float[Array, "prompts embed"]  # of its last token
    seeds: UInt32[Array, "prompts group"]
    wanted: Int[Array, " prompts"]  # completions
    started: Int[Array, " prompts"]
    unwanted: Bool[Array, "prompts group"]  # completions that were cancelled since
    drawing: Drawing
    candidates: Int[Array, "prompts candidates"]
    scores: Bool[Array, " prompts"]  # whether scores are still wanted
    tell: Bool[Array, " prompts"]  # whether its own tokens are to be scored
    logprobs: Float[Array, "prompts max_prompt"]  # of its tokens but the first, if so


class Rows(NamedTuple):
    """Completions being decoded."""

    ended: Int[Array, " rows"]  # 0 while running
    busy: Bool[Array, " rows"]  # holds a completion, running or not
    request: Int[Array, " rows"]
    sample: Int[Array, " rows"]  # which completion of its request
    order: Int[Array, " rows"]
    table: Int[Array, "rows row_pages"]
    whole: Int[Array, " rows"]  # pages from the prompt, all full
    length: Int[Array, " rows"]  # positions in the pages
    hidden: Float[Array, "rows embed"]  # of the last position
    seed: UInt32[Array, " rows"]
    drawing: Drawing
    matched: Int[Array, " rows"]  # the grammar's state
    count: Int[Array, " rows"]  # tokens drawn
    tokens: Int[Array, "rows max_new_tokens"]
    logprobs: Float[Array, "rows max_new_tokens"]
    raw_logprobs: Float[Array, "rows max_new_tokens"]
    versions: Int[Array, "rows max_new_tokens"]  # epoch of the weights that drew each


class Done(NamedTuple):
    """What the host has not fetched yet; only the first `count` lines mean anything."""

    count: Int[Array, ""]
    ended: Int[Array, " lines"]
    request: Int[Array, " lines"]
    sample: Int[Array, " lines"]
    length: Int[Array, " lines"]  # tokens drawn
    tokens: Int[Array, "lines max_new_tokens"]
    logprobs: Float[Array, "lines max_new_tokens"]
    raw_logprobs: Float[Array, "lines max_new_tokens"]
    versions: Int[Array, "lines max_new_tokens"]
    scores: Float[Array, "lines candidates"]
    prompt_logprobs: Float[Array, "lines max_prompt"]


class Counts(NamedTuple):
    """What has been done so far."""

    admitted: Int[Array, ""]  # prompts that were given pages
    rounds: Int[Array, ""]  # of decoding
    decoded: Int[Array, ""]  # tokens
    read: Int[Array, ""]  # tokens of prompts
    reads: Int[Array, ""]  # batches that they were read in
    found: Int[Array, ""]  # tokens of prompts that were already in pages
    preempted: Int[Array, ""]


class State(NamedTuple):
    """Everything."""

    table: page_tables.PageTable
    pages: tuple[decoder.Pages, ...]
    prompts: Prompts
    rows: Rows
    done: Done
    counts: Counts
    version: Int[Array, ""]  # epoch of the weights


def empty(
    config: Qwen3Config, dtype: DTypeLike, sizes: Sizes, pages_dtype: DTypeLike
) -> State:
    """Returns the state of an engine that nobody has asked anything.

    Args:
      config: The model's sizes.
      dtype: Of activations.
      sizes: Of the engine.
      pages_dtype: Of keys and values.
    """
    embed, zero = config.hidden_size, jnp.zeros((), jnp.int32)
    lines = sizes.lines

    def drawn(n: int) -> dict[str, Array]:
        shape = (n, sizes.max_new_tokens)
        return dict(
            tokens=jnp.zeros(shape, jnp.int32),
            logprobs=jnp.zeros(shape),
            raw_logprobs=jnp.zeros(shape),
            versions=jnp.zeros(shape, jnp.int32),
        )

    return State(
        table=page_tables.empty(sizes.pages),
        pages=decoder.empty(
            config,
            pages_dtype,
            count=sizes.pages,
            size=sizes.page_size,
            decodes=sizes.rows > 0,
        ),
        prompts=_no_prompts(sizes, embed, dtype),
        rows=Rows(
            ended=jnp.zeros(sizes.rows, jnp.int32),
            busy=jnp.zeros(sizes.rows, bool),
            request=jnp.zeros(sizes.rows, jnp.int32),
            sample=jnp.zeros(sizes.rows, jnp.int32),
            order=jnp.zeros(sizes.rows, jnp.int32),
            table=jnp.zeros((sizes.rows, sizes.row_pages), jnp.int32),
            whole=jnp.zeros(sizes.rows, jnp.int32),
            length=jnp.zeros(sizes.rows, jnp.int32),
            hidden=jnp.zeros((sizes.rows, embed), dtype),
            seed=jnp.zeros(sizes.rows, jnp.uint32),
            drawing=_no_drawing(sizes.rows, sizes),
            matched=jnp.zeros(sizes.rows, jnp.int32),
            count=jnp.zeros(sizes.rows, jnp.int32),
            **drawn(sizes.rows),
        ),
        done=Done(
            count=zero,
            ended=jnp.zeros(lines, jnp.int32),
            request=jnp.zeros(lines, jnp.int32),
            sample=jnp.zeros(lines, jnp.int32),
            length=jnp.zeros(lines, jnp.int32),
            scores=jnp.zeros((lines, sizes.candidates)),
            prompt_logprobs=jnp.zeros((lines, sizes.max_prompt)),
            **drawn(lines),
        ),
        counts=Counts(*(jnp.zeros((), jnp.int32) for _ in Counts._fields)),
        version=zero,
    )


def _no_prompts(sizes: Sizes, embed: int, dtype: DTypeLike) -> Prompts:
    n = sizes.prompts
    return Prompts(
        stage=jnp.zeros(n, jnp.int32),
        request=jnp.zeros(n, jnp.int32),
        order=jnp.zeros(n, jnp.int32),
        tokens=jnp.zeros((n, sizes.max_prompt), jnp.int32),
        length=jnp.zeros(n, jnp.int32),
        hashes=jnp.zeros((n, sizes.prompt_pages, 2), jnp.uint32),
        table=jnp.zeros((n, sizes.prompt_pages), jnp.int32),
        turn=jnp.zeros(n, jnp.int32),
        read=jnp.zeros(n, jnp.int32),
        found=jnp.zeros(n, jnp.int32),
        hidden=jnp.zeros((n, embed), dtype),
        seeds=jnp.zeros((n, sizes.group), jnp.uint32),
        wanted=jnp.zeros(n, jnp.int32),
        started=jnp.zeros(n, jnp.int32),
        unwanted=jnp.zeros((n, sizes.group), bool),
        drawing=_no_drawing(n, sizes),
        candidates=jnp.zeros((n, sizes.candidates), jnp.int32),
        scores=jnp.zeros(n, bool),
        tell=jnp.zeros(n, bool),
        logprobs=jnp.zeros((n, sizes.max_prompt)),
    )


def _no_drawing(n: int, sizes: Sizes) -> Drawing:
    return Drawing(
        settings=logits.Settings(
            temperature=jnp.zeros(n),
            top_k=jnp.zeros(n, jnp.int32),
            top_p=jnp.ones(n),
            min_p=jnp.zeros(n),
        ),
        limit=jnp.zeros(n, jnp.int32),
        stop_ids=jnp.full((n, sizes.stop_ids), -1),
        grammar=jnp.zeros(n, jnp.int32),
        initial=jnp.zeros(n, jnp.int32),
    )
