"""Runs programs in children of the zygote and watches them from outside.

One thread holds every descriptor and clock. It never waits for a child: one that
floods or stalls its streams harms only itself. The language model calls of all
children are gathered into batches, which the thread that called `run` answers.
"""

from collections.abc import Callable, Sequence
import contextlib
import os
import pathlib
import queue
import selectors
import socket
import threading
import time

from sandbox import directories
from sandbox import launch
from sandbox.program import Child
from sandbox.program import Ending
from sandbox.program import Messages
from sandbox.program import Program

Answer = Callable[[list[Messages]], list[str]]

_WATCH_SECONDS = 0.1  # between looks at threads and disk space
_GATHER_SECONDS = 0.02  # that a question waits for those of others


class Supervisor:
    """Runs programs, `workers` at a time, until none is left.

    Args:
      zygote: Forks the children; replaced by a new one if it dies.
      programs: What to run first.
      workers: How many run at once.
      ended: Called in the supervising thread with each program's position and ending;
        returns the program to run next in its place, or None.
    """

    def __init__(
        self,
        zygote: launch.Zygote,
        programs: Sequence[Program],
        *,
        workers: int,
        ended: Callable[[int, Ending], Program | None],
    ) -> None:
        self.zygote = zygote
        self._waiting = list(enumerate(programs))[::-1]
        self._workers, self._ended = workers, ended
        self._children: dict[int, Child] = {}
        self._positions: dict[int, int] = {}
        self._forks = 0
        self._selector = selectors.DefaultSelector()
        self._to_caller: queue.SimpleQueue = queue.SimpleQueue()
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._batch: list[tuple[int, int]] = []  # child, how many of its questions
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = False
        self._watched_at = 0.0

    def run(self, answer: Answer, progress: Callable[[int], None]) -> None:
        """Runs everything; answers and reports progress in the calling thread.

        Raises:
          RuntimeError: If the zygote died and cannot be started again.
          ValueError: If `answer` does not give one answer to each question.
        """
        thread = threading.Thread(target=self._supervise, name="sandbox")
        thread.start()
        try:
            while True:
                kind, content = self._to_caller.get()
                if kind == "ended":
                    progress(1)
                elif kind == "ask":
                    answers = answer(content)
                    if len(answers) != len(content):
                        raise ValueError(f"{len(answers)} answers to {len(content)}")
                    self._answers.put(answers)
                    os.eventfd_write(self._wakeup, 1)
                elif kind == "done":
                    return
                else:
                    raise content
        finally:
            self._stopping = True
            os.eventfd_write(self._wakeup, 1)
            thread.join()
            os.close(self._wakeup)

    def _supervise(self) -> None:
        try:
            self._selector.register(
                self._wakeup, selectors.EVENT_READ, (0, self._pass_answers)
            )
            self._listen_to_zygote()
            while (self._waiting or self._children) and not self._stopping:
                self._turn()
            self._to_caller.put(("done", None))
        except BaseException as error:  # raised again in the caller's thread
            self._to_caller.put(("error", error))
        finally:
            if self._children:  # stopped on the way: they end with their zygote
                self.zygote.stop()
            for child in self._children.values():
                os.close(child.log)
                child.stream.close()
            self._selector.close()

    def _turn(self) -> None:
        """Does what there is to do, then waits until there is more."""
        while self._waiting and len(self._children) < self._workers:
            self._fork(*self._waiting.pop())
        for key, _ in self._selector.select(self._patience()):
            number, handle = key.data
            if number == 0 or number in self._children:
                handle()
        now = time.monotonic()
        for number, child in list(self._children.items()):
            deadline = child.deadline()
            if deadline is not None and now >= deadline:
                self._kill(number, "timeout")
        if now >= self._watched_at + _WATCH_SECONDS:
            self._watch()
            self._watched_at = now
        self._hand_over(now)

    def _patience(self) -> float:
        """Returns the seconds until the next clock rings."""
        now = time.monotonic()
        rings = [now + _WATCH_SECONDS]
        for child in self._children.values():
            if (deadline := child.deadline()) is not None:
                rings.append(deadline)
            if child.asked_at is not None and not self._batch:
                rings.append(child.asked_at + _GATHER_SECONDS)
        return max(0.0, min(rings) - now)

    # The zygote and its children.

    def _listen_to_zygote(self) -> None:
        self._selector.register(
            self.zygote.control, selectors.EVENT_READ, (0, self._hear_zygote)
        )

    def _fork(self, position: int, program: Program) -> None:
        self._forks += 1
        number = self._forks
        log, their_log = os.pipe()
        stream, their_stream = socket.socketpair()
        child = Child(program, log, stream)
        self._children[number], self._positions[number] = child, position
        os.set_blocking(log, False)
        stream.setblocking(False)
        self._selector.register(
            log, selectors.EVENT_READ, (number, lambda: self._read_log(child))
        )
        self._selector.register(
            stream, selectors.EVENT_READ, (number, lambda: self._exchange(child))
        )
        with their_stream, contextlib.suppress(ConnectionError):  # it tells if it died
            self.zygote.fork(number, program.job, their_log, their_stream.fileno())
        os.close(their_log)

    def _hear_zygote(self) -> None:
        try:
            messages = self.zygote.messages()
        except ConnectionError as error:
            self._replace_zygote(str(error))
            return
        for message in messages:
            if "forked" in message:
                child = self._children[message["forked"]]
                child.pid, child.started = message["pid"], message["time"]
            elif "failed" in message:
                ending = Ending(status=None, log=message["reason"])
                self._finish(message["failed"], ending)
            else:
                self._conclude(message["ended"], message)

    def _replace_zygote(self, reason: str) -> None:
        self._selector.unregister(self.zygote.control)
        self.zygote.stop()
        self.zygote = launch.Zygote()
        self._listen_to_zygote()
        for number in list(self._children):
            self._finish(number, Ending(status=None, log=reason))

    def _kill(self, number: int, reason: str) -> None:
        self._children[number].killed = reason
        with contextlib.suppress(ConnectionError):  # dead, and its children with it
            self.zygote.kill(number)

    def _conclude(self, number: int, message: dict) -> None:
        """Reads what a dead child left in its streams and passes on its ending."""
        child = self._children[number]
        while child.read_log():
            pass
        with contextlib.suppress(ValueError, ConnectionError):
            while child.read_stream(time.monotonic()):
                pass
        self._finish(number, child.ending(message))

    def _finish(self, number: int, ending: Ending) -> None:
        child = self._children.pop(number)
        self._forget(child.log)
        self._forget(child.stream)
        os.close(child.log)
        child.stream.close()
        position = self._positions.pop(number)
        following = self._ended(position, ending)
        if following is None:
            self._to_caller.put(("ended", None))
        else:
            self._waiting.append((position, following))

    def _forget(self, stream: int | socket.socket) -> None:
        with contextlib.suppress(KeyError):  # was forgotten when the child closed it
            self._selector.unregister(stream)

    # Their streams.

    def _read_log(self, child: Child) -> None:
        if not child.read_log():
            self._forget(child.log)

    def _exchange(self, child: Child) -> None:
        """Reads and writes frames; who breaks the protocol is not listened to again."""
        try:
            child.read_stream(time.monotonic())
            self._send(child)
        except (ValueError, ConnectionError):
            self._hang_up(child)

    def _send(self, child: Child) -> None:
        more = not child.write_stream()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if more else 0)
        key = self._selector.get_key(child.stream)
        if events != key.events:
            self._selector.modify(child.stream, events, key.data)

    def _hang_up(self, child: Child) -> None:
        self._forget(child.stream)
        with contextlib.suppress(OSError):
            child.stream.shutdown(socket.SHUT_RDWR)

    # Questions.

    def _hand_over(self, now: float) -> None:
        """Passes the questions on, once all children wait or the first waits long."""
        asking = [
            (number, child)
            for number, child in sorted(self._children.items())
            if child.asked_at is not None
        ]
        if self._batch or not asking:
            return
        oldest = min(child.asked_at for _, child in asking)
        if len(asking) < len(self._children) and now < oldest + _GATHER_SECONDS:
            return
        self._batch = [(number, len(child.question)) for number, child in asking]
        chats = [chat for _, child in asking for chat in child.question]
        self._to_caller.put(("ask", chats))

    def _pass_answers(self) -> None:
        os.eventfd_read(self._wakeup)
        if self._stopping:
            return
        answers, batch = self._answers.get(), self._batch
        self._batch = []
        for number, count in batch:
            own, answers = answers[:count], answers[count:]
            if number in self._children:
                child = self._children[number]
                child.answer(own, time.monotonic())
                with contextlib.suppress(KeyError, ConnectionError):  # not listening
                    self._send(child)

    # Limits that the kernel does not know.

    def _watch(self) -> None:
        for number, child in self._children.items():
            if not child.pid or child.killed:
                continue
            if _threads(child.pid) > child.program.threads:
                self._kill(number, "forbidden")
            elif directories.exceeds(child.program.directory, child.program.disk_bytes):
                self._kill(number, "disk")


def _threads(pid: int) -> int:
    """Returns how many threads a process has, 0 if it has just ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(status.rpartition(")")[2].split()[17])
