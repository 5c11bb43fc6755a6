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
import pathlib
import selectors
import socket
from typing import Any

from sandbox import channel
from sandbox import children
from sandbox import launch
from sandbox import slots
from sandbox.job import Limits
from sandbox.job import Messages
from sandbox.layout import Layout
from sandbox.program import Ending
from sandbox.recipe import Recipe
from sandbox.users import Users

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
        """Starts a zygote; the arguments are those of `Children`.

        Args:
          trainer: Where frames come from and go.
          limits: See there, as are the next three.
          start: Starts a zygote.
          paths: Of its slots.
          users: Of the slots.

        Raises:
          RuntimeError: If it cannot run here, with what is missing.
        """
        self._trainer, self._limits = trainer, limits
        self._inbox, self._outbox = channel.Inbox(2**31), bytearray()
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self._recipes: dict[int, Recipe] = {}  # by job
        self._selector = selectors.DefaultSelector()
        self._connected = True
        self._children = children.Children(
            self._selector,
            limits,
            start,
            paths,
            users,
            ended=self._go_on,
            asked=self._ask,
        )

    def serve(self) -> None:
        """Runs until the trainer closes its end; then no child is left."""
        self._trainer.setblocking(False)
        self._selector.register(self._trainer, selectors.EVENT_READ, self._hear_trainer)
        zygote = self._children.zygote
        self._tell({"hello": zygote.pid, "lost": zygote.lost})
        try:
            while self._connected:
                self._turn()
        finally:
            self._children.zygote.stop()

    def _turn(self) -> None:
        """Does what there is to do, then waits until there is more."""
        free = self._children.free
        while self._waiting and free:
            number, job = self._waiting.popleft()
            recipe = Recipe(number, job, free.pop(), self._limits)
            self._recipes[number] = recipe
            self._children.start(number, recipe.first())
        for key, _ in self._selector.select(self._children.patience()):
            key.data()
        self._children.look()

    def _go_on(self, number: int, ending: Ending) -> None:
        """Runs what comes next of a recipe, or tells how it ended."""
        recipe = self._recipes[number]
        following = recipe.next(ending)
        if following is not None:
            self._children.start(number, following)
            return
        recipe.slot.clear()
        self._children.free.append(recipe.slot)
        result = self._recipes.pop(number).result
        result = dataclasses.replace(result, lost=self._children.zygote.lost)
        self._tell({"ended": number, "result": dataclasses.asdict(result)})

    def _ask(self, number: int, question: int, chats: list[Messages]) -> None:
        self._tell({"ask": chats, "of": number, "question": question})

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
                self._children.cancel(frame["cancel"])
            else:
                self._children.answer(
                    frame["of"], frame["question"], frame["answers"], frame["tokens"]
                )

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
        self._selector.modify(self._trainer, events, self._hear_trainer)
