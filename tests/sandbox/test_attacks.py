"""Attacks, one property each: how they end, and that they achieve nothing."""

import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from sandbox import pool
from tests.sandbox import small

_TRY = """
import os, socket, ctypes, subprocess, threading, time
def attempt(action):
    try:
        action()
    except OSError as error:
        return print("refused", type(error).__name__)
    print("done")
"""


_ENDINGS = [
    ("while True: pass", "timeout"),
    ("while True:\n try:\n  while True: pass\n except BaseException: pass", "timeout"),
    (
        "import signal\nfor s in (24, 15, 2): signal.signal(s, signal.SIG_IGN)\n"
        "while True: pass",
        "timeout",
    ),
    ("7 ** 10 ** 9", "timeout"),
    ("import re\nre.match('(a*)*b', 'a' * 60)", "timeout"),
    ("import time\ntime.sleep(60)", "timeout"),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", "timeout"),
    (
        "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        "timeout",
    ),
    ("x = bytearray(2 ** 40)", "oom"),
    ("x = []\nwhile True: x.append(bytearray(2 ** 20))", "oom"),
    ("import numpy\nnumpy.ones(2 ** 33)", "oom"),
    ("import mmap\nmmap.mmap(-1, 2 ** 31)", "oom"),
    ("import os\nos.fork()", "forbidden"),
    ("import subprocess\nsubprocess.run(['true'])", "forbidden"),
    ("import os\nos.execv('/bin/true', ['true'])", "forbidden"),
    ("import multiprocessing\nmultiprocessing.Pool(2)", "forbidden"),
    ("import os\nos.setsid()", "forbidden"),
    ("import os\nos.memfd_create('x')", "forbidden"),
    ("import os\nos.kill(os.getppid(), 9)", "forbidden"),
    ("import os\nos.kill(-1, 9)", "forbidden"),
    ("import os\nos.killpg(0, 9)", "forbidden"),
    ("import os\nos.symlink('/etc', 'etc')", "forbidden"),
    ("import os\nos.mkfifo('data/processed/a.jsonl')", "forbidden"),
    ("open('data/x', 'wb').write(bytes(2 ** 23))", "disk"),
    (
        "import time\nfor i in range(9):\n"
        "  open(f'data/{i}', 'wb').write(bytes(2 ** 20))\n"
        "time.sleep(60)",
        "disk",
    ),
    (
        "import time\nfor i in range(1500): open(f'data/{i}', 'w').close()\n"
        "time.sleep(60)",
        "disk",
    ),
    (
        "import os\nfor i in range(300): os.mkdir('d'); os.chdir('d')\nwhile 1: pass",
        "disk",
    ),
    (
        "import threading, time\nthreading.stack_size(2 ** 16)\n"
        "for i in range(200): threading.Thread(target=time.sleep, args=(60,)).start()",
        "forbidden",
    ),
    ("def f(): f()\nf()", "runtime_error"),
    ("import ctypes\nctypes.string_at(0)", "crash"),
    ("import os\nos.abort()", "crash"),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "oom"),
    ("def", "syntax_error"),
    ("a = '\0'", "syntax_error"),
    ("(" * 5000, "syntax_error"),
    ("input()", "runtime_error"),
    ("import sys\nsys.exit(3)", "runtime_error"),
    ("import os\nos._exit(77)", "runtime_error"),
    ("import socket\nsocket.create_connection(('127.0.0.1', 80))", "forbidden"),
    ("import sys, os\nsys.stdout.close(); sys.stderr.close(); os.close(0)", "ok"),
    ("import os\nos.closerange(0, 99)", "ok"),
    ("import sys\nsys.exit(0)", "ok"),
    ("import os\nos._exit(0)", "ok"),
    ("import sys\nfor i in range(2 ** 8): sys.stdout.write('x' * 2 ** 16)", "ok"),
    ("import asyncio\nasyncio.run(asyncio.sleep(0.01))", "ok"),
    ("import threading\nt = threading.Thread(target=print)\nt.start(); t.join()", "ok"),
    ("import shutil\nopen('a', 'w').close(); shutil.copy2('a', 'b')", "ok"),
    ("import tempfile\ntempfile.TemporaryFile().write(b'x')", "ok"),
    ("import pandas\npandas.DataFrame({'a': [1]}).to_parquet('a.parquet')", "ok"),
    ("import sqlite3, zoneinfo\nzoneinfo.ZoneInfo('Europe/Berlin')", "ok"),
]


