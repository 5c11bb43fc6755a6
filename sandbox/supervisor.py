"""Runs recipes in children of a zygote and watches them from outside.

One process, one thread: it holds every descriptor and clock, and never waits for a
child, so that one that floods or stalls its streams harms only itself. What children
ask the language model goes to the trainer at once, and comes back when it may.
"""

from collections import deque
from collections.abc import Callable, Sequence
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import selectors
import socket
import sys
import time
from typing import Any

from sandbox import channel
from sandbox import directories
from sandbox import launch
from sandbox import slots
from sandbox.job import Limits
from sandbox.layout import Layout
from sandbox.program import Child
from sandbox.program import Ending
from sandbox.program import Program
from sandbox.recipe import Recipe
from sandbox.users import Users

_WATCH_SECONDS = 0.1  # between looks at threads and disk space
_PIECE_BYTES = 2**20


def main(trainer_fd: int, settings: str) -> None:
    """Serves a trainer until that closes its end, or dies.

    Args:
      trainer_fd: A stream of frames, see `Supervisor`.
      settings: JSON of `limits`, of how many `workers` run at once, of the folder
        `scratch`, where their directories are made, of the `layout`, and of what
        scripts may read, `readable`, and the zygote, `startable`.
    """
    given = json.loads(settings)
    trainer = socket.socket(fileno=trainer_fd)
    layout, parent = Layout(**given["layout"]), pathlib.Path(given["scratch"])
    limits, workers = Limits(**given["limits"]), given["workers"]
    users = Users(workers) if layout.own_users else None
    slots.sweep(parent)
    with contextlib.ExitStack() as left:
        paths = [f"/slots/{number}" for number in range(workers)]
        if not layout.namespaces:
            scratch = slots.Scratch(parent, workers)
            left.callback(scratch.remove)
            paths = list(scratch.paths)
        start = functools.partial(
            launch.Zygote,
            layout,
            readable=given["readable"],
            startable=given["startable"],
            slots=paths,
            slot_bytes=limits.dataset_bytes,
            users=users.ids if users else [],
        )
        Supervisor(trainer, limits, start, paths, users.ids if users else []).serve()


