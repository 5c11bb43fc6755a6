"""A request that was handed in, and how it can end."""

from collections.abc import Callable
from concurrent import futures
import contextlib
import dataclasses
import time

from datachef_jax.sampling.request import Part
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Scores
from datachef_jax.types import Completion

Event = Part | Exception
"""What is heard of a request: its parts up to one that is the last, or why it failed.
The completion of a part that has not ended yet has `sampling.wire.RUNNING` there."""


class QueueFull(RuntimeError):
    """So many requests are waiting that another one is refused."""


class Cancelled(RuntimeError):
    """Somebody no longer wanted the request."""


class Closed(RuntimeError):
    """The scheduler works no longer."""


class DeadlinePassed(TimeoutError):
    """The request's time was over.

    Attributes:
      partial: What each of its completions had got; None of those not begun.
    """

    def __init__(self, message: str, partial: tuple[Completion | None, ...]):
        """Keeps what there is."""
        super().__init__(message)
        self.partial = partial


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """All that a request asked for.

    Attributes:
      completions: In the order of its seeds.
      scores: If it asked for any.
    """

    completions: tuple[Completion, ...]
    scores: Scores | None


class Ticket:
    """A request under way; any thread may ask for its result or cancel it.

    Attributes:
      request: The request.
      stop_strings: Each ends a completion where its text first contains it.
      drafts: Whether unfinished completions are to be told, too.
      submitted: When it was handed in, on the monotonic clock in seconds.
      expires: When it is given up, on the same clock; None for never.
    """

    def __init__(
        self,
        request: Request,
        *,
        stop_strings: tuple[str, ...],
        drafts: bool,
        seconds: float | None,
        listen: Callable[[Event], None],
        cancel: Callable[["Ticket"], None],
    ):
        """Starts its clock.

        Args:
          request: The request.
          stop_strings: See above.
          drafts: See above.
          seconds: That it may take.
          listen: Told of every event, in the scheduler's thread: it must be quick.
          cancel: Makes the scheduler forget it.
        """
        self.request = request
        self.stop_strings = stop_strings
        self.drafts = drafts
        self.submitted = time.monotonic()
        self.expires = None if seconds is None else self.submitted + seconds
        self._listen = listen
        self._cancel = cancel
        self._future: futures.Future[Answer] = futures.Future()
        self._completions: list[Completion | None] = [None] * len(request.seeds)
        self._scores: Scores | None = None

    @property
    def done(self) -> bool:
        """Says whether all is there, or nothing more will come."""
        return self._future.done()

    @property
    def completions(self) -> tuple[Completion | None, ...]:
        """What has come so far."""
        return tuple(self._completions)

    def result(self, timeout: float | None = None) -> Answer:
        """Waits for the answer.

        Args:
          timeout: Seconds to wait at most; the request itself goes on after them.

        Raises:
          Exception: Whatever the request failed with.
          TimeoutError: If it takes longer.
        """
        return self._future.result(timeout)

    def when_done(self, call: Callable[[], None]) -> None:
        """Lets something be called once, when it ends in whatever way."""
        self._future.add_done_callback(lambda _: call())

    def cancel(self) -> None:
        """Gives it up: it ends with `Cancelled`, unless it has ended before."""
        self._cancel(self)

    def deliver(self, part: Part) -> None:
        """Takes a part; for the scheduler."""
        if part.scores is not None:
            self._scores = part.scores
        else:
            self._completions[part.sample] = part.completion
        self._listen(part)
        if part.last:
            answer = Answer(completions=self.completions, scores=self._scores)
            self._future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Ends it with an error; for the scheduler."""
        self._future.set_exception(error)
        with contextlib.suppress(Exception):  # who listened may be gone: their loss
            self._listen(error)
