"""Completions on their way: each is run and verified while others still decode."""

from collections.abc import Callable, Sequence
from concurrent import futures
import functools
import threading
from typing import Any

import jax


@functools.cache
def _thread(name: str) -> futures.ThreadPoolExecutor:
    """Returns the thread of a name, which lives as long as the process.

    A sandbox started in a thread ends with it.
    """
    return futures.ThreadPoolExecutor(1, thread_name_prefix=name)


class Stage:
    """Does a piece of work with whatever has arrived, in a thread of its own.

    A context manager: at its end everything that has arrived is done.

    In a run of several processes all make the same calls in the same order, so there
    everything is done at once, when somebody waits for it.
    """

    def __init__(self, name: str, work: Callable[[Sequence[int]], None]):
        """Starts nothing yet.

        Args:
          name: Of its thread, one for all stages of this name.
          work: Is given the places of what has arrived since the last call.
        """
        self._work = work
        self._lock = threading.Lock()  # of the next two
        self._arrived: list[int] = []
        self._under_way: futures.Future[None] | None = None
        self._thread: futures.ThreadPoolExecutor | None = None
        if jax.process_count() == 1:
            self._thread = _thread(name)

    def __enter__(self) -> "Stage":
        """Starts nothing yet."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Waits until nothing is left; raises what the work raised."""
        self.wait()

    def add(self, places: Sequence[int]) -> None:
        """Takes what has arrived, from any thread."""
        with self._lock:
            self._arrived += places
            if self._thread is not None and self._under_way is None:
                self._under_way = self._thread.submit(self._drain)

    def wait(self) -> None:
        """Waits until nothing is left; raises what the work raised."""
        if self._thread is None:
            self._drain()
        while (under_way := self._under_way) is not None:
            under_way.result()

    def _drain(self) -> None:
        while True:
            with self._lock:
                some, self._arrived = sorted(self._arrived), []
                if not some:
                    self._under_way = None
                    return
            self._work(some)