class Supervisor:
    """Runs what a trainer asks for.

    Frames that come in: `{"run": number, "job": ...}`, and for an earlier question
    `{"answers": [...], "tokens": ..., "of": number, "question": ...}`, or `{"cancel":
    number}`. Frames that go out: `{"hello": ...}` once, `{"ended": number, "result":
    ...}`, and `{"ask": chats, "of": number, "question": ...}`.
    """

    def __init__(
        self,
        trainer: socket.socket,
        limits: Limits,
        start: Callable[[], launch.Zygote],
        paths: Sequence[str],
        users: Sequence[int],
    ) -> None:
        """Starts a zygote.

        Args:
          trainer: Where frames come from and go.
          limits: Of each script.
          start: Starts a zygote.
          paths: Of its slots; as many scripts run at once.
          users: Of the slots, if scripts have user ids of their own.

        Raises:
          RuntimeError: If it cannot run here, with what is missing.
        """
        self._trainer, self._limits = trainer, limits
        self._inbox, self._outbox = channel.Inbox(2**31), bytearray()
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self._recipes: dict[int, Recipe] = {}  # by job
        self._children: dict[int, Child] = {}  # by fork
        self._owners: dict[int, int] = {}  # fork -> job
        self._forks = 0
        self._selector = selectors.DefaultSelector()
        self._connected = True
        self._watched_at = 0.0
        self._start, self._zygote = start, start()
        owners = users or [None] * len(paths)
        self._slots = [
            slots.Slot(number=number, path=path, fd=fd, user=user)
            for number, (path, fd, user) in enumerate(
                zip(paths, self._zygote.slots, owners, strict=True)
            )
        ]
        self._free = list(self._slots)

    def serve(self) -> None:
        """Runs until the trainer closes its end; then no child is left."""
        self._trainer.setblocking(False)
        self._selector.register(
            self._trainer, selectors.EVENT_READ, (0, self._hear_trainer)
        )
        self._listen_to_zygote()
        self._tell({"hello": self._zygote.pid, "lost": self._zygote.lost})
        try:
            while self._connected:
                self._turn()
        finally:
            self._zygote.stop()

    def _turn(self) -> None:
        """Does what there is to do, then waits until there is more."""
        while self._waiting and self._free:
            number, job = self._waiting.popleft()
            recipe = Recipe(number, job, self._free.pop(), self._limits)
            self._recipes[number] = recipe
            self._fork(number, recipe.first())
        for key, _ in self._selector.select(self._patience()):
            fork, handle = key.data
            if fork == 0 or fork in self._children:
                handle()
        now = time.monotonic()
        for fork, child in list(self._children.items()):
            deadline = child.deadline()
            if deadline is not None and now >= deadline:
                self._end_patience(fork, child, now)
        if now >= self._watched_at + _WATCH_SECONDS:
            self._watch()
            self._watched_at = now

    def _end_patience(self, fork: int, child: Child, now: float) -> None:
        if child.waits:
            child.give_up(now)
            self._flush(child)
        else:
            self._kill(fork, "timeout")

    def _patience(self) -> float | None:
        """Returns the seconds until the next clock rings, None if there is none."""
        if not self._children:
            return None
        now = time.monotonic()
        deadlines = [child.deadline() for child in self._children.values()]
        rings = [ring for ring in deadlines if ring is not None]
        return max(0.0, min([now + _WATCH_SECONDS, *rings]) - now)

    # The trainer.

    def _hear_trainer(self) -> None:
        self._send_to_trainer()
        try:
            piece = self._trainer.recv(_PIECE_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            piece = b""
        if not piece:
            self._connected = False
            return
        for frame in self._inbox.feed(piece):
            if "run" in frame:
                self._waiting.append((frame["run"], frame["job"]))
            elif "cancel" in frame:
                self._cancel(frame["cancel"])
            else:
                self._pass_on(frame)

    def _pass_on(self, frame: channel.Frame) -> None:
        """Gives a child the answers to its question, if it still waits for them."""
        for fork, child in self._children.items():
            if self._owners[fork] == frame["of"] and child.waits:
                if child.asked == frame["question"]:
                    now = time.monotonic()
                    child.answer(frame["answers"], frame["tokens"], now)
                    self._flush(child)

    def _cancel(self, number: int) -> None:
        """Ends a recipe that nobody wants any more; its result is told all the same."""
        for fork, owner in self._owners.items():
            if owner == number:
                self._kill(fork, "timeout")

    def _tell(self, frame: channel.Frame) -> None:
        self._outbox += channel.encode(frame)
        self._send_to_trainer()

    def _send_to_trainer(self) -> None:
        try:
            while self._outbox:
                del self._outbox[: self._trainer.send(self._outbox[:_PIECE_BYTES])]
        except BlockingIOError:
            pass
        except ConnectionError:
            self._connected = False
            return
        events = selectors.EVENT_READ
        if self._outbox:
            events |= selectors.EVENT_WRITE
        self._selector.modify(self._trainer, events, (0, self._hear_trainer))

    # The zygote and its children.

    def _listen_to_zygote(self) -> None:
        self._selector.register(
            self._zygote.control, selectors.EVENT_READ, (0, self._hear_zygote)
        )

    def _fork(self, number: int, program: Program) -> None:
        self._forks += 1
        fork = self._forks
        log, their_log = os.pipe()
        stream, their_stream = socket.socketpair()
        child = Child(program, log, stream)
        self._children[fork], self._owners[fork] = child, number
        os.set_blocking(log, False)
        stream.setblocking(False)
        self._selector.register(
            log, selectors.EVENT_READ, (fork, lambda: self._read_log(child))
        )
        self._selector.register(
            stream, selectors.EVENT_READ, (fork, lambda: self._exchange(fork, child))
        )
        fds = [their_log, their_stream.fileno()]
        try:
            slot = program.slot.number
            self._zygote.fork(fork, slot, program.job, fds, program.files)
        except ConnectionError:  # the next look at it tells that it died
            pass
        except OSError as error:  # a source is not there
            self._finish(fork, Ending(status=None, log=str(error)))
        finally:
            os.close(their_log)
            their_stream.close()

    def _hear_zygote(self) -> None:
        try:
            messages = self._zygote.messages()
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
        self._selector.unregister(self._zygote.control)
        self._zygote.stop()
        self._zygote = self._start()
        for slot, fd in zip(self._slots, self._zygote.slots, strict=True):
            slot.fd = fd
        self._listen_to_zygote()
        for fork in list(self._children):
            self._finish(fork, Ending(status=None, log=reason))

    def _kill(self, fork: int, reason: str) -> None:
        self._children[fork].killed = reason
        with contextlib.suppress(ConnectionError):  # dead, and its children with it
            self._zygote.kill(fork)

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
        number = self._owners.pop(fork)
        following = self._recipes[number].next(ending)
        if following is not None:
            self._fork(number, following)
            return
        child.program.slot.clear()
        self._free.append(child.program.slot)
        result = self._recipes.pop(number).result
        result = dataclasses.replace(result, lost=self._zygote.lost)
        self._tell({"ended": number, "result": dataclasses.asdict(result)})

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
            frame = {"of": self._owners[fork], "question": child.asked}
            self._tell({"ask": child.question, **frame})

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


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
