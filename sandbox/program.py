"""A program under way: the streams of its process, read without trusting them."""

from collections.abc import Sequence
import dataclasses
import os
import socket
from typing import Any

from sandbox import channel
from sandbox.job import Limits
from sandbox.job import Messages
from sandbox.slots import Slot

# Exit codes of a child whose script did not end well.
SYNTAX_ERROR, RUNTIME_ERROR, MEMORY_ERROR, DISK_ERROR, FORBIDDEN = range(120, 125)

_PIECE_BYTES = 2**16  # read of one stream before another gets its turn
_MAX_FRAMES = 10_000  # of one program; toolkit calls and questions are a few dozen
_MAX_CALLS = 1000  # recorded of one program
_MAX_NAME = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spent:
    """What a recipe has had of the language model.

    Attributes:
      calls: Chats that it asked for.
      tokens: Written for it.
      seconds: That it waited.
    """

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A script to be run once.

    Attributes:
      job: What the child reads: see `sandbox.child`.
      files: Its sources' paths, in their order.
      slot: The only place where it may write.
      limits: What it may use.
      spent: What its recipe has had of the language model before.
    """

    job: dict[str, Any]
    files: Sequence[str]
    slot: Slot
    limits: Limits
    spent: Spent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
    """How a program ended, all of it seen from outside but `calls` and `log`.

    Attributes:
      status: As `os.wait4` gives it; None if the child was lost or never forked.
      ready: Whether the script itself was reached.
      killed: Why it was killed: "timeout", "disk", "forbidden", or "".
      log: End of its output.
      calls: Toolkit calls: function, rows in, rows out.
      spent: What its recipe has had of the language model, with this.
      cpu_seconds: Of the child.
      wall_seconds: From fork to exit, waiting for LLM answers excluded.
      peak_bytes: Its largest resident set.
    """

    status: int | None
    ready: bool = False
    killed: str = ""
    log: str = ""
    calls: tuple[tuple[str, int, int], ...] = ()
    spent: Spent = Spent()
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
      asked: How often it has asked; answers to earlier questions come too late.
      pid: Its process, 0 before the fork.
      started: When it was forked, None before.
      killed: Why it was killed, "" if it was not.
      dies_at: When it is killed for good if it has not ended by then, None if it will
        not be or has been.
    """

    def __init__(self, program: Program, log: int, stream: socket.socket) -> None:
        self.program = program
        self.log, self.stream = log, stream
        self.question: list[Messages] = []
        self.asked = 0
        self.pid = 0
        self.started: float | None = None
        self.killed = ""
        self.dies_at: float | None = None
        self._ready = False
        self._output, self._outbox = bytearray(), bytearray()
        self._inbox, self._frames = channel.Inbox(), 0
        self._calls: list[tuple[str, int, int]] = []
        self._asked_at: float | None = None
        self._spent = program.spent
        self._waited = 0.0

    def deadline(self) -> float | None:
        """When it has had enough time; None if not forked yet, or killed.

        While it waits for answers, that is the end of its patience, not of its time.
        """
        if self.started is None or self.killed:
            return None
        limits = self.program.limits
        if self._asked_at is not None:
            return self._asked_at + limits.llm_seconds - self._spent.seconds
        return self.started + self._waited + limits.wall_seconds

    def read_log(self) -> bool:
        """Reads a piece of its output. Returns False if there is none now."""
        try:
            piece = os.read(self.log, _PIECE_BYTES)
        except BlockingIOError:
            return False
        self._output += piece
        if len(self._output) > self.program.limits.output_bytes + _PIECE_BYTES:
            del self._output[: -self.program.limits.output_bytes]
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
        if error := self._refusal(len(question)):
            self._outbox += channel.encode({"error": error})
            return
        calls = self._spent.calls + len(question)
        self._spent = dataclasses.replace(self._spent, calls=calls)
        self.question, self._asked_at = question, now
        self.asked += 1

    def _refusal(self, more: int) -> str:
        """Returns why so many more chats are not for it, "" if they are."""
        spent, limits = self._spent, self.program.limits
        if spent.calls + more > limits.llm_calls:
            return (
                f"a recipe may make {limits.llm_calls} LLM calls: {spent.calls} made,"
                f" {more} more asked for"
            )
        if spent.tokens >= limits.llm_tokens:
            return (
                f"a recipe may have {limits.llm_tokens} tokens of LLM answers:"
                f" {spent.tokens} received"
            )
        return self._impatience() if spent.seconds >= limits.llm_seconds else ""

    def _impatience(self) -> str:
        return (
            f"a recipe may wait {self.program.limits.llm_seconds:g} s for LLM answers:"
            f" {self._spent.seconds:.1f} s waited"
        )

    def answer(self, answers: list[str], tokens: int, now: float) -> None:
        """Queues the answers to its question, so many tokens in all."""
        self._received(tokens, now)
        self._outbox += channel.encode({"answers": answers})

    @property
    def waits(self) -> bool:
        """Says whether it has asked and not been answered."""
        return self._asked_at is not None

    def give_up(self, now: float) -> None:
        """Answers that there is no more time for an answer."""
        self._received(0, now)
        self._outbox += channel.encode({"error": self._impatience()})

    def _received(self, tokens: int, now: float) -> None:
        waited = now - self._asked_at
        self._waited += waited
        self._spent = dataclasses.replace(
            self._spent,
            tokens=self._spent.tokens + tokens,
            seconds=self._spent.seconds + waited,
        )
        self.question, self._asked_at = [], None

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
        log = self._output[-self.program.limits.output_bytes :]
        return Ending(
            status=message["status"],
            ready=self._ready,
            killed=self.killed,
            log=log.decode("utf-8", "replace"),
            calls=tuple(self._calls),
            spent=self._spent,
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
