"""The generation engine: requests in, completions and scores out, as they are done.

What the device does is in `rounds.py`. The host keeps the requests that the device has
no room for (`queue.py`), hands them over in order, and fetches what has ended.

Where the mesh has a data axis, each of its shards has rows, prompts and pages of its
own, as many as `Sizes` says, and works on requests of its own.
"""

from collections.abc import Sequence
import functools
import time
from typing import Any

from flax import nnx
import jax
import numpy as np

from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.quantize import Stored
from datachef_jax.sampling import shards
from datachef_jax.sampling import sizing
from datachef_jax.sampling import state as states
from datachef_jax.sampling import wire
from datachef_jax.sampling.epochs import Epochs
from datachef_jax.sampling.queue import Queue
from datachef_jax.sampling.request import Part
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.state import Sizes
from datachef_jax.types import Completion

_FEED = 16  # prompts handed over at a time, to each shard


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
        self._epochs = Epochs(graphdef, stored)
        self._vocab_size = config.vocab_size
        self._end_id = end_id
        pages_dtype = stored.pages_dtype(compute.dtype)
        self._empty = functools.partial(
            shards.empty, config, compute.dtype, sizes, pages_dtype
        )
        self._kept: states.State | None = None
        self._done = {name: 0 for name in states.Counts._fields}
        self._read_off = dict(self._done)  # of the device's own counts
        self._queue = Queue(sizes, config.vocab_size, share_prefixes=share_prefixes)
        self._idle = 0  # steps in which nothing happened

    @classmethod
    def sized(
        cls,
        graphdef: nnx.GraphDef,
        params: nnx.State,
        *,
        end_id: int,
        stored: Stored = Stored(),
        **wanted: int,
    ) -> "Engine":
        """Returns an engine of a model with room for what is wanted of it.

        Args:
          graphdef: As for the engine.
          params: The model's weights, of which only the shapes are looked at.
          end_id: As for the engine, as is the next one.
          stored: See there.
          wanted: As for `sizing.plan`.

        Raises:
          ValueError: If there is no such room.
        """
        model = nnx.merge(graphdef, params)
        compute = model.compute
        sizes = sizing.plan(model.config, stored.pages_dtype(compute.dtype), **wanted)
        return cls(graphdef, model.config, compute, sizes, end_id=end_id, stored=stored)

    @property
    def busy(self) -> bool:
        """Says whether anything is under way."""
        return self._queue.busy

    def submit(self, request: Request) -> int:
        """Takes a request; `step` works on it, once its grammar has a slot.

        Returns:
          Its number, by which parts and `cancel` name it.

        Raises:
          ValueError: If the engine could never serve it; the message says why.
        """
        wire.check(request, self.sizes, self._vocab_size)
        return self._queue.add(request)

    def cancel(self, number: int, sample: int | None = None) -> None:
        """Ends a request early, or one of its completions: no more of it comes out.

        What it has got so far, `drafts` says before.
        """
        self._queue.cancel(number, sample)

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
            self._epochs.take(params, version),
            self._state,
            self._queue.grammars.table,
            np.int32(self._epochs.current),
            np.int32(most_rounds),
            np.int32(enough),
            graphdef=self._epochs.graphdef,
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
        self._idle = 0 if report.moved or not self.busy else self._idle + 1
        if self._idle > 2:
            raise RuntimeError(f"the engine has lost requests {self._queue.numbers}")
        return parts

    def sleep(self) -> None:
        """Frees the device's memory until there is work again.

        Raises:
          RuntimeError: If there is work.
        """
        if self.busy:
            raise RuntimeError(f"requests {self._queue.numbers} are under way")
        self._read_off = {name: 0 for name in self._done}
        self._kept = None
        self._epochs.forget()
        self._queue.forget_cancelled()

    def drafts(self, numbers: Sequence[int]) -> list[Part]:
        """Returns what running completions of some requests have got so far."""
        if self._kept is None or not self.sizes.rows:
            return []
        rows = jax.device_get(shards.read(self._kept.rows))
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
        running = np.flatnonzero(rows.busy & (rows.ended == 0))
        parts = []
        for i in running.tolist():
            line = self._queue.line(int(rows.request[i]))
            if line is None or line.number not in numbers:
                continue
            sample = line.samples[int(rows.sample[i])]
            if self._queue.due(line.number, sample):
                draft = self._completion(rows, i, int(rows.count[i]))
                parts.append(Part(request=line.number, sample=sample, completion=draft))
        return parts

    def waits(self, number: int) -> bool:
        """Says whether the device has not been handed any of a request yet."""
        return self._queue.waits(number)

    def statistics(self) -> dict[str, int]:
        """Returns what has been done so far; see `state.Counts`."""
        return dict(self._done)

    def held(self) -> np.ndarray:
        """Returns how many sequences hold each page, int32 [shards, pages]."""
        if self._kept is None:
            return np.zeros((shards.count(), self.sizes.pages), np.int32)
        return jax.device_get(shards.read(self._kept.table.users))

    @property
    def _state(self) -> states.State:
        if self._kept is None:
            self._kept = self._empty()
        return self._kept

    def _feed(self) -> None:
        """Hands over what waits, as much as the device has room for."""
        if not self._queue.news:
            return
        stage = jax.device_get(shards.read(self._state.prompts.stage))
        free = [np.flatnonzero(one == states.NONE).tolist() for one in stage]
        more = True
        while more:
            prompts = shards.no_prompts(self._state, _FEED)
            at, more_lines = self._queue.take(free, prompts)
            gone, more_gone = self._queue.take_cancelled(_FEED)
            self._kept = shards.feed(self._state, at, prompts, gone)
            more = more_lines or more_gone

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
        line = self._queue.line(int(host.request[i]))
        if line is None:
            return None  # cancelled
        number = line.number
        if host.ended[i] == states.SCORED:
            return self._part(number, None, scores=wire.scores(host, i, line.request))
        sample = line.samples[int(host.sample[i])]
        if not self._queue.due(number, sample):
            return None
        if host.ended[i] == states.PREEMPTED:
            self._queue.again(number, sample)
            return None
        completion = self._completion(host, i, int(host.length[i]))
        return self._part(number, sample, completion=completion)

    def _completion(
        self, host: states.Done | states.Rows, i: int, n: int
    ) -> Completion:
        return wire.completion(host, i, n, versions=self._epochs.versions)

    def _part(self, number: int, sample: int | None, **what: Any) -> Part:
        last = self._queue.done(number, sample)
        return Part(request=number, sample=sample, last=last, **what)
