"""Frames between recipe, supervisor and trainer: a length, then JSON."""

from collections.abc import Iterator
import json
import os
import struct
from typing import Any

Frame = dict[str, Any]

MAX_BYTES = 2**20
_LENGTH = struct.Struct("!I")


def encode(frame: Frame) -> bytes:
    """Returns a frame as it travels."""
    body = json.dumps(frame, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


class Inbox:
    """Puts frames together from the pieces that a hostile sender's stream comes in."""

    def __init__(self, most_bytes: int = MAX_BYTES) -> None:
        """Has nothing yet; longer frames are refused."""
        self._most_bytes = most_bytes
        self._bytes = bytearray()

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Yields the frames that `piece` completes, those before a bad one included.

        Raises:
          ValueError: If a frame is too long or no JSON object.
        """
        self._bytes += piece
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            if length > self._most_bytes:
                most = self._most_bytes
                raise ValueError(f"a frame of {length} bytes, at most {most}")
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                return
            frame = bytes(self._bytes[_LENGTH.size : end])
            del self._bytes[:end]
            yield _decode(frame)


def _decode(body: bytes) -> Frame:
    try:
        frame = json.loads(body)
    except RecursionError as error:
        raise ValueError("a frame is nested too deep") from error
    if not isinstance(frame, dict):
        raise ValueError(f"a frame must be a JSON object, got {type(frame).__name__}")
    return frame


class Pipe:
    """The end of a recipe's process: one descriptor, blocking."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send(self, frame: Frame) -> None:
        """Sends a frame.

        Raises:
          ValueError: If it is longer than the sandbox takes.
        """
        data = encode(frame)
        if len(data) > MAX_BYTES:
            raise ValueError(f"too much text in one request: {len(data)} bytes")
        while data:
            data = data[os.write(self._fd, data) :]

    def receive(self) -> Frame:
        """Waits for a frame. Answers may be longer than what is taken."""
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return json.loads(self._read(length))

    def _read(self, count: int) -> bytes:
        pieces = []
        while count:
            piece = os.read(self._fd, min(count, MAX_BYTES))
            if not piece:
                raise ConnectionError("the sandbox closed the channel")
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)
