"""The process that recipes are forked from: warm, single-threaded, without secrets.

It is executed anew with a clean environment, imports what recipes import, and then
does two things for the sandbox: it forks, and it tells how each child ended. It reads
neither scripts nor what they write, so no child inherits anything of another.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from sandbox import child
from sandbox import guard
from sandbox import syscalls
from sandbox.aidp import warm

MESSAGE_BYTES = 4096
_FDS_PER_JOB = 3


def main(control_fd: int, root: str) -> None:
    """Serves the sandbox at the other end of `control_fd` until that closes.

    Args:
      control_fd: A sequenced-packet socket.
      root: The entry of `sys.path` that this package was found by; scripts must not
        find the rest of the repository by it.
    """
    sys.path.remove(root)
    warm.prepare()
    guard.check()
    filters = syscalls.compile_filters()
    readable = guard.readable_paths()
    # So that descriptors of jobs never have the numbers that a child gives them.
    while os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) < 9:
        pass
    control = socket.socket(fileno=control_fd)
    gc.collect()
    gc.freeze()  # or else each child copies the whole heap in its first collection
    _Zygote(control, filters, readable).serve()


class _Zygote:
    """Forks, kills and reaps on request."""

    def __init__(
        self,
        control: socket.socket,
        filters: list[syscalls.Filter],
        readable: list[str],
    ) -> None:
        self._control = control
        self._filters, self._readable = filters, readable
        self._pids: dict[int, int] = {}  # job number -> process
        self._started: dict[int, float] = {}  # process -> time of the fork
        self._numbers: dict[int, int] = {}
        self._wakeup = socket.socketpair()

    def serve(self) -> None:
        """Runs until the sandbox closes its end; then no child is left."""
        for end in self._wakeup:
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup[1].fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._send({"hello": os.getpid()})
        connected = True
        while connected:
            ready, _, _ = select.select([self._control, self._wakeup[0]], [], [])
            if self._wakeup[0] in ready:
                self._wakeup[0].recv(4096)
                self._reap()
            if self._control in ready:
                connected = self._obey()
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)

    def _send(self, message: dict[str, Any]) -> None:
        self._control.send(json.dumps(message).encode())

    def _obey(self) -> bool:
        """Carries out one message. Returns False if there will be no more."""
        data, fds, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, _FDS_PER_JOB)
        if not data:
            return False
        message = json.loads(data)
        number = message["number"]
        if message["do"] == "kill":
            if number in self._pids:
                os.kill(self._pids[number], signal.SIGKILL)
            return True
        self._fork(number, fds)
        for fd in fds:
            os.close(fd)
        return True

    def _fork(self, number: int, fds: list[int]) -> None:
        parent = os.getpid()
        started = time.monotonic()
        try:
            pid = os.fork()
        except OSError as error:  # the host is out of processes or memory
            self._send({"failed": number, "reason": str(error)})
            return
        if pid == 0:
            child.main(
                fds, parent=parent, filters=self._filters, readable=self._readable
            )
        self._pids[number] = pid
        self._numbers[pid] = number
        self._started[pid] = started
        self._send({"forked": number, "pid": pid, "time": started})

    def _reap(self) -> None:
        while self._pids:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            number = self._numbers.pop(pid)
            del self._pids[number]
            ending = {
                "ended": number,
                "status": status,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "wall_seconds": time.monotonic() - self._started.pop(pid),
                "peak_bytes": usage.ru_maxrss * 1024,
            }
            self._send(ending)
