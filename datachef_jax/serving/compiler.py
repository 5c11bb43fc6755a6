"""Grammars from patterns that others have written, in a process that can be ended.

A short pattern can have an automaton without end, whose making nothing interrupts. So
it is made in a process of its own, with limits on time and memory.
"""

import collections
from collections.abc import Sequence
import json
import multiprocessing
from multiprocessing import connection
import resource
import threading

from datachef_jax.sampling import grammar
from datachef_jax.sampling.grammar import Grammar
from datachef_jax.serving.reader import Pieces
from datachef_jax.serving.ticket import QueueFull

_MOST_CHARS = 10_000  # of a pattern or schema
_KEPT = 64  # grammars
_WAITING = 8  # callers, each of whom holds a thread of the endpoint
# Not a fork: JAX has threads, whose locks nobody would ever open in the child.
_PROCESSES = multiprocessing.get_context("spawn")


class Compiler:
    """Compiles grammars for one tokenizer, and remembers some: the same text is the
    same object, which has one slot of the engine."""

    def __init__(self, pieces: Pieces, *, end_id: int, seconds: float, memory: int):
        """Starts no process yet.

        Args:
          pieces: Of the tokenizer.
          end_id: The token that ends a completion.
          seconds: That a grammar may take.
          memory: Bytes of address space that the process may have.
        """
        self._pieces = list(pieces)
        self._end_id = end_id
        self._seconds = seconds
        self._memory = memory
        self._lock = threading.Lock()  # of the process
        self._room = threading.Semaphore(_WAITING)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: connection.Connection | None = None
        self._kept: collections.OrderedDict[tuple[str, str], Grammar]
        self._kept = collections.OrderedDict()  # the one asked for last is the last
        self._keeping = threading.Lock()

    def __call__(self, kind: str, text: str) -> Grammar:
        """Returns a grammar; any thread may ask.

        Args:
          kind: "regex" or "json_schema".
          text: The pattern, or the schema as JSON.

        Raises:
          ValueError: If there is no such grammar, or none within the limits.
          QueueFull: If too many wait for theirs.
        """
        if len(text) > _MOST_CHARS:
            raise ValueError(f"longer than {_MOST_CHARS} characters")
        if (known := self._find(kind, text)) is not None:
            return known  # without waiting for those that are compiled
        if not self._room.acquire(blocking=False):
            raise QueueFull(f"{_WAITING} grammars wait to be compiled")
        try:
            with self._lock:
                made = self._find(kind, text) or self._compile(kind, text)
                self._keep(kind, text, made)
                return made
        finally:
            self._room.release()

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            self._stop()

    def _find(self, kind: str, text: str) -> Grammar | None:
        with self._keeping:
            if (kind, text) in self._kept:
                self._kept.move_to_end((kind, text))
            return self._kept.get((kind, text))

    def _keep(self, kind: str, text: str, made: Grammar) -> None:
        with self._keeping:
            self._kept[kind, text] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def _compile(self, kind: str, text: str) -> Grammar:
        if self._process is None:
            self._start()
        self._pipe.send((kind, text))
        try:
            if not self._pipe.poll(self._seconds):
                raise TimeoutError
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:  # also the one above
            self._stop()
            slow = isinstance(error, TimeoutError)
            limit = f"{self._seconds:g} s" if slow else f"{self._memory} bytes"
            raise ValueError(f"takes more than {limit} to compile") from error
        if isinstance(answer, str):
            raise ValueError(answer)
        return answer

    def _start(self) -> None:
        self._pipe, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(
            target=_work, args=(theirs, self._pieces, self._end_id, self._memory)
        )
        self._process.daemon = True
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it is ready: its start counts for no pattern

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = self._pipe = None


def _work(
    pipe: connection.Connection,
    pieces: Sequence[bytes | None],
    end_id: int,
    memory: int,
) -> None:
    """Compiles what comes through the pipe, in the process."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    pipe.send("ready")
    while True:
        try:
            kind, text = pipe.recv()
        except EOFError:
            return
        try:
            if kind == "regex":
                made = grammar.compile_regex(text, pieces, end_id=end_id)
            else:
                schema = json.loads(text)
                made = grammar.compile_json_schema(schema, pieces, end_id=end_id)
        except (ValueError, MemoryError, RecursionError) as error:
            pipe.send(str(error) or type(error).__name__)
        else:
            pipe.send(made)
