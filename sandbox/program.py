"""A program under way: the streams of its process, read without trusting them."""

import dataclasses
import os
import pathlib
import socket
from typing import Any

from sandbox import channel

Messages = list[dict[str, str]]

# Exit codes of a child whose script did not end well.
SYNTAX_ERROR, RUNTIME_ERROR, MEMORY_ERROR, DISK_ERROR, FORBIDDEN = range(120, 125)

_PIECE_BYTES = 2**16  # read of one stream before another gets its turn
_MAX_FRAMES = 10_000  # of one program; toolkit calls and questions are a few dozen
_MAX_CALLS = 1000  # recorded of one program
_MAX_NAME = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A script to be run once.

    Attributes:
      job: What the child reads: see `sandbox.child`.
      directory: The only place where it may write.
      wall_seconds: From the fork, waiting for LLM answers excluded.
      threads: How many it may have.
      disk_bytes: How much its directory may hold.
      log_bytes: How much of the end of its output is kept.
      llm_calls: How many its recipe may make.
      llm_calls_made: How many its recipe has made before.
    """

    job: dict[str, Any]
    directory: pathlib.Path
    wall_seconds: float
    threads: int
    disk_bytes: int
    log_bytes: int
    llm_calls: int
    llm_calls_made: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
    """How a program ended, all of it seen from outside but `calls` and `log`.

    Attributes:
      status: As `os.wait4` gives it; None if the child was lost or never forked.
      ready: Whether the script itself was reached.
      killed: Why it was killed: "timeout", "disk", "forbidden", or "".
      log: End of its output.
      calls: Toolkit calls: function, rows in, rows out.
      llm_calls: How many its recipe has made.
      cpu_seconds: Of the child.
      wall_seconds: From fork to exit, waiting for LLM answers excluded.
      peak_bytes: Its largest resident set.
    """

    status: int | None
    ready: bool = False
    killed: str = ""
    log: str = ""
    calls: tuple[tuple[str, int, int], ...] = ()
    llm_calls: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_bytes: int = 0


class Child:
    """A program's process as the supervisor sees it.

    Attributes:
      program: What it runs.
      log: Descriptor of what it prints.
      stream: The channel of frames.
      question: What it asks the language model and has no answer to yet.
      asked_at: Since when, None if it asks nothing.
      pid: Its process, 0 before the fork.
      started: When it was forked, None before.
      killed: Why it was killed, "" if it was not.
    """

    def __init__(self, program: Program, log: int, stream: socket.socket) -> None:
        self.program = program
        self.log, self.stream = log, stream
        self.question: list[Messages] = []
        self.asked_at: float | None = None
        self.pid = 0
        self.started: float | None = None
        self.killed = ""
        self._ready = False
        self._output, self._outbox = bytearray(), bytearray()
        self._inbox, self._frames = channel.Inbox(), 0
        self._calls: list[tuple[str, int, int]] = []
        self._llm_calls = program.llm_calls_made
        self._waited = 0.0

    def deadline(self) -> float | None:
        """When it must have ended; None if not forked yet or if it waits for us."""
        if self.started is None or self.asked_at is not None or self.killed:
            return None
        return self.started + self._waited + self.program.wall_seconds

    def read_log(self) -> bool:
        """Reads a piece of its output. Returns False if there is none now."""
        try:
            piece = os.read(self.log, _PIECE_BYTES)
        except BlockingIOError:
            return False
        self._output += piece
        if len(self._output) > self.program.log_bytes + _PIECE_BYTES:
            del self._output[: -self.program.log_bytes]
        return bool(piece)

    def read_stream(self, now: float) -> bool:
        """Reads a piece of its frames. Returns False if there is none now.

        Raises:
          ValueError: If they break the protocol.
          ConnectionError: If its end is closed.
        """
        try:
            piece = self.stream.recv(_PIECE_BYTES)
        except BlockingIOError:
            return False
        if not piece:
            raise ConnectionError("closed by the script")
        for frame in self._inbox.feed(piece):
            self._frames += 1
            if self._frames > _MAX_FRAMES:
                raise ValueError(f"more than {_MAX_FRAMES} frames")
            self._take(frame, now)
        return True

    def _take(self, frame: channel.Frame, now: float) -> None:
        if "ask" in frame:
            self._ask(frame["ask"], now)
        elif "call" in frame:
            call = frame["call"]
            if not _is_call(call):
                raise ValueError(f"no toolkit call: {str(call)[:80]}")
            if len(self._calls) < _MAX_CALLS:
                self._calls.append(tuple(call))
        else:
            self._ready = True

    def _ask(self, question: Any, now: float) -> None:
        if self.question or not _is_question(question):
            raise ValueError("no question for a language model")
        made, allowed = self._llm_calls, self.program.llm_calls
        if made + len(question) > allowed:
            error = (
                f"a recipe may make {allowed} LLM calls: {made} made,"
                f" {len(question)} more asked for"
            )
            self._outbox += channel.encode({"error": error})
            return
        self._llm_calls += len(question)
        self.question, self.asked_at = question, now

    def answer(self, answers: list[str], now: float) -> None:
        """Queues the answers to its question."""
        self._waited += now - self.asked_at
        self.question, self.asked_at = [], None
        self._outbox += channel.encode({"answers": answers})

    def write_stream(self) -> bool:
        """Sends what is queued. Returns False if there is more to send.

        Raises:
          ConnectionError: If its end is closed.
        """
        while self._outbox:
            try:
                del self._outbox[: self.stream.send(self._outbox[:_PIECE_BYTES])]
            except BlockingIOError:
                return False
        return True

    def ending(self, message: dict[str, Any]) -> Ending:
        """Returns how it ended, given what the zygote says about it."""
        return Ending(
            status=message["status"],
            ready=self._ready,
            killed=self.killed,
            log=self._output[-self.program.log_bytes :].decode("utf-8", "replace"),
            calls=tuple(self._calls),
            llm_calls=self._llm_calls,
            cpu_seconds=message["cpu_seconds"],
            wall_seconds=max(0.0, message["wall_seconds"] - self._waited),
            peak_bytes=message["peak_bytes"],
        )


def _is_call(call: Any) -> bool:
    if not isinstance(call, list) or [type(part) for part in call] != [str, int, int]:
        return False
    return call[0].isidentifier() and call[0].isascii() and len(call[0]) <= _MAX_NAME


def _is_question(question: Any) -> bool:
    """Whether it is a list of chats, and text that can be encoded."""
    if not isinstance(question, list) or not question:
        return False
    for messages in question:
        if not isinstance(messages, list) or not messages:
            return False
        for message in messages:
            if not isinstance(message, dict) or message.keys() != {"role", "content"}:
                return False
            if message["role"] not in ("system", "user", "assistant"):
                return False
            if not isinstance(message["content"], str) or not _is_text(
                message["content"]
            ):
                return False
    return True


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True