@pytest.fixture(scope="module")
def endings(tmp_path_factory):
    """Runs all scripts of `_ENDINGS`, many at once: most of them wait."""
    limits = dataclasses.replace(small.LIMITS, wall_seconds=8.0)
    jobs = [
        pool.Job(
            processing=script,
            verification="",
            sources=(),
            row_cap=0,
            seed=0,
            directory=tmp_path_factory.mktemp("ending") / "job",
        )
        for script, _ in _ENDINGS
    ]
    with pool.Sandbox(limits=limits, workers=6, answer=small.Model()) as sandbox:
        return sandbox.run(jobs)


@pytest.mark.parametrize("index", range(len(_ENDINGS)))
def test_every_ending_is_classified_in_time(endings, index):
    result = endings[index]
    assert result.kind == _ENDINGS[index][1], _ENDINGS[index][0] + result.log
    assert result.wall_seconds < 9.0


@pytest.mark.parametrize(
    "action",
    [
        "socket.socket",
        "lambda: socket.socket(socket.AF_UNIX)",
        "lambda: socket.socket(40, socket.SOCK_STREAM)",  # AF_VSOCK
        "lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "lambda: open({secret!r}).read()",
        "lambda: open('/etc/passwd').read()",
        "lambda: open('/proc/self/environ').read()",
        "lambda: open(f'/proc/{{os.getppid()}}/mem', 'rb')",
        "lambda: os.listdir('/')",
        "lambda: os.listdir('..')",
        "lambda: open({secret!r}, 'a')",
        "lambda: open({secret!r} + '2', 'w')",
        "lambda: open('../x', 'w')",
        "lambda: os.unlink({source!r})",
        "lambda: os.rename({source!r}, 'x')",
        "lambda: open({source!r}, 'a')",
        "lambda: os.open({source!r}, os.O_RDONLY | os.O_TRUNC)",
        "lambda: os.truncate({source!r}, 0)",
        "lambda: os.link({source!r}, 'x')",
        "lambda: open('/dev/shm/x', 'w')",
        "lambda: open('/dev/kmsg', 'w')",
        "lambda: os.sched_setaffinity(0, {{0}})",
        "lambda: os.setuid(65534)",
        "lambda: os.chroot('.')",
        "lambda: os.pidfd_open(os.getppid())",
    ],
)
def test_what_is_outside_is_out_of_reach(run, source, tmp_path, action):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    before = source.path.read_bytes()
    paths = {"secret": str(secret), "source": str(source.path)}
    result = run(f"{_TRY}\nattempt({action.format(**paths)})")
    assert result.log.startswith("refused"), result.log
    assert source.path.read_bytes() == before and secret.read_text() == "secret"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "job",
        "numbers.jsonl",
        "secret",
    ]


@pytest.mark.parametrize(
    "number", [425, 250, 321, 323, 101, 272, 165, 434, 424, 310, 317, 169, 29, 64, 435]
)
def test_system_calls_beyond_those_needed_fail(run, number):
    # io_uring_setup, keyctl, bpf, userfaultfd, ptrace, unshare, mount, pidfd_open,
    # pidfd_send_signal, process_vm_readv, seccomp, reboot, shmget, semget, clone3
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86-64")
    result = run(
        f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"print(libc.syscall({number}, 0, 0, 0, 0, 0), ctypes.get_errno())"
    )
    assert result.log in ("-1 1\n", "-1 38\n"), result.log


