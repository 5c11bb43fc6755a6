"""Starting the zygote, and what it is sent."""

from collections.abc import Sequence
import base64
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Any

from sandbox import syscalls
from sandbox.layout import Layout
from sandbox.layout import wrap

_ROOT = str(pathlib.Path(__file__).resolve().parents[1])
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[2]);"
    " from sandbox import zygote; zygote.main(int(sys.argv[1]), *sys.argv[2:])"
)
_START_SECONDS = 120.0  # a first import from a cold disk takes many
_MESSAGE_BYTES = 4096
MOST_FILES = 200  # of the 253 descriptors that a message may carry

# One thread, no caches, no network, and the same order of sets in every run.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "USE_TORCH": "0",
    "USE_TF": "0",
    "USE_JAX": "0",
}


class Zygote:
    """The running zygote and the socket it is spoken to by.

    Attributes:
      lost: The guarantees that it does not hold.
      slots: Descriptors of the directories that its scripts write to.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        readable: Sequence[str],
        startable: Sequence[str],
        slots: Sequence[str],
        slot_bytes: int,
        users: Sequence[int],
    ) -> None:
        """Starts it and waits until it is ready.

        Args:
          layout: By what it is isolated.
          readable: What scripts may read.
          startable: That, and what it needs itself.
          slots: Paths of the directories that scripts write to; in namespaces of its
            own they are made there.
          slot_bytes: What each of those may hold then.
          users: The user id of each slot, if they have one.

        Raises:
          RuntimeError: If it cannot run here, with what is missing.
        """
        settings = {
            "readable": list(readable),
            "slots": list(slots),
            "users": list(users),
            "apart": layout.namespaces or bool(layout.outer),
            "without": list(layout.without),
            "filters": [
                base64.b64encode(code).decode() for code in syscalls.compile_filters()
            ],
            "pid": syscalls.PID,
        }
        self.slots: list[int] = []
        self._stderr = tempfile.TemporaryFile()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = _ENVIRONMENT | {"TMPDIR": slots[0]}  # only while it starts
        if "LD_LIBRARY_PATH" in os.environ:  # some interpreters need it to start
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        with theirs:
            self._process = subprocess.Popen(
                [
                    *wrap(
                        layout, readable=startable, slots=slots, slot_bytes=slot_bytes
                    ),
                    *(sys.executable, "-s", "-P", "-c", _BOOTSTRAP),
                    *(str(theirs.fileno()), _ROOT, json.dumps(settings)),
                ],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the trainer, which ends it
            )
        self.control.settimeout(_START_SECONDS)
        try:
            hello, self.slots, _, _ = socket.recv_fds(
                self.control, _MESSAGE_BYTES, len(slots)
            )
            if not hello:
                self._process.wait()
                raise RuntimeError(f"the sandbox cannot start:\n{self._last_words()}")
            self.lost = _lost(layout, json.loads(hello))
        except TimeoutError as error:
            self._process.kill()
            self.stop()
            raise RuntimeError(
                f"the sandbox did not start within {_START_SECONDS:.0f} s"
            ) from error
        except BaseException:
            self.stop()
            raise
        self.control.setblocking(False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _last_words(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read()[-4000:].decode("utf-8", "replace")

    def fork(
        self,
        number: int,
        slot: int,
        job: dict[str, Any],
        fds: Sequence[int],
        files: Sequence[str],
    ) -> None:
        """Has it run a job in a child, which is then known by `number`.

        Args:
          number: The job's number, not used before.
          slot: Which one it has.
          job: What the child reads: see `sandbox.child`.
          fds: Descriptors for what the script prints, and of a stream for frames.
          files: What the child may read: it gets them open, and never their paths.

        Raises:
          OSError: If a file cannot be opened, or there are too many.
          ConnectionError: If the zygote is dead.
        """
        with contextlib.ExitStack() as opened:

            def keep(fd: int) -> int:
                opened.callback(os.close, fd)
                return fd

            spec = keep(os.memfd_create("job", os.MFD_CLOEXEC))
            with os.fdopen(os.dup(spec), "wb") as file:
                file.write(json.dumps(job).encode())
            if len(files) > MOST_FILES:
                raise OSError(f"{len(files)} sources, at most {MOST_FILES}")
            given = [keep(os.open(file, os.O_RDONLY | os.O_CLOEXEC)) for file in files]
            message = {"do": "fork", "number": number, "slot": slot}
            self._send(message, [spec, *fds, *given])

    def kill(self, number: int, how: signal.Signals) -> None:
        """Has it send a child a signal, unless that has ended by itself."""
        self._send({"do": "kill", "number": number, "signal": int(how)}, [])

    def _send(self, message: dict[str, Any], fds: list[int]) -> None:
        """Sends a message, waiting for room. Raises ConnectionError if it is dead."""
        self.control.setblocking(True)
        try:
            socket.send_fds(self.control, [json.dumps(message).encode()], fds)
        finally:
            self.control.setblocking(False)

    def messages(self) -> list[dict[str, Any]]:
        """Returns what it has said since.

        Raises:
          ConnectionError: If it has died.
        """
        found = []
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.control, _MESSAGE_BYTES, 1)
            except BlockingIOError:
                return found
            if not data:
                raise ConnectionError(f"the zygote died:\n{self._last_words()}")
            message = json.loads(data)
            for fd in fds:  # a process that may be known by another number there
                message["pid"] = _process(fd)
                os.close(fd)
            found.append(message)

    def stop(self) -> None:
        """Ends it and with it all its children."""
        self.control.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the kernel then kills the children
            self._process.wait()
        self._stderr.close()
        for slot in self.slots:
            os.close(slot)
        self.slots = []


def _process(fd: int) -> int:
    """Returns the number that a pidfd's process has here, 0 if it has ended."""
    for line in pathlib.Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return max(0, int(line.split()[1]))
    return 0


def _lost(layout: Layout, hello: dict[str, Any]) -> tuple[str, ...]:
    """Returns which guarantees a zygote that has said hello does not hold.

    Raises:
      RuntimeError: If the namespaces that it should have are not there.
    """
    seen = hello["seen"]
    if layout.namespaces and (seen["pid"] > 9 or seen["networks"] != ["lo"]):
        raise RuntimeError(
            f"the sandbox does not hold here: its zygote has seen {seen}"
        )
    return layout.lost if hello["landlock"] else ("landlock", *layout.lost)
