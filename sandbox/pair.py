"""A supervisor process and the zygote behind it, as the trainer sees them."""

from collections.abc import Callable
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
from typing import Any

from sandbox import channel

_ROOT = str(pathlib.Path(__file__).resolve().parents[1])
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[3]); from sandbox import supervisor;"
    " supervisor.main(int(sys.argv[1]), sys.argv[2])"
)
_START_SECONDS = 150.0  # a first import from a cold disk takes many
_PIECE_BYTES = 2**20
_MOST_BYTES = 2**31  # of a frame: all rows that a recipe has left


class Pair:
    """One supervisor process; it ends with the trainer, or when it is stopped.

    Attributes:
      zygote: The process id of its first zygote.
      lost: The guarantees that it does not hold.
      workers: How many scripts it runs at once.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        heard: Callable[[channel.Frame], None],
        died: Callable[[str], None],
    ) -> None:
        """Starts it and waits until it is ready.

        Args:
          settings: See `supervisor.main`.
          heard: Called with each frame, in a thread of its own.
          died: Called there with what it said last, if it ends unasked.

        Raises:
          RuntimeError: If it cannot run here, with what is missing.
        """
        self.workers: int = settings["workers"]
        self._words = tempfile.TemporaryFile()
        self._stream, theirs = socket.socketpair()
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        if "LD_LIBRARY_PATH" in os.environ:  # some interpreters need it to start
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        flags = ["-s", "-P", "-c", _BOOTSTRAP]
        given = [str(theirs.fileno()), json.dumps(settings), _ROOT]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *flags, *given],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the trainer, which ends it
            )
        self._inbox, self._sending = channel.Inbox(_MOST_BYTES), threading.Lock()
        self._heard, self._died, self._stopped = heard, died, False
        hello = self._wait()
        self.zygote: int = hello["hello"]
        self.lost: tuple[str, ...] = tuple(hello["lost"])
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def send(self, frame: channel.Frame) -> None:
        """Sends a frame; does nothing if it is dead, which it will tell."""
        try:
            with self._sending:
                self._stream.sendall(channel.encode(frame))
        except OSError:
            pass

    def stop(self) -> None:
        """Ends it, and with it its zygote and all scripts."""
        self._stopped = True
        try:
            self._stream.shutdown(socket.SHUT_RDWR)
        except OSError:  # it has ended before
            pass
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._stream.close()
        self._words.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _wait(self) -> channel.Frame:
        """Returns what it says first, once its zygote is there."""
        self._stream.settimeout(_START_SECONDS)
        try:
            while piece := self._stream.recv(_PIECE_BYTES):
                for frame in self._inbox.feed(piece):
                    self._stream.settimeout(None)
                    return frame
        except TimeoutError as error:
            self._process.kill()
            raise RuntimeError(
                f"the sandbox did not start within {_START_SECONDS:.0f} s"
            ) from error
        except ConnectionError:
            pass
        self._process.wait()
        raise RuntimeError(f"the sandbox cannot start:\n{self._last_words()}")

    def _listen(self) -> None:
        try:
            while piece := self._stream.recv(_PIECE_BYTES):
                for frame in self._inbox.feed(piece):
                    self._heard(frame)
        except OSError:
            pass
        if not self._stopped:
            self._process.wait()
            self._died(self._last_words())

    def _last_words(self) -> str:
        self._words.seek(0)
        return self._words.read()[-4000:].decode("utf-8", "replace").strip()
