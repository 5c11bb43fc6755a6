"""One engine, and the requests that are under way in it; for the scheduler's thread."""

from collections.abc import Iterator
import dataclasses
import math
import time

from flax import nnx
from datachef_jax.sampling.engine import Engine
from datachef_jax.sampling.request import Part
from datachef_jax.serving.figures import Figures
from datachef_jax.serving.reader import Pieces
from datachef_jax.serving.running import Running
from datachef_jax.serving.ticket import Cancelled
from datachef_jax.serving.ticket import DeadlinePassed
from datachef_jax.serving.ticket import Ticket
from datachef_jax.types import Completion

_NO_LIMIT = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slices:
    """How long an engine works before others have their turn.

    Attributes:
      rounds: Tokens of each running completion.
      drafted_rounds: The same where drafts or stop strings are to be looked at.
    """

    rounds: int
    drafted_rounds: int


class Lane:
    """Feeds an engine and hands on what comes out.

    Attributes:
      name: Of the model.
      params: Its weights.
      version: Of the weights.
      failure: Why the engine cannot be used any more, or None.
      last_turn: When it worked last, or got work after it had none; in seconds on the
        monotonic clock.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        params: nnx.State,
        *,
        version: int,
        pieces: Pieces,
        slices: Slices,
    ):
        """Begins without requests.

        Args:
          name: Of the model.
          engine: Used by nobody else from now on.
          params: Its weights.
          version: Of the weights.
          pieces: Of its tokenizer, for stop strings; empty where there are none.
          slices: How long it works at a time.
        """
        self.name = name
        self.params = params
        self.version = version
        self.failure: Exception | None = None
        self.last_turn = 0.0
        self._engine = engine
        self._pieces = pieces
        self._slices = slices
        self._runs: dict[int, Running] = {}
        self._littered = False  # something was cancelled since the last turn
        self._figures = Figures()

    @property
    def busy(self) -> bool:
        """Says whether anything is to be done."""
        return bool(self._runs or self._littered)

    def urgency(self) -> tuple[float, float]:
        """Returns the smallest priority, and when its oldest request came."""
        tickets = ((float(t.request.priority), t.submitted) for t in self._tickets())
        return min(tickets, default=(math.inf, 0.0))

    def expiry(self) -> float | None:
        """Returns when the first deadline passes, on the monotonic clock."""
        times = [t.expires for t in self._tickets() if t.expires is not None]
        return min(times, default=None)

    def take(self, ticket: Ticket) -> None:
        """Hands a request to the engine; one that it refuses fails."""
        if self.failure is not None:
            self._figures.ended["failed"] += 1
            ticket.fail(self.failure)
            return
        try:
            number = self._engine.submit(ticket.request)
        except ValueError as error:  # it can never be served
            self._figures.ended["failed"] += 1
            ticket.fail(error)
            return
        self._runs[number] = Running(ticket, self._pieces)

    def give_up(self, ticket: Ticket, error: Exception, why: str) -> None:
        """Ends a request early, if it has not ended; `why` is what it counts as."""
        if ticket.done:
            return
        self._drop(self._number(ticket))
        self._figures.ended[why] += 1
        ticket.fail(error)

    def cancel(self, ticket: Ticket) -> None:
        """Ends a request that nobody wants any more."""
        self.give_up(ticket, Cancelled("the request was cancelled"), "cancelled")

    def fail(self, error: Exception) -> None:
        """Ends all requests, now and in future, after the engine has failed."""
        self.failure = error
        tickets = list(self._tickets())
        self._runs.clear()
        self._littered = False
        self._figures.ended["failed"] += len(tickets)
        for ticket in tickets:
            ticket.fail(error)

    def turn(self) -> None:
        """Works for a slice, and hands out what it gave."""
        self.expire()
        if self._littered and not self._runs:
            # Pages of what was cancelled come free.
            self._engine.step(self.params, version=self.version)
        self._littered = False
        if not self._runs:
            return
        watched = [number for number, run in self._runs.items() if run.watched]
        rounds = self._slices.drafted_rounds if watched else self._slices.rounds
        # A completion leaves at once. Prompts that are only scored are done many at a
        # time, every few milliseconds: handing each out would cost more than it.
        writes = any(run.ticket.request.seeds for run in self._runs.values())
        parts = self._engine.step(
            self.params,
            version=self.version,
            most_rounds=rounds,
            enough=1 if writes else _NO_LIMIT,
        )
        self._note_begun()
        for part in parts:
            self._deliver(part)
        watched = [number for number in watched if number in self._runs]
        if watched:
            for part in self._engine.drafts(watched):
                self._deliver_draft(part)
        self.expire()

    def expire(self) -> None:
        """Ends the requests whose time is over, with what they have got."""
        now = time.monotonic()
        late = [
            t for t in self._tickets() if t.expires is not None and t.expires <= now
        ]
        for ticket in late:
            partial = self._partial(ticket)
            seconds = ticket.expires - ticket.submitted
            error = DeadlinePassed(f"not done after {seconds:g} s", partial)
            self.give_up(ticket, error, "expired")

    def sleep(self) -> None:
        """Lets the engine sleep, unless it has work."""
        if self.failure is None and not self._runs:
            self._engine.sleep()
            self._littered = False

    def figures(self) -> dict[str, float | int]:
        """Returns what has been done so far, and how things stand; see `Figures`."""
        waiting = sum(run.waits for run in self._runs.values())
        return self._figures.report(
            self._engine,
            waiting=waiting,
            running=len(self._runs) - waiting,
            version=self.version,
        )

    def _tickets(self) -> Iterator[Ticket]:
        return (run.ticket for run in self._runs.values())

    def _number(self, ticket: Ticket) -> int:
        return next(n for n, run in self._runs.items() if run.ticket is ticket)

    def _note_begun(self) -> None:
        now = time.monotonic()
        for number, run in self._runs.items():
            if run.waits and not self._engine.waits(number):
                run.waits = False
                self._figures.begun(now - run.ticket.submitted)

    def _deliver(self, part: Part) -> None:
        run = self._runs.get(part.request)
        if run is None or part.sample not in run.due:
            return  # its listener failed, or it met a stop string, meanwhile
        self._hand_over(run, run.cut(part)[0])

    def _deliver_draft(self, part: Part) -> None:
        run = self._runs.get(part.request)
        if run is None or part.sample not in run.due:
            return
        part, stopped = run.cut(part)
        if stopped:
            self._engine.cancel(part.request, part.sample)
            self._littered = True
            self._hand_over(run, part)
        elif run.ticket.drafts:
            self._guarded(run, part)

    def _hand_over(self, run: Running, part: Part) -> None:
        """Hands out what has ended."""
        run.due.remove(part.sample)
        if not run.due:
            del self._runs[part.request]
            self._figures.ended["done"] += 1
        self._guarded(run, dataclasses.replace(part, last=not run.due))

    def _guarded(self, run: Running, part: Part) -> None:
        """Tells the ticket; what its listener raises is the end of it alone."""
        try:
            run.ticket.deliver(part)
        except Exception as error:  # the caller's code, which may raise anything
            if run.due:
                self._drop(part.request)
            run.ticket.fail(error)

    def _drop(self, number: int) -> None:
        del self._runs[number]
        self._engine.cancel(number)
        self._littered = True

    def _partial(self, ticket: Ticket) -> tuple[Completion | None, ...]:
        """Returns what the completions of a request have got so far."""
        partial = list(ticket.completions)
        for draft in self._engine.drafts([self._number(ticket)]):
            partial[draft.sample] = draft.completion
        return tuple(partial)
