"""The generation engine: requests in, completions and scores out, as they are done.

What the device does is in `rounds.py`. The host keeps the requests that the device has
no room for, hands them over in order, and fetches what has ended.

Where the mesh has a data axis, each of its shards has rows, prompts and pages of its
own, as many as `Sizes` says, and works on requests of its own.
"""

from collections.abc import Sequence
import dataclasses
import functools
import heapq
import time
from typing import Any
import weakref

from flax import nnx
import jax
import numpy as np

from datachef_jax.models.qwen3 import int8_decoder
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.quantize import Stored
from datachef_jax.sampling import shards
from datachef_jax.sampling import state as states
from datachef_jax.sampling import wire
from datachef_jax.sampling.grammar import Grammars
from datachef_jax.sampling.request import Part
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.state import Sizes
from datachef_jax.types import Completion

_FEED = 16  # prompts handed over at a time, to each shard


@dataclasses.dataclass(kw_only=True)
class _Asked:
    """A request that is not done.

    Attributes:
      request: The request.
      grammar: Its grammar's slot.
      lines: Names of its lines, those of earlier ones included.
      due: Completions that have not come out yet, and None for scores.
    """

    request: Request
    grammar: int
    lines: list[int]
    due: set[int | None]


class Engine:
    """Generates and scores with one model; to be used by one thread at a time.

    A completion follows from its prompt, its seed and the settings: alone or in a
    crowd, in whatever row and whatever pages, it is the same (on CPU in float32, bit
    for bit).

    Attributes:
      sizes: What there is room for.
      device_seconds: In which the device worked, or was waited for.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        config: Qwen3Config,
        compute: Compute,
        sizes: Sizes,
        *,
        end_id: int,
        share_prefixes: bool = True,
        stored: Stored = Stored(),
    ):
        """Makes nothing yet: pages are there from the first step on.

        Args:
          graphdef: Of the model, from `nnx.split(model, nnx.Param)`.
          config: The model's sizes.
          compute: How it computes.
          sizes: What there is room for, in each shard of the data axis.
          end_id: The token that ends a completion.
          share_prefixes: Whether requests find pages of others that begin like them.
          stored: In which numbers weights, keys and values are kept.
        """
        self.sizes = sizes
        self.device_seconds = 0.0
        self._share_prefixes = share_prefixes
        self._stored = stored
        self._stacked = graphdef
        self._graphdef: nnx.GraphDef | None = None  # of the decoder
        self._decoder: nnx.State | None = None  # its weights
        self._sources: list[weakref.ref[jax.Array]] = []  # what they were made of
        self._versions: list[int] = []  # by epoch
        self._vocab_size = config.vocab_size
        self._end_id = end_id
        pages_dtype = stored.pages_dtype(compute.dtype)
        self._empty = functools.partial(
            shards.empty, config, compute.dtype, sizes, pages_dtype
        )
        self._kept: states.State | None = None
        self._done = {name: 0 for name in states.Counts._fields}
        self._read_off = dict(self._done)  # of the device's own counts
        self._grammars = Grammars(
            slots=sizes.grammars,
            states=sizes.grammar_states,
            classes=sizes.grammar_classes,
            vocab_size=config.vocab_size,
        )
        self._asked: dict[int, _Asked] = {}
        self._lines: dict[int, wire.Line] = {}  # by the name that the device knows
        self._waiting: list[tuple[int, int]] = []  # heap of (order, line)
        self._shards: dict[int, int] = {}  # of lines that have been handed over
        self._cancelled: list[tuple[int, int]] = []  # lines, samples
        self._idle = 0  # steps in which nothing happened
        self._requests = 0
        self._names = 0

    @property
    def busy(self) -> bool:
        """Says whether anything is under way."""
        return bool(self._asked)

    def submit(self, request: Request) -> int:
        """Takes a request; `step` works on it.

        Returns:
          Its number, by which parts and `cancel` name it.

        Raises:
          ValueError: If the engine could never serve it; the message says why.
        """
        wire.check(request, self.sizes, self._vocab_size)
        slot = self._grammars.acquire(request.sampling and request.sampling.grammar)
        number, self._requests = self._requests, self._requests + 1
        samples = tuple(range(len(request.seeds)))
        asked = _Asked(request=request, grammar=slot, lines=[], due=set(samples))
        if request.scored:
            asked.due.add(None)
        self._asked[number] = asked
        group = self.sizes.group
        for first in range(0, max(len(samples), 1), group):
            some = samples[first : first + group]
            self._wait(number, some, request.scored and first == 0)
        return number

    def cancel(self, number: int, sample: int | None = None) -> None:
        """Ends a request early, or one of its completions: no more of it comes out.

        What it has got so far, `drafts` says before.
        """
        asked = self._asked.get(number)
        if asked is None or (sample is not None and sample not in asked.due):
            return  # done before anybody could know
        for name in asked.lines:
            line = self._lines[name]
            if sample is None:
                self._cancelled.append((name, -1))
            elif sample in line.samples:
                self._cancelled.append((name, line.samples.index(sample)))
        asked.due -= {sample} if sample is not None else set(asked.due)
        if not asked.due:
            self._forget(number)

    def step(
        self,
        params: nnx.State,
        *,
        version: int = 0,
        most_rounds: int = 2**30,
        enough: int = 2**30,
    ) -> list[Part]:
        """Works on what has been submitted.

        Args:
          params: The model's weights.
          version: Of the weights, for what is said of each token. Other weights, or
            another version, than at the last call: prompts are read anew.
          most_rounds: Tokens that each running completion may get.
          enough: Returns once so many completions or scores are ready.

        Returns:
          What has become ready.

        Raises:
          RuntimeError: If the engine has lost a request.
        """
        self._feed()
        start = time.monotonic()
        self._kept, report = shards.run(
            self._take_apart(params, version),
            self._state,
            self._grammars.table,
            np.int32(len(self._versions)),
            np.int32(most_rounds),
            np.int32(enough),
            graphdef=self._graphdef,
            sizes=self.sizes,
            end_id=self._end_id,
        )
        report = jax.device_get(report)
        self.device_seconds += time.monotonic() - start
        for name, count in report.counts._asdict().items():
            # The device's own are soon too large for it, and begin anew.
            self._done[name] += (int(count) - self._read_off[name]) % 2**32
            self._read_off[name] = int(count)
        parts = self._fetch() if report.done.any() else []
        # Where all places were taken by what has been cancelled, one is for nothing.
        self._idle = 0 if report.moved or not self._asked else self._idle + 1
        if self._idle > 2:
            raise RuntimeError(f"the engine has lost requests {sorted(self._asked)}")
        return parts

    def sleep(self) -> None:
        """Frees the device's memory until there is work again.

        Raises:
          RuntimeError: If there is work.
        """
        if self._asked:
            raise RuntimeError(f"requests {sorted(self._asked)} are under way")
        self._read_off = {name: 0 for name in self._done}
        self._kept = self._decoder = None
        self._sources = []
        self._cancelled = []

    def drafts(self, numbers: Sequence[int]) -> list[Part]:
        """Returns what running completions of some requests have got so far."""
        rows = jax.device_get(shards.read(self._state.rows))
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
        running = np.flatnonzero(rows.busy & (rows.ended == 0))
        parts = []
        for i in running.tolist():
            line = self._lines.get(int(rows.request[i]))
            if line is None or line.number not in numbers:
                continue
            sample = line.samples[int(rows.sample[i])]
            if sample in self._asked[line.number].due:
                draft = self._completion(rows, i, int(rows.count[i]))
                parts.append(Part(request=line.number, sample=sample, completion=draft))
        return parts

    def waits(self, number: int) -> bool:
        """Says whether the device has not been handed any of a request yet."""
        asked = self._asked.get(number)
        return asked is not None and not any(n in self._shards for n in asked.lines)

    def statistics(self) -> dict[str, int]:
        """Returns what has been done so far; see `state.Counts`."""
        return dict(self._done)

    def held(self) -> np.ndarray:
        """Returns how many sequences hold each page."""
        return jax.device_get(shards.read(self._state.table.users))

    @property
    def _state(self) -> states.State:
        if self._kept is None:
            self._kept = self._empty()
        return self._kept

    def _take_apart(self, params: nnx.State, version: int) -> nnx.State:
        """Returns the decoder's weights; those of the last call are kept.

        What has been read with other weights is of no use. The device tells weights
        apart by their epoch, so that nobody's version can repeat another's.
        """
        given = jax.tree.leaves(params)
        # Every one: where only adapters learn, all else stays the very same.
        same = len(given) == len(self._sources) and all(
            source() is x for source, x in zip(self._sources, given, strict=True)
        )
        if not same:
            self._decoder = None  # frees them before there are new ones
            model = nnx.merge(self._stacked, params)
            decoder = int8_decoder.decoder(model, self._stored)
            self._graphdef, self._decoder = nnx.split(decoder, nnx.Param)
            self._sources = [weakref.ref(x) for x in given]
        if not same or version != self._versions[-1]:
            self._versions.append(version)
        return self._decoder

    def _wait(self, number: int, samples: tuple[int, ...], scores: bool) -> None:
        asked = self._asked[number]
        salt = b"" if self._share_prefixes else str(number).encode()
        prompt, size = asked.request.prompt, self.sizes.page_size
        line = wire.Line(
            number=number,
            request=asked.request,
            hashes=wire.hashes(prompt, size, salt=salt),
            grammar=asked.grammar,
            samples=samples,
            scores=scores,
            order=asked.request.priority * wire.ORDERS + number % wire.ORDERS,
        )
        name, self._names = self._names, self._names + 1
        self._lines[name] = line
        asked.lines.append(name)
        heapq.heappush(self._waiting, (line.order, name))

    def _feed(self) -> None:
        """Hands over waiting prompts, as many as the device has room for."""
        if not (self._waiting or self._cancelled):
            return
        stage = jax.device_get(shards.read(self._state.prompts.stage))
        free = [np.flatnonzero(one == states.NONE).tolist() for one in stage]
        while self._waiting or self._cancelled:
            at, prompts, left = self._next_lines(free)
            cancelled, self._cancelled = (
                self._cancelled[:_FEED],
                self._cancelled[_FEED:],
            )
            gone = np.full((_FEED, 2), -1, np.int32)
            gone[: len(cancelled)] = np.reshape(cancelled, (-1, 2))
            self._kept = shards.feed(self._state, at, prompts, gone)
            if not left and not self._cancelled:
                return

    def _next_lines(
        self, free: list[list[int]]
    ) -> tuple[np.ndarray, states.Prompts, bool]:
        """Takes lines that wait and writes them up; each goes where least is to do.

        Args:
          free: Places of each shard for prompts; those that are taken go.

        Returns:
          The place of each line, int32 [shards, lines], and the lines; whether there
          may be more.
        """
        count = len(free)
        prompts = shards.no_prompts(self._state, _FEED)
        at = np.full((count, _FEED), self.sizes.prompts, np.int32)
        filled = [0] * count
        load = np.bincount(list(self._shards.values()), minlength=count)
        while self._waiting:
            open_to = [i for i in range(count) if free[i] and filled[i] < _FEED]
            if not open_to:
                return at, prompts, any(free)
            shard = min(open_to, key=lambda i: load[i])
            name = heapq.heappop(self._waiting)[1]
            line = self._lines.get(name)
            if line is None:
                continue  # cancelled meanwhile
            i, filled[shard] = filled[shard], filled[shard] + 1
            at[shard, i] = free[shard].pop(0)
            wire.fill(jax.tree.map(lambda x: x[shard], prompts), i, name, line)
            self._shards[name] = shard
            load[shard] += 1
        return at, prompts, False

    def _fetch(self) -> list[Part]:
        """Returns what has ended since the last call."""
        host = jax.device_get(shards.read(self._state.done))
        self._kept = shards.fetched(self._state)
        parts = []
        for shard, count in enumerate(host.count):
            lines = jax.tree.map(lambda x: x[shard], host)
            parts += [self._read(lines, i) for i in range(count)]
        return [part for part in parts if part is not None]

    def _read(self, host: states.Done, i: int) -> Part | None:
        """Returns what a line says; None if nobody wants it, or it is asked again."""
        line = self._lines.get(int(host.request[i]))
        if line is None:
            return None  # cancelled
        number, asked = line.number, self._asked[line.number]
        if host.ended[i] == states.SCORED:
            scores = wire.scores(host, i, line.request)
            return self._part(number, None, scores=scores)
        sample = line.samples[int(host.sample[i])]
        if sample not in asked.due:
            return None
        if host.ended[i] == states.PREEMPTED:
            self._wait(number, (sample,), False)
            return None
        completion = self._completion(host, i, int(host.length[i]))
        return self._part(number, sample, completion=completion)

    def _completion(
        self, host: states.Done | states.Rows, i: int, n: int
    ) -> Completion:
        return wire.completion(host, i, n, versions=self._versions)

    def _part(self, number: int, sample: int | None, **what: Any) -> Part:
        asked = self._asked[number]
        asked.due.remove(sample)
        if not asked.due:
            self._forget(number)
        return Part(request=number, sample=sample, last=not asked.due, **what)

    def _forget(self, number: int) -> None:
        asked = self._asked.pop(number)
        self._grammars.release(asked.grammar)
        for name in asked.lines:
            del self._lines[name]
            self._shards.pop(name, None)
