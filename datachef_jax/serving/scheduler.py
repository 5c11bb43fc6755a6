"""Requests from any thread to any of several models, by one thread that runs them all.

Engines share the devices by turns. The most urgent one works for a slice of rounds;
one that waits becomes more urgent, so that none has to wait forever. Nothing blocks
the thread but the devices: who wants an answer waits in a thread of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
import contextlib
import dataclasses
import math
import queue
import threading
import time
from typing import Any

from flax import nnx
import jax

from datachef_jax.parallel import sharding
from datachef_jax.sampling import wire
from datachef_jax.sampling.engine import Engine
from datachef_jax.sampling.request import Part
from datachef_jax.sampling.request import Request
from datachef_jax.serving.client import blame
from datachef_jax.serving.client import Client
from datachef_jax.serving.client import ignore
from datachef_jax.serving.lane import Lane
from datachef_jax.serving.lane import Slices
from datachef_jax.serving.reader import Pieces
from datachef_jax.serving.ticket import Closed
from datachef_jax.serving.ticket import Event
from datachef_jax.serving.ticket import QueueFull
from datachef_jax.serving.ticket import Ticket


class Scheduler:
    """Runs engines, each with the weights of one model.

    It computes on the mesh that is set where it is made. If an engine raises, all of
    its requests fail with what it raised, and so do later ones.
    """

    def __init__(
        self, *, slices: Slices, patience: float, most_requests: int | None = None
    ):
        """Starts the thread.

        Args:
          slices: How long an engine works at a time.
          patience: Seconds of waiting that count as much as one step of priority.
          most_requests: Under way or waiting in each engine at a time; more are
            refused. None where all who ask wait for what they asked.
        """
        self._slices = slices
        self._patience = patience
        self._most_requests = most_requests
        self._lanes: dict[str, Lane] = {}
        self._open: dict[str, int] = {}  # requests of each model
        self._lock = threading.Lock()  # of `_open` and `_closed`
        self._closed = False
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        mesh = jax.sharding.get_mesh()
        self._thread = threading.Thread(
            target=self._run, args=(mesh,), name="scheduler", daemon=True
        )
        self._thread.start()

    def add(
        self,
        name: str,
        engine: Engine,
        params: nnx.State,
        *,
        version: int = 0,
        pieces: Pieces = (),
    ) -> None:
        """Takes over an engine, which nobody else uses from now on.

        Args:
          name: Of the model.
          engine: Runs it.
          params: Its weights.
          version: Of the weights.
          pieces: What each token adds to a text; without them, no stop strings.
        """
        assert name not in self._lanes, f"there is a {name} already"
        self._open[name] = 0
        lane = Lane(
            name,
            engine,
            params,
            version=version,
            pieces=pieces,
            slices=self._slices,
        )
        self._call(lambda: self._lanes.update({name: lane}))

    def submit(
        self,
        name: str,
        request: Request,
        *,
        stop_strings: Sequence[str] = (),
        seconds: float | None = None,
        listen: Callable[[Event], None] = ignore,
        drafts: bool = False,
    ) -> Ticket:
        """Hands in a request; any thread may.

        Args:
          name: Of the model.
          request: What is wanted. A ValueError of the engine, which can never serve
            it, comes out of the ticket.
          stop_strings: Each ends a completion where its text first contains it.
          seconds: After which the request fails with `DeadlinePassed`.
          listen: Told of every event in the scheduler's thread: it must be quick.
          drafts: Whether to tell of unfinished completions after every slice.

        Raises:
          QueueFull: If there are too many.
          Closed: If the scheduler has been closed.
          ValueError: If the priority or a stop string cannot be.
        """
        wire.check_priority(request.priority)
        if "" in stop_strings:
            raise ValueError("an empty stop string")

        ticket = Ticket(
            request,
            stop_strings=tuple(stop_strings),
            drafts=drafts,
            seconds=seconds,
            listen=listen,
            cancel=lambda ticket: self._put(lambda: self._lanes[name].cancel(ticket)),
        )
        with self._lock:
            if self._closed:
                raise Closed("the scheduler is closed")
            most = self._most_requests
            if most is not None and self._open[name] >= most:
                raise QueueFull(
                    f"{self._open[name]} requests to {name} are under way or waiting"
                )
            self._open[name] += 1
            ticket.when_done(lambda: self._leave(name))
            self._put(lambda: self._lanes[name].take(ticket))
        return ticket

    def client(self, name: str, *, priority: int) -> Client:
        """Returns a client of a model whose requests have this priority.

        Smaller goes first. Its calls may be made from any thread, several at a time.
        """
        return _Scheduled(self, name, priority)

    def set_params(self, name: str, params: nnx.State, *, version: int) -> None:
        """Exchanges the weights of a model, between two slices.

        Completions under way go on with the new ones; their `versions` tell. When
        this returns, the old weights are no longer used.

        Args:
          name: Of the model.
          params: Of the same shapes, so that nothing is compiled anew.
          version: Of the weights, another one than before.
        """

        def exchange() -> None:
            self._lanes[name].params = params
            self._lanes[name].version = version

        self._call(exchange)

    def sleep(self) -> None:
        """Frees the devices' memory of engines without work, until they have some."""
        self._call(lambda: [lane.sleep() for lane in self._lanes.values()])

    def statistics(self) -> dict[str, dict[str, float | int]]:
        """Returns the figures of each model; see `Lane.figures`."""
        return self._call(
            lambda: {
                name: lane.figures()
                for name, lane in self._lanes.items()
                if lane.failure is None  # its state may be gone
            }
        )

    def failures(self) -> dict[str, Exception]:
        """Returns why models cannot be used any more, those that cannot."""
        lanes = list(self._lanes.values())
        return {lane.name: lane.failure for lane in lanes if lane.failure is not None}

    def close(self) -> None:
        """Ends all requests with `Closed`, and then the thread."""
        with self._lock:
            closed, self._closed = self._closed, True
            if not closed:
                self._put(None)
        self._thread.join()

    def _leave(self, name: str) -> None:
        with self._lock:
            self._open[name] -= 1

    def _put(self, call: Callable[[], None] | None) -> None:
        self._calls.put(call)

    def _call(self, function: Callable[[], Any]) -> Any:
        """Calls a function in the scheduler's thread, and waits for what it returns."""
        assert threading.current_thread() is not self._thread, "would wait for itself"
        future: futures.Future[Any] = futures.Future()

        def call() -> None:
            try:
                future.set_result(function())
            except Exception as error:  # belongs to the caller
                future.set_exception(error)

        with self._lock:
            if self._closed:
                raise Closed("the scheduler is closed")
            self._put(call)
        return future.result()

    def _run(self, mesh: jax.sharding.Mesh) -> None:
        # Both are set for each thread apart.
        here = contextlib.nullcontext() if mesh.empty else jax.set_mesh(mesh)
        end: Exception = Closed("the scheduler was closed")
        try:
            with here, nnx.logical_axis_rules(sharding.AXIS_RULES):
                while self._obey():
                    busy = [lane for lane in self._lanes.values() if lane.busy]
                    if busy:
                        self._turn(busy)
        except Exception as error:  # our own fault, but nobody must wait forever
            end = error
            raise
        finally:
            with self._lock:
                self._closed = True
            for lane in self._lanes.values():
                lane.fail(end)
            while not self._calls.empty():  # handed in before that
                if call := self._calls.get():
                    call()

    def _obey(self) -> bool:
        """Does what other threads ask for; waits for it where nothing else is to do.

        Returns:
          Whether to go on.
        """
        waits = not any(lane.busy for lane in self._lanes.values())
        while True:
            try:
                call = self._calls.get(block=waits)
            except queue.Empty:
                return True
            if call is None:
                return False
            call()
            waits = False

    def _turn(self, busy: Sequence[Lane]) -> None:
        """Lets the most urgent engine work, and ends what is overdue in the others."""
        now = time.monotonic()
        lane = min(busy, key=lambda lane: self._urgency(lane, now))
        for other in busy:
            if other is not lane and (other.expiry() or math.inf) <= now:
                _guard(other, other.expire)
        _guard(lane, lane.turn)
        lane.last_turn = time.monotonic()

    def _urgency(self, lane: Lane, now: float) -> tuple[float, float]:
        priority, since = lane.urgency()
        waited = now - max(lane.last_turn, since)
        return priority - waited / self._patience, since


