r"""Whether two answers are the same in mathematics: `x^2-1` and `(x-1)(x+1)`.

math-verify compares them. Some texts make it hang or take all memory (9^{9^{9^9}}), and
its own time limit is a signal, which works in no thread. So it runs in processes that
are killed. It knows no proof that two answers differ: not found to be equal is
different, and that is wrong at times.
"""

from collections.abc import Sequence
from concurrent import futures
import logging
import multiprocessing
import re
import resource
import signal
import threading
from typing import Any

import math_verify
import pebble
import psutil

from datachef_jax.scoring import answers

Pair = tuple[str, str]
"""(predicted, reference), bare answers."""

_MAX_CHARS = 1000  # what is longer is no formula
_MEMORY_BYTES = 2**30  # of address space, beyond what a process begins with
_ALIVE_SECONDS = 1.0  # between looks at whether there still is somebody who answers
_WORD, _FORMULA = re.compile("[A-Za-z]{3}"), re.compile(r"[0-9\\]")
# Not a fork: JAX has threads, whose locks nobody would ever open in the child. Forked
# from a server that has imported the library, a process is there at once.
_PROCESSES = multiprocessing.get_context("forkserver")


class Equivalence:
    """Compares answers in a few processes, which are started when first needed.

    A context manager, at whose end they end. Any thread may ask.
    """

    def __init__(self, *, workers: int, seconds: float):
        """Starts nothing yet.

        Args:
          workers: How many pairs are compared at a time.
          seconds: That one comparison may take.
        """
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        if not seconds > 0:
            raise ValueError(f"seconds must be positive, got {seconds}")
        self._workers, self._seconds = workers, seconds
        self._lock = threading.Lock()  # of the pool
        self._pool: pebble.ProcessPool | None = None

    def __enter__(self) -> "Equivalence":
        return self

    def __exit__(self, *_: Any) -> None:
        with self._lock:
            self._stop()

    def equal(self, pairs: Sequence[Pair]) -> list[bool | None]:
        """Says of each pair whether its answers are the same.

        Numbers are compared exactly, as by `answers.equal`, and equal texts are equal.
        The rest is left to math-verify, but for what is words.

        Args:
          pairs: Predicted answers and their references; the order counts, for the
            reference says what is asked for: `3` is the same as `x = 3`.

        Returns:
          One for each, in order; None where that cannot be told: a text is no formula,
          or comparing it took too long or too much memory.
        """
        found = [_at_sight(*pair) for pair in pairs]
        asked = [
            i
            for i, pair in enumerate(pairs)
            if found[i] is None and all(map(_may_be_formula, pair))
        ]
        running = [self._ask(pairs[i]) for i in asked]
        for i, (pool, future) in zip(asked, running, strict=True):
            found[i] = _result(pool, future)
        return found

    def _ask(self, pair: Pair) -> tuple[pebble.ProcessPool, futures.Future]:
        with self._lock:
            if self._pool is None or not self._pool.active:
                self._stop()
                self._start()
            given = dict(args=pair, timeout=self._seconds)
            return self._pool, self._pool.schedule(_same, **given)

    def _start(self) -> None:
        _PROCESSES.set_forkserver_preload(["math_verify"])
        self._pool = pebble.ProcessPool(
            max_workers=self._workers, initializer=_prepare, context=_PROCESSES
        )

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None


def _at_sight(predicted: str, reference: str) -> bool | None:
    """Decides what needs no algebra."""
    if answers.equal(predicted, reference, "math"):
        return True
    exact = answers.number(predicted), answers.number(reference)
    return None if None in exact else False


def _may_be_formula(answer: str) -> bool:
    """Returns whether it is short, and not of words: they would be taken for products.

    "silent" is l i s t e n in another order.
    """
    words = _WORD.search(answer) and not _FORMULA.search(answer)
    return len(answer) <= _MAX_CHARS and not words


def _result(pool: pebble.ProcessPool, future: futures.Future) -> bool | None:
    while not future.done() and pool.active:  # what a broken pool holds is never done
        futures.wait([future], timeout=_ALIVE_SECONDS)
    if not future.done() or future.exception() is not None:
        return None
    return future.result()


# In a process of its own.


def _prepare() -> None:
    # Pebble's own handler would have to wait for a long multiplication to end.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    limit = psutil.Process().memory_info().vms + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # It warns that nobody limits its time.
    logging.getLogger("math_verify").setLevel(logging.ERROR)


def _same(predicted: str, reference: str) -> bool | None:
    wanted, given = _parsed(reference), _parsed(predicted)
    if not wanted or not given:
        return None
    return math_verify.verify(wanted, given, timeout_seconds=None, raise_on_error=True)


def _parsed(answer: str) -> list[Any]:
    return math_verify.parse(
        rf"\boxed{{{answer}}}",
        fallback_mode="no_fallback",
        parsing_timeout=None,
        raise_on_error=True,
    )
