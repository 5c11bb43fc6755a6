"""The process that recipes are forked from: warm, single-threaded, without secrets.

It is executed anew with a clean environment, imports what recipes import, and then
does two things for the sandbox: it forks, and it tells how each child ended. It reads
neither scripts nor what they write, so no child inherits anything of another.
"""

import base64
import contextlib
import gc
import json
import os
import pathlib
import select
import signal
import socket
import sys
import time
from typing import Any

from sandbox import child
from sandbox import guard
from sandbox.aidp import warm

MESSAGE_BYTES = 4096
_MOST_FDS = 253  # that a message may carry


def main(control_fd: int, root: str, settings: str) -> None:
    """Serves the sandbox at the other end of `control_fd` until that closes.

    Args:
      control_fd: A sequenced-packet socket.
      root: The entry of `sys.path` that this package was found by; scripts must not
        find the rest of the repository by it.
      settings: JSON of the paths that scripts may read, `readable`, and write to,
        `slots`, of the `users` that they get, one for each slot or none at all, of
        whether this process is `apart`, see `guard.check`, of the `filters` of their
        system calls, in which `pid` stands for their process, and of the layers that
        are left out, `without`.
    """
    given = json.loads(settings)
    sys.path.remove(root)
    warm.prepare()
    landlock, without = guard.check(apart=given["apart"]), given["without"]
    for name, version in (("landlock", 0), ("landlock 2", 1)):
        landlock = min(landlock, version) if name in without else landlock
    filters = [
        guard.Filter(base64.b64decode(code), given["pid"])
        for code in given["filters"]
        if "seccomp" not in without
    ]
    # So that descriptors of jobs never have the numbers that a child gives them.
    while os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) < 9:
        pass
    control = socket.socket(fileno=control_fd)
    with contextlib.suppress(OSError):  # a container may show it read-only
        # Out of memory, the host ends a script before the trainer.
        pathlib.Path("/proc/self/oom_score_adj").write_text("1000")
    gc.collect()
    gc.freeze()  # or else each child copies the whole heap in its first collection
    warmth = child.Warmth(
        filters=filters,
        landlock=landlock,
        limited="limits" not in without,
        bytes=guard.address_space(),
    )
    slots = [os.open(slot, os.O_RDONLY | os.O_DIRECTORY) for slot in given["slots"]]
    guard.forbid_privileges()
    if landlock:
        guard.confine_zygote(landlock, given["readable"], given["slots"])
    hello = {"landlock": landlock, "seen": _seen()}
    socket.send_fds(control, [json.dumps(hello).encode()], slots)
    for slot in slots:
        os.close(slot)
    _Zygote(control, warmth, given["users"]).serve()


def _seen() -> dict[str, Any]:
    """Returns what tells which namespaces this process is in."""
    return {"pid": os.getpid(), "networks": [name for _, name in socket.if_nameindex()]}


class _Zygote:
    """Forks, kills and reaps on request."""

    def __init__(
        self, control: socket.socket, warmth: child.Warmth, users: list[int]
    ) -> None:
        self._control, self._warmth, self._users = control, warmth, users
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
        data, fds, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, _MOST_FDS)
        if not data:
            return False
        message = json.loads(data)
        number = message["number"]
        if message["do"] == "kill":
            if number in self._pids:
                os.kill(self._pids[number], message["signal"])
            return True
        self._fork(number, message["slot"], fds)
        for fd in fds:
            os.close(fd)
        return True

    def _fork(self, number: int, slot: int, fds: list[int]) -> None:
        parent = os.getpid()
        started = time.monotonic()
        try:
            pid = os.fork()
        except OSError as error:  # the host is out of processes or memory
            self._send({"failed": number, "reason": str(error)})
            return
        if pid == 0:
            user = self._users[slot] if self._users else None
            child.main(fds, parent=parent, warmth=self._warmth, user=user)
        self._pids[number] = pid
        self._numbers[pid] = number
        self._started[pid] = started
        told = {"forked": number, "pid": pid, "time": started}
        try:
            handle = os.pidfd_open(pid)
        except OSError:  # gVisor has none
            self._send(told)
            return
        socket.send_fds(self._control, [json.dumps(told).encode()], [handle])
        os.close(handle)

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