def test_modes_and_times_of_sources_stay(run, source):
    before = source.path.stat()
    result = run(
        f"import os\nos.chmod({str(source.path)!r}, 0)\nos.utime({str(source.path)!r})"
    )
    after = source.path.stat()
    assert result.kind == "ok"  # claimed to be done, so that copies of files work
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)


def test_the_environment_is_empty(run, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    log = run("import os\nprint(sorted(os.environ), os.path.basename(os.getcwd()))").log
    assert log == "['HOME', 'LANG', 'TZ'] job\n"


def test_the_repository_cannot_be_imported(run):
    assert "ModuleNotFoundError" in run("import datachef_jax").log


def test_no_descriptors_are_inherited_but_the_channel(run):
    log = run(
        "import os\nopen_fds = []\nfor fd in range(256):\n"
        "  try: os.fstat(fd); open_fds.append(fd)\n  except OSError: pass\n"
        "print(open_fds)"
    ).log
    assert log == "[0, 1, 2, 3]\n"


def test_listeners_on_this_machine_hear_nothing(run, tmp_path):
    with (
        socket.socket() as tcp,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix,
    ):
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        tcp.setblocking(False)
        unix.bind(str(tmp_path / "socket"))
        unix.setblocking(False)
        address = tcp.getsockname()
        run(
            f"{_TRY}\na, b = socket.socketpair()\n"
            f"attempt(lambda: a.sendto(b'x', {str(tmp_path / 'socket')!r}))\n"
            f"attempt(lambda: socket.create_connection({address}))"
        )
        with pytest.raises(BlockingIOError):
            tcp.accept()
        with pytest.raises(BlockingIOError):
            unix.recv(1)


def test_a_failure_shows_the_end_of_a_long_output(run):
    result = run("for i in range(10 ** 4): print(i)\nraise ValueError('here')")
    assert len(result.log) <= 4096 and result.log.endswith("ValueError: here\n")


def test_tracebacks_show_the_recipes_own_line(run):
    log = run("x = 1\ndef f(row):\n    return row['a']\nf({})  # this line").log
    assert 'File "processing.py", line 4' in log and "f({})  # this line" in log
    assert "child.py" not in log


def test_files_left_open_are_written(run, tmp_path):
    assert run("f = open('data/processed/a.jsonl', 'w')\nf.write('{}')").kind == "ok"
    assert (tmp_path / "job/data/processed/a.jsonl").read_text() == "{}"


def test_a_flood_of_frames_is_cut_off(run):
    script = "import os\nfor i in range(10 ** 5): os.write(3, b'\\0\\0\\0\\2{}')"
    assert run(script).kind == "runtime_error"
    assert run("import os\nos.write(3, b'\\xff' * 9)").kind == "ok"


def test_children_do_not_survive_the_trainer(tmp_path):
    """Killed with -9, it leaves neither zygote nor script."""
    directory = str(tmp_path / "job")
    program = f"""
import pathlib, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parents[2])!r})
from sandbox import pool
limits = pool.Limits(cpu_seconds=60.0, wall_seconds=60.0, memory_bytes=2**29,
    processes=32, file_bytes=2**22, output_bytes=4096, dataset_bytes=2**23, llm_calls=0)
with pool.Sandbox(limits=limits, workers=1, answer=list) as sandbox:
    print(sandbox._zygote.pid, flush=True)
    sandbox.run([pool.Job(processing="import time; time.sleep(60)", verification="",
        sources=(), row_cap=0, seed=0, directory=pathlib.Path({directory!r}))])
"""
    trainer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    zygote = int(trainer.stdout.readline())
    children = pathlib.Path(f"/proc/{zygote}/task/{zygote}/children")
    deadline = time.monotonic() + 20
    while not (pids := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.05)
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    left = [pathlib.Path(f"/proc/{pid}") for pid in (zygote, *pids)]
    while any(map(_alive, left)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert pids and not any(map(_alive, left))


def _alive(process):
    try:
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
