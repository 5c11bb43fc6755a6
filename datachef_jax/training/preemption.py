"""SIGTERM: the notice that a machine is about to be taken away.

It must not strike in the middle of an update, whose old weights are given up. So it is
only noted, and asked for at moments when a run can stop.
"""

from collections.abc import Callable, Iterator
import contextlib
import itertools
import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils


# Of all notices of this process, for JAX wants them to grow from one to the next.
_CALLS = itertools.count(1)


class Preempted(Exception):
    """The run was told to stop, and stands where it can."""


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """Lets a signal end the body at once, by a Preempted, where nothing can be lost.

    That is wherever no `Notice` listens: what is done stands in files, each of them
    whole. In a run of several processes signals are left to `jax.distributed`.
    """

    def stop(number: int, frame: Any) -> None:
        del number, frame
        raise Preempted

    with _handling(stop):
        yield


class Notice:
    """Whether a SIGTERM has come, asked by the same calls in every process."""

    def __init__(self):
        self._come = threading.Event()

    def __call__(self) -> None:
        """Raises Preempted if the notice has come; with several processes, in all.

        They agree on the call at which each of them stops: `jax.distributed` passes the
        notice on, and all have to make the same calls.
        """
        if jax.process_count() > 1:
            stop = multihost_utils.reached_preemption_sync_point(next(_CALLS))
        else:
            stop = self._come.is_set()
        if stop:
            raise Preempted

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Notes signals while the body runs; only the main thread can listen."""

        def note(number: int, frame: Any) -> None:
            del number, frame
            self._come.set()

        with _handling(note):
            yield


@contextlib.contextmanager
def _handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handles SIGTERM, unless this is not its process's main thread, or not alone."""
    here = threading.current_thread() is threading.main_thread()
    if not here or jax.process_count() > 1:
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
