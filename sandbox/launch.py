"""Starting the zygote, and what it is sent."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
from typing import Any

_ROOT = str(pathlib.Path(__file__).resolve().parents[1])
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[2]);"
    " from sandbox import zygote; zygote.main(int(sys.argv[1]), sys.argv[2])"
)
_START_SECONDS = 120.0  # a first import from a cold disk takes many
_MESSAGE_BYTES = 4096

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
    """The running zygote and the socket it is spoken to by."""

    def __init__(self) -> None:
        """Starts it and waits until it is ready.

        Raises:
          RuntimeError: If it cannot run here, with what is missing.
        """
        self._stderr = tempfile.TemporaryFile()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = dict(_ENVIRONMENT)
        if "LD_LIBRARY_PATH" in os.environ:  # some interpreters need it to start
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-s",
                    "-P",
                    "-c",
                    _BOOTSTRAP,
                    str(theirs.fileno()),
                    _ROOT,
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
            if not self.control.recv(_MESSAGE_BYTES):
                self._process.wait()
                raise RuntimeError(f"the sandbox cannot start:\n{self._last_words()}")
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

    def fork(self, number: int, job: dict[str, Any], log: int, channel: int) -> None:
        """Has it run a job in a child, which is then known by `number`.

        Args:
          number: The job's number, not used before.
          job: What the child reads: see `sandbox.child`.
          log: Descriptor for what the script prints.
          channel: Descriptor of a stream for frames.
        """
        spec = os.memfd_create("job", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(spec), "wb") as file:
                file.write(json.dumps(job).encode())
            self._send({"do": "fork", "number": number}, [spec, log, channel])
        finally:
            os.close(spec)

    def kill(self, number: int) -> None:
        """Has it kill a child, unless that has ended by itself."""
        self._send({"do": "kill", "number": number}, [])

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
                data = self.control.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return found
            if not data:
                raise ConnectionError(f"the zygote died:\n{self._last_words()}")
            found.append(json.loads(data))

    def stop(self) -> None:
        """Ends it and with it all its children."""
        self.control.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the kernel then kills the children
            self._process.wait()
        self._stderr.close()
