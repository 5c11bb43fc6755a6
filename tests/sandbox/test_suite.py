"""The suite of attacks, against every layout that is to be had, with a look outside.

The best layout is in the default tests; the others, and what each layer is for, are
among the slow ones.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from sandbox.job import Job
from sandbox.job import SourceFile
from tests.sandbox import attacks
from tests.sandbox import small

# Far more than attacks need: where many run, each has a small part of a processor.
_LIMITS = dataclasses.replace(small.LIMITS, cpu_seconds=2.0, wall_seconds=10.0)
_ALONE = dataclasses.replace(_LIMITS, wall_seconds=4.0)
_ATTACKS = attacks.attacks(calls=os.uname().machine == "x86_64")


class _Outside:
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


def _run(sandbox, outside, chosen):
    jobs = [
        Job(
            processing=outside.script(attack),
            verification="",
            sources=(outside.source,),
            row_cap=0,
            seed=0,
        )
        for attack in chosen
    ]
    return sandbox.run(jobs)


def _failures(chosen, results):
    """Returns the attacks that did not end as they may."""
    found = {}
    for attack, result in zip(chosen, results, strict=True):
        late = result.wall_seconds > _LIMITS.wall_seconds + 5.0
        if result.kind not in attack.kinds or "LEAK" in result.log or late:
            found[attack.name] = f"{result.kind}: {result.log[-300:]}"
    return found


@contextlib.contextmanager
def _everything(folder, *layout, workers, limits=_LIMITS):
    with contextlib.ExitStack() as ending:
        outside = _Outside(folder, ending)
        if layout:
            ending.enter_context(small.only(*layout))
        made = small.started(limits=limits, workers=workers)
        yield ending.enter_context(made), outside


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Runs all attacks in the best layout, many at once: most of them wait."""
    with _everything(tmp_path_factory.mktemp("outside"), workers=8) as (
        sandbox,
        outside,
    ):
        results = _run(sandbox, outside, _ATTACKS)
        outside.check()
    return _failures(_ATTACKS, results)


def test_there_are_a_hundred_and_more():
    assert len({attack.name for attack in _ATTACKS}) == len(_ATTACKS) >= 100


@pytest.mark.parametrize("attack", _ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_ends_as_it_may_and_achieves_nothing(ended, attack):
    assert attack.name not in ended, ended[attack.name]


@pytest.mark.slow
@pytest.mark.parametrize("layout", small.available(), ids=str)
def test_one_attack_after_the_other_in_every_layout(tmp_path, layout):
    """What is outside is looked at after each."""
    try:
        made = _everything(tmp_path, layout, workers=1, limits=_ALONE)
        with made as (sandbox, outside):
            (supervisor,) = sandbox.supervisors
            status = pathlib.Path(f"/proc/{supervisor}/status")
            before = _resident(status)
            for attack in _ATTACKS:
                results = _run(sandbox, outside, [attack])
                assert not _failures([attack], results)
                outside.check()
                assert _resident(status) < before + 150 * 2**20, attack.name
    except RuntimeError as error:
        if layout.namespaces or not layout.own_users:
            raise
        pytest.skip(f"others may not read this interpreter: {error}")


def _resident(status: pathlib.Path) -> int:
    lines = status.read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS:")]
    return 1024 * int(line.split()[1])


def test_no_process_is_left(tmp_path):
    with _everything(tmp_path, workers=2) as (sandbox, outside):
        (supervisor,) = sandbox.supervisors
        before = small.descendants(supervisor)
        chosen = [a for a in _ATTACKS if "timeout" in a.kinds or "fork" in a.name]
        _run(sandbox, outside, chosen[:6])
        assert small.descendants(supervisor) == before


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["seccomp", "landlock"])
def test_without_a_layer_some_attack_achieves_something(tmp_path, layer):
    """Where no namespaces stand in for it."""
    layout = dataclasses.replace(small.PLAIN, without=(layer,))
    names = {
        "seccomp": {"fork", "TCP", "memory file", "mode of a source"},
        "landlock": {"a file", "accounts", "a file above"},
    }[layer]
    chosen = [attack for attack in _ATTACKS if attack.name in names]
    with contextlib.ExitStack() as ending:
        outside = _Outside(tmp_path, ending)
        ending.enter_context(small.only(layout))
        sandbox = ending.enter_context(small.started(limits=_LIMITS))
        failures = _failures(chosen, _run(sandbox, outside, chosen))
        changed = False
        try:
            outside.check()
        except (AssertionError, pytest.fail.Exception):
            changed = True
    assert failures or changed, layer
