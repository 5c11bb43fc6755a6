"""The requests that an engine has not finished, and what of them waits on the host."""

from collections.abc import Sequence
import dataclasses
import heapq

import jax
import numpy as np

from datachef_jax.sampling import wire
from datachef_jax.sampling.grammar import Grammar
from datachef_jax.sampling.grammar import Grammars
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.state import Prompts
from datachef_jax.sampling.state import Sizes


@dataclasses.dataclass(kw_only=True)
class _Asked:
    """A request that is not done.

    Attributes:
      request: The request.
      grammar: Its grammar's slot; None while that is still to come.
      lines: Names of its lines, those of earlier ones included.
      due: Completions that have not come out yet, and None for scores.
    """

    request: Request
    grammar: int | None
    lines: list[int]
    due: set[int | None]


class Queue:
    """Splits requests into lines, which the device gets in order as it has room.

    Attributes:
      grammars: Those of the requests.
    """

    def __init__(self, sizes: Sizes, vocab_size: int, *, share_prefixes: bool):
        """Begins without requests.

        Args:
          sizes: Of the engine.
          vocab_size: Of its model.
          share_prefixes: Whether requests find pages of others that begin like them.
        """
        self.grammars = Grammars(
            slots=sizes.grammars,
            states=sizes.grammar_states,
            classes=sizes.grammar_classes,
            vocab_size=vocab_size,
        )
        self._sizes = sizes
        self._share_prefixes = share_prefixes
        self._asked: dict[int, _Asked] = {}
        self._held: list[tuple[int, int]] = []  # heap of (order, number)
        self._lines: dict[int, wire.Line] = {}  # by the name that the device knows
        self._waiting: list[tuple[int, int]] = []  # heap of (order, name)
        self._shards: dict[int, int] = {}  # of lines that have been handed over
        self._cancelled: list[tuple[int, int]] = []  # names, places of samples
        self._requests = 0
        self._names = 0

    @property
    def busy(self) -> bool:
        """Says whether there are requests that are not done."""
        return bool(self._asked)

    @property
    def numbers(self) -> list[int]:
        """Returns the requests that are not done."""
        return sorted(self._asked)

    @property
    def news(self) -> bool:
        """Says whether there is something that the device does not know yet."""
        return bool(self._waiting or self._cancelled)

    def add(self, request: Request) -> int:
        """Takes a request, which `wire.check` has found good; returns its number.

        Raises:
          ValueError: If its grammar does not fit into a slot.
        """
        grammar = _grammar(request)
        if grammar is not None:
            self.grammars.check(grammar)
        number, self._requests = self._requests, self._requests + 1
        samples = tuple(range(len(request.seeds)))
        asked = _Asked(request=request, grammar=None, lines=[], due=set(samples))
        if request.scored:
            asked.due.add(None)
        self._asked[number] = asked
        if grammar is None:
            self._split(number)
        else:
            heapq.heappush(self._held, (_order(request, number), number))
            self._split_held()
        return number

    def again(self, number: int, sample: int) -> None:
        """Lets a completion, which has lost its pages, begin anew."""
        self._wait(number, (sample,), False)

    def cancel(self, number: int, sample: int | None) -> None:
        """Forgets a request, or one of its completions, unless it is done."""
        asked = self._asked.get(number)
        if asked is None or (sample is not None and sample not in asked.due):
            return  # done before anybody could know
        for name in set(asked.lines) & self._shards.keys():
            samples = self._lines[name].samples
            if sample is None:
                self._cancelled.append((name, -1))
            elif sample in samples:
                self._cancelled.append((name, samples.index(sample)))
        asked.due -= {sample} if sample is not None else set(asked.due)
        if not asked.due:
            self._forget(number)

    def done(self, number: int, sample: int | None) -> bool:
        """Notes what has come out, None for scores; says whether that was the last."""
        due = self._asked[number].due
        due.remove(sample)
        if not due:
            self._forget(number)
        return not due

    def due(self, number: int, sample: int | None) -> bool:
        """Says whether somebody still wants this."""
        return number in self._asked and sample in self._asked[number].due

    def line(self, name: int) -> wire.Line | None:
        """Returns the line that the device calls so, if its request is not done."""
        return self._lines.get(name)

    def waits(self, number: int) -> bool:
        """Says whether the device has not been handed any of a request yet."""
        asked = self._asked.get(number)
        return asked is not None and not self._shards.keys() & set(asked.lines)

    def take(
        self, free: Sequence[list[int]], prompts: Prompts
    ) -> tuple[np.ndarray, bool]:
        """Writes up lines that wait, of each shard as many as it has room for.

        Each goes where least is to do.

        Args:
          free: Places of each shard for prompts; those that are taken go.
          prompts: Empty lines of each shard, of NumPy, which are filled.

        Returns:
          The place of each line, int32 [shards, lines]; whether there may be more.
        """
        count, most = prompts.stage.shape
        at = np.full((count, most), self._sizes.prompts, np.int32)
        filled = [0] * count
        load = np.bincount(list(self._shards.values()), minlength=count)
        while self._waiting:
            open_to = [i for i in range(count) if free[i] and filled[i] < most]
            if not open_to:
                return at, any(free)
            name = heapq.heappop(self._waiting)[1]
            line = self._lines.get(name)
            if line is None:
                continue  # cancelled meanwhile
            shard = min(open_to, key=lambda i: load[i])
            i, filled[shard] = filled[shard], filled[shard] + 1
            at[shard, i] = free[shard].pop(0)
            due = self._asked[line.number].due
            own = jax.tree.map(lambda x: x[shard], prompts)
            wire.fill(own, i, name, line, unwanted=set(line.samples) - due)
            self._shards[name] = shard
            load[shard] += 1
        return at, False

    def take_cancelled(self, most: int) -> tuple[np.ndarray, bool]:
        """Says what the device need not do any more.

        Returns:
          A line's name, and the place of a completion in it or -1 for all of it; int32
          [most, 2], -1 for none. Whether there is more.
        """
        some, self._cancelled = self._cancelled[:most], self._cancelled[most:]
        gone = np.full((most, 2), -1, np.int32)
        gone[: len(some)] = np.reshape(some, (-1, 2))
        return gone, bool(self._cancelled)

    def forget_cancelled(self) -> None:
        """Tells the device nothing of what was cancelled: it has lost everything."""
        self._cancelled = []

    def _split_held(self) -> None:
        """Lets requests with grammars wait for the device, in order, as slots allow.

        None overtakes another: whose grammar is in use could do so forever.
        """
        while self._held:
            number = self._held[0][1]
            asked = self._asked.get(number)
            if asked is not None:  # not cancelled meanwhile
                if not self.grammars.has_room(_grammar(asked.request)):
                    return
                self._split(number)
            heapq.heappop(self._held)

    def _split(self, number: int) -> None:
        """Makes lines of a request."""
        asked = self._asked[number]
        asked.grammar = self.grammars.acquire(_grammar(asked.request))
        count, group = len(asked.request.seeds), self._sizes.group
        for first in range(0, max(count, 1), group):
            some = tuple(range(first, min(first + group, count)))
            self._wait(number, some, asked.request.scored and first == 0)

    def _wait(self, number: int, samples: tuple[int, ...], scores: bool) -> None:
        asked = self._asked[number]
        salt = b"" if self._share_prefixes else str(number).encode()
        prompt, size = asked.request.prompt, self._sizes.page_size
        line = wire.Line(
            number=number,
            request=asked.request,
            hashes=wire.hashes(prompt, size, salt=salt),
            grammar=asked.grammar,
            samples=samples,
            scores=scores,
            order=_order(asked.request, number),
        )
        name, self._names = self._names, self._names + 1
        self._lines[name] = line
        asked.lines.append(name)
        heapq.heappush(self._waiting, (line.order, name))

    def _forget(self, number: int) -> None:
        asked = self._asked.pop(number)
        for name in asked.lines:
            del self._lines[name]
            self._shards.pop(name, None)
        if asked.grammar is not None:
            self.grammars.release(asked.grammar)
            self._split_held()


def _order(request: Request, number: int) -> int:
    return request.priority * wire.ORDERS + number % wire.ORDERS


def _grammar(request: Request) -> Grammar | None:
    return None if request.sampling is None else request.sampling.grammar