def _guard(lane: Lane, work: Callable[[], None]) -> None:
    """Makes the engine's failure that of its requests."""
    try:
        work()
    except Exception as error:  # whatever it is, all who wait must hear of it
        lane.fail(error)


class _Scheduled(Client):
    """A client whose requests go through a scheduler."""

    def __init__(self, scheduler: Scheduler, name: str, priority: int):
        """Names the model and the priority of its requests."""
        self._scheduler = scheduler
        self._name = name
        self._priority = priority

    def serve(self, requests: Sequence[Request]) -> Iterator[tuple[int, Part]]:
        """See `Client`."""
        events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
        tickets = []
        try:
            for i, request in enumerate(requests):
                tickets.append(self._submit(i, request, events))
            left = len(tickets)
            while left:
                i, event = events.get()
                if isinstance(event, Exception):
                    with blame(i):
                        raise event
                left -= event.last
                yield i, event
        finally:
            for ticket in tickets:
                if not ticket.done:
                    ticket.cancel()

    def _submit(
        self, i: int, request: Request, events: "queue.SimpleQueue[tuple[int, Event]]"
    ) -> Ticket:
        with blame(i):
            return self._scheduler.submit(
                self._name,
                dataclasses.replace(request, priority=self._priority),
                listen=lambda event: events.put((i, event)),
            )
