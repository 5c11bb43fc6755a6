"""The sandbox: runs the scripts of recipes, isolated, and says how each one ended.

Every script runs in its own process, forked from a warm one that holds no secrets,
without network, environment, other processes or files but its sources (read-only) and
its own directory. How it ended is judged from outside: a script can fake a failure,
never a success. What is not covered stands in `sandbox.guard`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent import futures
import dataclasses
import os
import pathlib
import sys
import tempfile
import threading
from typing import Any, Self

from sandbox import canary
from sandbox import channel
from sandbox import isolation
from sandbox import layout as layouts
from sandbox import packages
from sandbox import users
from sandbox.job import Job
from sandbox.job import Limits
from sandbox.job import Messages
from sandbox.job import Result
from sandbox.layout import GUARANTEES
from sandbox.pair import Pair

_ATTEMPTS = 2  # of a recipe whose supervisor dies

Reply = tuple[str, int]
"""What a language model answers, and of how many tokens that is."""


@dataclasses.dataclass
class _Asked:
    """A job that has not ended; `pair` is where it runs, None while it waits."""

    job: Job
    future: futures.Future
    attempts: int = 0
    pair: Pair | None = None


def _ignore(done: int) -> None:
    """Reports progress to nobody."""


class Sandbox:
    """Runs recipes; a context manager, within which its processes live.

    Attributes:
      layout: In which it has started, None before.
      isolation: For the record, once it has started: the `layout`, which guarantees
        are `lost`, and why better layouts are not to be had.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        workers: int,
        workers_per_supervisor: int,
        scratch: pathlib.Path | None,
        importable: Sequence[str],
        outer: str,
        require: Sequence[str],
        answer: Callable[[list[Messages]], Sequence[Reply]],
    ) -> None:
        """Starts nothing yet.

        Args:
          limits: What one script may use.
          workers: How many scripts run at once.
          workers_per_supervisor: How many of them one supervisor and its zygote have.
          scratch: Where they get directories to write to; None for the system's place
            for temporary files.
          importable: Installed distributions that scripts may import.
          outer: Which of `layout.OUTER` stands around this process, "" for none.
          require: Those of `layout.GUARANTEES` without which it does not start.
          answer: Answers the scripts' chats with a language model; called in many
            threads at once.

        Raises:
          ValueError: If there is no such guarantee, distribution, outer sandbox or
            directory, or too many scripts are to share a supervisor.
        """
        if workers_per_supervisor > users.MOST:
            raise ValueError(
                f"workers_per_supervisor is {workers_per_supervisor}, at most "
                f"{users.MOST} scripts have user ids of their own"
            )
        for name in require:
            if name not in GUARANTEES:
                raise ValueError(f"{name!r} is none of {sorted(GUARANTEES)}")
        if outer and outer not in layouts.OUTER:
            raise ValueError(f"outer: {outer!r} is none of {sorted(layouts.OUTER)}")
        self._workers, self._share = workers, workers_per_supervisor
        self._limits, self._outer, self._require = limits, outer, require
        scratch = scratch or pathlib.Path(tempfile.gettempdir())
        if not scratch.is_dir() or not os.access(scratch, os.W_OK):
            raise ValueError(f"scratch: {scratch} is no directory to write to")
        self._common = {
            "limits": dataclasses.asdict(limits),
            "scratch": str(scratch.resolve()),
            "readable": packages.readable(importable),
            "startable": packages.startable(importable),
        }
        self._answer = answer
        self._candidates: list[layouts.Layout] = []
        self._settings: dict[str, Any] = {}
        self.layout: layouts.Layout | None = None
        self.isolation: dict[str, Any] = {}
        self._free: dict[Pair, int] = {}  # -> how many more scripts it may run
        self._answering: futures.ThreadPoolExecutor | None = None
        self._lock = threading.RLock()
        self._asked: dict[int, _Asked] = {}
        self._queue: deque[int] = deque()
        self._count = 0
        self._closing = False

    def __enter__(self) -> Self:
        """Starts, and proves that forbidden things are impossible.

        Raises:
          CannotStart: If they are not, or if something is missing, naming it.
        """
        if sys.platform != "linux":
            raise isolation.CannotStart(
                f"the sandbox needs Linux, this is {sys.platform}"
            )
        self._answering = futures.ThreadPoolExecutor(self._workers, "llm")
        try:
            found = isolation.settle(
                self._candidates or layouts.candidates(self._outer),
                self._common["readable"],
                self._open,
            )
            self.layout, self.isolation = found.layout, found.record()
            found.require(self._require)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop()
        self._answering.shutdown(cancel_futures=True)

    def only(self, layout: layouts.Layout) -> Self:
        """Has it start in this layout or not at all, for measurements. Returns it.

        Where the layout is without something, nothing is proved.
        """
        self._candidates = [layout]
        return self

    def _open(self, layout: layouts.Layout) -> Sequence[str]:
        """Starts in a layout. Returns which guarantees that does not hold.

        Raises:
          RuntimeError: If it cannot be had, or does not hold.
        """
        self._settings = self._common | {"layout": dataclasses.asdict(layout)}
        try:
            lost = self._start_all()
            if not layout.without:
                self._prove(lost)
        except RuntimeError:
            self._stop()
            raise
        return lost

    def _start_all(self) -> Sequence[str]:
        """Starts all supervisors. Returns which guarantees they do not hold."""
        self._closing = False
        left = self._workers
        while left > 0:
            lost = self._start(min(left, self._share))
            left -= self._share
        return lost

    def _stop(self) -> None:
        self._closing = True
        for pair in list(self._free):
            pair.stop()
        self._free.clear()
        with self._lock:
            self._fail(list(self._asked), RuntimeError("the sandbox was stopped"))

    @property
    def supervisors(self) -> list[int]:
        """The process ids of its supervisors."""
        return [pair.pid for pair in self._free]

    def run(
        self, jobs: Sequence[Job], progress: Callable[[int], None] = _ignore
    ) -> list[Result]:
        """Runs recipes and returns their results in the order of the jobs.

        Args:
          jobs: The recipes.
          progress: Called with 1 for each recipe that has ended.

        Raises:
          RuntimeError: If a supervisor died and cannot be started again.
          Exception: What `answer` raised: the other recipes are ended then.
        """
        with self._lock:  # none ends before it is waited for
            numbers = [self._submit(job) for job in jobs]
            waited = {number: self._asked[number].future for number in numbers}
        try:
            for future in futures.as_completed(waited.values()):
                future.result()
                progress(1)
        except BaseException:
            for number in numbers:
                self._cancel(number)
            raise
        return [future.result() for future in waited.values()]

    def _submit(self, job: Job) -> int:
        with self._lock:
            self._count += 1
            self._asked[self._count] = _Asked(job=job, future=futures.Future())
            self._queue.append(self._count)
            self._dispatch()
            return self._count

    def _dispatch(self) -> None:
        """Hands waiting jobs to supervisors that have a place; the lock is held."""
        while self._queue and any(self._free.values()):
            pair = max(self._free, key=self._free.get)
            self._free[pair] -= 1
            number = self._queue.popleft()
            asked = self._asked[number]
            asked.pair = pair
            pair.send({"run": number, "job": asked.job.to_json()})

    def _cancel(self, number: int) -> None:
        with self._lock:
            asked = self._asked.get(number)
            if asked is None:
                return
            if asked.pair is not None:  # its place is free when it has ended
                asked.pair.send({"cancel": number})
            else:
                self._queue.remove(number)
                del self._asked[number]

    # Supervisors.

    def _start(self, workers: int) -> Sequence[str]:
        """Starts a supervisor. Returns which guarantees it does not hold."""
        # What it says first may come before it has a name here.
        named: list[Pair] = []
        pair = Pair(
            self._settings | {"workers": workers},
            heard=lambda frame: self._hear(named[0], frame),
            died=lambda words: self._replace(named[0], words),
        )
        named.append(pair)
        with self._lock:
            self._free[pair] = workers
            self._dispatch()
        return pair.lost

    def _hear(self, pair: Pair, frame: channel.Frame) -> None:
        if "ask" in frame:
            self._answering.submit(self._reply, pair, frame)
            return
        with self._lock:
            asked = self._asked.pop(frame["ended"], None)
            if pair in self._free:
                self._free[pair] += 1
            self._dispatch()
        if asked is not None and not asked.future.done():
            asked.future.set_result(Result.from_json(frame["result"]))

    def _reply(self, pair: Pair, frame: channel.Frame) -> None:
        """Asks the language model what a script has asked."""
        try:
            replies = self._answer(frame["ask"])
            if len(replies) != len(frame["ask"]):
                raise ValueError(f"{len(replies)} answers to {len(frame['ask'])}")
        except BaseException as error:  # raised again where the recipe is waited for
            with self._lock:
                asked = self._asked.get(frame["of"])
                if asked is not None and not asked.future.done():
                    asked.future.set_exception(error)
                self._cancel(frame["of"])
            return
        pair.send(
            {
                "answers": [text for text, _ in replies],
                "tokens": sum(tokens for _, tokens in replies),
                "of": frame["of"],
                "question": frame["question"],
            }
        )

    def _replace(self, pair: Pair, words: str) -> None:
        """Starts a new supervisor for one that died; its recipes run again, once."""
        with self._lock:
            known = self._free.pop(pair, None) is not None
            lost = [n for n, asked in self._asked.items() if asked.pair is pair]
            if self._closing or not known:
                return
            for number in lost:
                asked = self._asked[number]
                asked.pair, asked.attempts = None, asked.attempts + 1
                if asked.attempts < _ATTEMPTS and not asked.future.done():
                    self._queue.appendleft(number)
                else:
                    del self._asked[number]
                    if not asked.future.done():
                        log = f"its supervisor died: {words}"
                        asked.future.set_result(Result(kind="sandbox_error", log=log))
        pair.stop()
        try:
            self._start(pair.workers)
        except RuntimeError as error:
            with self._lock:
                self._fail(list(self._asked), error)

    def _fail(self, numbers: Sequence[int], error: Exception) -> None:
        for number in numbers:
            asked = self._asked.pop(number)
            if not asked.future.done():
                asked.future.set_exception(error)
        self._queue.clear()

    def _prove(self, lost: Sequence[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            secret = pathlib.Path(folder) / "secret"
            secret.write_text("secret")
            job = Job(
                processing=canary.script(secret, self._limits, lost),
                verification="",
                sources=(),
                row_cap=0,
                seed=0,
            )
            for result in self.run([job] * len(self._free)):
                canary.check(result.kind, result.log)
            if secret.read_text() != "secret":
                raise RuntimeError("the sandbox does not hold here: files are writable")
