"""The scripts that run: their processes, streams and clocks, watched from outside.

Nothing here ever waits for a child: one that floods or stalls its streams harms only
itself.
"""

from collections.abc import Callable, Sequence
import contextlib
import os
import pathlib
import selectors
import signal
import socket
import time
from typing import Any

from sandbox import directories
from sandbox import launch
from sandbox import slots
from sandbox.job import Limits
from sandbox.job import Messages
from sandbox.program import Child
from sandbox.program import Ending
from sandbox.program import Program

_WATCH_SECONDS = 0.1  # between looks at threads and disk space
_LAST_WORDS_SECONDS = 0.5  # for a script to say where it was when its time was over


class Children:
    """Runs programs in children of a zygote, each for an owner known by a number.

    Attributes:
      zygote: Which forks them; a new one where it has died.
      free: The slots that nobody has.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        limits: Limits,
        start: Callable[[], launch.Zygote],
        paths: Sequence[str],
        users: Sequence[int],
        *,
        ended: Callable[[int, Ending], None],
        asked: Callable[[int, int, list[Messages]], None],
    ) -> None:
        """Starts a zygote.

        Args:
          selector: Where descriptors are registered, with what handles them.
          limits: Of each script.
          start: Starts a zygote.
          paths: Of its slots; as many scripts run at once.
          users: Of the slots, if scripts have user ids of their own.
          ended: Told of an owner how its program has ended.
          asked: Told of an owner the number of a question, and the chats.

        Raises:
          RuntimeError: If it cannot run here, with what is missing.
        """
        self._selector, self._limits = selector, limits
        self._ended, self._asked = ended, asked
        self._children: dict[int, Child] = {}  # by fork
        self._owners: dict[int, int] = {}  # fork -> owner
        self._forks = 0
        self._watched_at = 0.0
        self._start_zygote, self.zygote = start, start()
        owners = users or [None] * len(paths)
        self._slots = [
            slots.Slot(number=number, path=path, fd=fd, user=user)
            for number, (path, fd, user) in enumerate(
                zip(paths, self.zygote.slots, owners, strict=True)
            )
        ]
        self.free = list(self._slots)
        self._listen_to_zygote()

    def look(self) -> None:
        """Ends what has had enough time, threads or disk."""
        now = time.monotonic()
        for fork, child in list(self._children.items()):
            deadline = child.deadline()
            if deadline is not None and now >= deadline:
                self._end_patience(fork, child, now)
            if child.dies_at is not None and now >= child.dies_at:
                self._kill(fork, child.killed)
        if now >= self._watched_at + _WATCH_SECONDS:
            self._watch()
            self._watched_at = now

    def _end_patience(self, fork: int, child: Child, now: float) -> None:
        if child.waits:
            child.give_up(now)
            self._flush(child)
        else:
            child.killed, child.dies_at = "timeout", now + _LAST_WORDS_SECONDS
            with contextlib.suppress(ConnectionError):  # dead, and its children with it
                self.zygote.kill(fork, signal.SIGXCPU)

    def patience(self) -> float | None:
        """Returns the seconds until the next clock rings, None if there is none."""
        if not self._children:
            return None
        now = time.monotonic()
        deadlines = [child.deadline() for child in self._children.values()]
        rings = [ring for ring in deadlines if ring is not None]
        return max(0.0, min([now + _WATCH_SECONDS, *rings]) - now)

    def answer(
        self, owner: int, question: int, answers: list[str], tokens: int
    ) -> None:
        """Gives a child the answers to its question, if it still waits for them."""
        for fork, child in self._children.items():
            waits = child.waits and child.asked == question
            if self._owners[fork] == owner and waits:
                child.answer(answers, tokens, time.monotonic())
                self._flush(child)

    def cancel(self, owner: int) -> None:
        """Ends a program; how it ended is told all the same."""
        for fork, other in self._owners.items():
            if other == owner:
                self._kill(fork, "timeout")

    def _listen_to_zygote(self) -> None:
        self._selector.register(
            self.zygote.control, selectors.EVENT_READ, self._hear_zygote
        )

    def _listen(
        self, stream: int | socket.socket, fork: int, handle: Callable[[], None]
    ) -> None:
        def still_there() -> None:
            if fork in self._children:  # it may have ended since the selector said so
                handle()

        self._selector.register(stream, selectors.EVENT_READ, still_there)

    def start(self, owner: int, program: Program) -> None:
        """Starts a program for an owner, in its slot."""
        self._forks += 1
        fork = self._forks
        log, their_log = os.pipe()
        stream, their_stream = socket.socketpair()
        child = Child(program, log, stream)
        self._children[fork], self._owners[fork] = child, owner
        os.set_blocking(log, False)
        stream.setblocking(False)
        self._listen(log, fork, lambda: self._read_log(child))
        self._listen(stream, fork, lambda: self._exchange(fork, child))
        fds = [their_log, their_stream.fileno()]
        try:
            slot = program.slot.number
            self.zygote.fork(fork, slot, program.job, fds, program.files)
        except ConnectionError:  # the next look at it tells that it died
            pass
        except OSError as error:  # a source is not there
            self._finish(fork, Ending(status=None, log=str(error)))
        finally:
            os.close(their_log)
            their_stream.close()

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
        self.zygote = self._start_zygote()
        for slot, fd in zip(self._slots, self.zygote.slots, strict=True):
            slot.fd = fd
        self._listen_to_zygote()
        for fork in list(self._children):
            self._finish(fork, Ending(status=None, log=reason))

    def _kill(self, fork: int, reason: str) -> None:
        self._children[fork].killed, self._children[fork].dies_at = reason, None
        with contextlib.suppress(ConnectionError):  # dead, and its children with it
            self.zygote.kill(fork, signal.SIGKILL)

    def _conclude(self, fork: int, message: dict[str, Any]) -> None:
        """Reads what a dead child left in its streams and passes on its ending."""
        child = self._children[fork]
        while child.read_log():
            pass
        with contextlib.suppress(ValueError, ConnectionError):
            while child.read_stream(time.monotonic()):
                pass
        self._finish(fork, child.ending(message))

    def _finish(self, fork: int, ending: Ending) -> None:
        child = self._children.pop(fork)
        self._forget(child.log)
        self._forget(child.stream)
        os.close(child.log)
        child.stream.close()
        self._ended(self._owners.pop(fork), ending)

    def _forget(self, stream: int | socket.socket) -> None:
        with contextlib.suppress(KeyError):  # was forgotten when the child closed it
            self._selector.unregister(stream)

    # Their streams.

    def _read_log(self, child: Child) -> None:
        if not child.read_log():
            self._forget(child.log)

    def _exchange(self, fork: int, child: Child) -> None:
        """Reads and writes frames; who breaks the protocol is not listened to again."""
        asked = child.asked
        try:
            child.read_stream(time.monotonic())
        except (ValueError, ConnectionError):
            self._hang_up(child)
            return
        self._flush(child)
        if child.asked > asked:
            self._asked(self._owners[fork], child.asked, child.question)

    def _flush(self, child: Child) -> None:
        """Sends what a child is to hear, as far as it reads."""
        try:
            more = not child.write_stream()
            key = self._selector.get_key(child.stream)
        except ConnectionError:
            self._hang_up(child)
            return
        except KeyError:  # was hung up on
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if more else 0)
        if events != key.events:
            self._selector.modify(child.stream, events, key.data)

    def _hang_up(self, child: Child) -> None:
        self._forget(child.stream)
        with contextlib.suppress(OSError):
            child.stream.shutdown(socket.SHUT_RDWR)

    # Limits that the kernel does not know.

    def _watch(self) -> None:
        for fork, child in self._children.items():
            if not child.pid or child.killed:
                continue
            most = self._limits.dataset_bytes
            if _threads(child.pid) > self._limits.processes:
                self._kill(fork, "forbidden")
            elif directories.used(child.program.slot.fd, enough=most) >= most:
                self._kill(fork, "disk")


def _threads(pid: int) -> int:
    """Returns how many threads a process has, 0 if it has just ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(status.rpartition(")")[2].split()[17])
