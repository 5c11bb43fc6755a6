"""What scripts find and leave, and what is left of them; attacks: `test_suite.py`."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.sandbox import small
from tests.sandbox.attacks import FINE as _FINE

_HONEST = [
    ("import sys\nsys.exit(0)", _FINE),
    ("import sys\nsys.exit(3)", "runtime_error"),
    ("import os\nos._exit(77)", "runtime_error"),
    ("import asyncio\nasyncio.run(asyncio.sleep(0.01))", _FINE),
    (
        "import threading\nt = threading.Thread(target=print)\nt.start(); t.join()",
        _FINE,
    ),
    ("import shutil\nopen('a', 'w').close(); shutil.copy2('a', 'b')", _FINE),
    ("import tempfile\ntempfile.TemporaryFile().write(b'x')", _FINE),
    ("import pandas\npandas.DataFrame({'a': [1]}).to_parquet('a.parquet')", _FINE),
    ("import sqlite3, zoneinfo\nzoneinfo.ZoneInfo('Europe/Berlin')", _FINE),
]


@pytest.mark.parametrize(("script", "kind"), _HONEST)
def test_what_honest_scripts_do_is_possible(run, script, kind):
    result = run(script)
    assert result.kind == kind, result.log


def test_the_environment_is_empty(run, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    log = run("import os\nprint(sorted(os.environ))").log
    assert log.startswith("['HOME', 'LANG', 'TZ']\n")


def test_the_repository_cannot_be_imported(run):
    assert "ModuleNotFoundError" in run("import datachef_jax").log


def test_no_descriptors_are_inherited_but_the_channel(run):
    log = run(
        "import os\nopen_fds = []\nfor fd in range(256):\n"
        "  try: os.fstat(fd); open_fds.append(fd)\n  except OSError: pass\n"
        "print(open_fds)"
    ).log
    assert log.startswith("[0, 1, 2, 3, 4]\n")  # and its source


def test_a_failure_shows_the_end_of_a_long_output(run):
    result = run("for i in range(10 ** 4): print(i)\nraise ValueError('here')")
    assert len(result.log) <= 4096 and result.log.endswith("ValueError: here\n")


def test_tracebacks_show_the_recipes_own_line(run):
    log = run("x = 1\ndef f(row):\n    return row['a']\nf({})  # this line").log
    assert 'File "processing.py", line 4' in log and "f({})  # this line" in log
    assert "child.py" not in log


def test_files_left_open_are_written(run):
    result = run("f = open('data/processed/a.jsonl', 'w')\nf.write('{}')")
    assert result.kind == "ok" and result.output.malformed == 1


def test_a_flood_of_frames_is_cut_off(run):
    script = "import os\nfor i in range(10 ** 5): os.write(3, b'\\0\\0\\0\\2{}')"
    assert run(script).kind == "runtime_error"
    assert run(f"import os\nos.write(3, b'\\xff' * 9)\n{small.WRITE}").kind == "ok"


@pytest.mark.parametrize("killed", ["trainer", "supervisor", "zygote"])
@pytest.mark.parametrize("layout", [small.available()[0], small.PLAIN], ids=str)
def test_nothing_survives_a_kill_and_the_next_start_sweeps_the_rest(
    tmp_path, killed, layout
):
    """Killed with -9, none leaves a process, a lock, or after that a directory."""
    program = f"""
import pathlib, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parents[2])!r})
from sandbox.job import Job
from sandbox.layout import Layout
from tests.sandbox import small
import dataclasses
limits = dataclasses.replace(small.LIMITS, wall_seconds=60.0)
made = small.started(limits=limits, scratch=pathlib.Path({str(tmp_path)!r}))
with small.only({layout!r}), made as sandbox:
    print(*sandbox.supervisors, flush=True)
    sandbox.run([Job(processing="import time; time.sleep(60)", verification="",
        sources=(), row_cap=0, seed=0)])
"""
    trainer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    supervisor = int(trainer.stdout.readline())
    deadline = time.monotonic() + 30
    found = []  # supervisor, zygote and script, and what is between them
    while not found or found != small.descendants(trainer.pid):
        found = small.descendants(trainer.pid)
        time.sleep(1.0)
    assert len(found) >= 3
    if killed == "zygote":  # a new one runs the script again
        zygote = next(pid for pid in found if _is_zygote(pid))
        gone = [zygote, *small.descendants(zygote)]
        assert len(gone) == 2
        os.kill(zygote, signal.SIGKILL)
        _wait_for_the_end(gone, deadline)
        assert trainer.poll() is None
        found += small.descendants(trainer.pid)
    elif killed == "supervisor":
        os.kill(supervisor, signal.SIGKILL)
    if killed != "trainer":
        trainer.terminate()
    else:
        trainer.kill()
    trainer.wait()
    _wait_for_the_end(found, deadline)
    with small.only(layout), small.started(scratch=tmp_path):
        assert len(list(tmp_path.iterdir())) == (0 if layout.namespaces else 1)
    assert list(tmp_path.iterdir()) == []


def _is_zygote(pid):
    """Says whether this is the process that scripts are forked from."""
    asked = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    return b"zygote.main" in asked and program != "bwrap"


def _wait_for_the_end(pids, deadline):
    left = [pathlib.Path(f"/proc/{pid}") for pid in pids]
    while any(map(_alive, left)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_alive, left))


def _alive(process):
    try:
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
