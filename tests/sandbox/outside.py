"""Attacks under way, and what is outside, which none of them may reach."""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any

import pytest

from sandbox import layout
from sandbox.job import Job
from sandbox.job import SourceFile
from sandbox.pool import Sandbox
from tests.sandbox import attacks
from tests.sandbox import small

# Far more than attacks need: where many run, each has a small part of a processor.
LIMITS = dataclasses.replace(small.LIMITS, cpu_seconds=2.0, wall_seconds=10.0)
ALONE = dataclasses.replace(LIMITS, wall_seconds=4.0)
ATTACKS = attacks.attacks(calls=os.uname().machine == "x86_64")


class Outside:
    """What no attack may reach: files, listeners and a process.

    Attributes:
      source: Which recipes may read.
    """

    def __init__(self, folder: pathlib.Path, ending: contextlib.ExitStack) -> None:
        self._folder = folder
        self._secret = folder / "secret"
        self._secret.write_text("LEAK")
        path = folder / "source.jsonl"
        path.write_text(json.dumps({"q": "x"}) + "\n")
        self.source = SourceFile(
            id="o/d", path=path, format="jsonl", records="", split="train", name="d"
        )
        places = {
            "TCP": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "UDP": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "NAMED": (socket.AF_UNIX, socket.SOCK_DGRAM, str(folder / "socket")),
            "ABSTRACT": (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{folder}"),
        }
        self._sockets = {}
        for name, (family, kind, address) in places.items():
            one = ending.enter_context(socket.socket(family, kind))
            one.bind(address)
            one.setblocking(False)
            if kind == socket.SOCK_STREAM:
                one.listen()
            self._sockets[name] = one
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        self._victim = ending.enter_context(subprocess.Popen(sleeper))
        ending.callback(self._victim.kill)
        self._before = self._state()

    def script(self, attack: attacks.Attack) -> str:
        """Returns an attack's script with the names of what is here."""
        ports = {name: self._sockets[name].getsockname()[1] for name in ("TCP", "UDP")}
        names = {"NAMED": str(self._folder / "socket"), "ABSTRACT": f"\0{self._folder}"}
        names |= {"SECRET": str(self._secret), "SOURCE": str(self.source.path)}
        script = attack.script.replace("VICTIM", str(self._victim.pid))
        for name, value in {**ports, **names}.items():
            script = script.replace(name, repr(value))
        return script

    def _state(self):
        """Returns what all files are, and what they hold."""
        found = {}
        for path in sorted(self._folder.iterdir()):
            status = path.stat()
            content = path.read_bytes() if path.is_file() else b""
            digest = hashlib.sha256(content).hexdigest()
            found[path.name] = (status.st_mode, status.st_mtime_ns, digest)
        return found

    def check(self) -> None:
        """Makes sure that nothing has changed and nobody was heard."""
        assert self._state() == self._before
        for name, one in self._sockets.items():
            with pytest.raises(BlockingIOError):
                one.accept() if one.type == socket.SOCK_STREAM else one.recv(1)
            assert name
        assert self._victim.poll() is None

    def withstand(
        self, sandbox: Sandbox, chosen: Sequence[attacks.Attack]
    ) -> dict[str, str]:
        """Runs attacks. Returns those that did not end as they may, and how."""
        jobs = [
            Job(
                processing=self.script(attack),
                verification="",
                sources=(self.source,),
                row_cap=0,
                seed=0,
            )
            for attack in chosen
        ]
        found = {}
        for attack, result in zip(chosen, sandbox.run(jobs), strict=True):
            late = result.wall_seconds > LIMITS.wall_seconds + 5.0
            if result.kind not in attack.kinds or "LEAK" in result.log or late:
                found[attack.name] = f"{result.kind}: {result.log[-300:]}"
        return found


@contextlib.contextmanager
def started(
    folder: pathlib.Path, *layouts: layout.Layout, **fields: Any
) -> Iterator[tuple[Sandbox, Outside]]:
    """Starts a sandbox, with these fields and in one of these layouts if any.

    Yields it and what must be untouched.
    """
    with contextlib.ExitStack() as ending:
        around = Outside(folder, ending)
        if layouts:
            ending.enter_context(small.only(*layouts))
        made = small.started(**{"limits": LIMITS} | fields)
        yield ending.enter_context(made), around
