"""A recipe's own process, from the fork to its last instruction.

What it says about itself is believed only to its disadvantage: an exit code can make
a failure out of a success, not the other way round.
"""

import atexit
from collections.abc import Sequence
import contextlib
import errno
import gc
import json
import linecache
import os
import pathlib
import signal
import sys
import threading
import traceback
import types
from typing import Any, NoReturn

from sandbox import channel
from sandbox import guard
from sandbox import program
from sandbox import syscalls
from sandbox.aidp import session
from sandbox.aidp import warm

_ERRNO_CODES = {
    errno.ENOMEM: program.MEMORY_ERROR,
    errno.EFBIG: program.DISK_ERROR,
    errno.ENOSPC: program.DISK_ERROR,
    errno.EDQUOT: program.DISK_ERROR,
    errno.EPERM: program.FORBIDDEN,
    errno.EACCES: program.FORBIDDEN,
}

_CHANNEL = 3  # where the descriptor of the channel lies, after stdin, stdout, stderr


def main(
    fds: Sequence[int],
    *,
    parent: int,
    filters: Sequence[syscalls.Filter],
    readable: Sequence[str],
) -> NoReturn:
    """Runs the script of a job and ends the process; never returns.

    Args:
      fds: Descriptors of the job (JSON), of its log and of its channel.
      parent: Id of the process that forked this one.
      filters: Compiled filters of system calls.
      readable: Trees that every script may read.
    """
    code = program.RUNTIME_ERROR
    try:
        job = _settle(fds)
        guard.limit_resources(job["limits"])
        guard.drop_privileges(parent)
        files = [source["path"] for source in job["sources"]]
        guard.confine_files(readable, files, job["directory"])
        pipe = channel.Pipe(_CHANNEL)
        _reset(job, pipe)
        guard.filter_calls(filters)
        pipe.send({"ready": True})
        code = _execute(job["script"], job["name"])
    except BaseException:  # a bug of ours: reported as it is, without "ready"
        traceback.print_exc()
    finally:
        os._exit(code)


def _settle(fds: Sequence[int]) -> dict[str, Any]:
    """Takes its place: session, signals, descriptors, directory. Returns the job."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(OSError):  # a container may show it read-only
        # Out of memory, the host ends a script before the trainer.
        pathlib.Path("/proc/self/oom_score_adj").write_text("1000")
    with open(fds[0], "rb") as file:
        file.seek(0)
        job = json.loads(file.read())
    with open("/dev/null", "rb") as null:
        os.dup2(null.fileno(), 0)
    # The zygote keeps 0 to 9 occupied, so none of these overwrites another.
    for target, fd in ((1, fds[1]), (2, fds[1]), (_CHANNEL, fds[2])):
        os.dup2(fd, target)
    os.closerange(_CHANNEL + 1, os.sysconf("SC_OPEN_MAX"))
    os.chdir(job["directory"])
    os.umask(0o077)
    return job


def _reset(job: dict[str, Any], pipe: channel.Pipe) -> None:
    """Makes the process the job's own: no trace of the zygote or of another run."""
    os.environ.clear()
    os.environ.update(HOME=job["directory"], TZ="UTC", LANG="C.UTF-8")
    atexit._clear()  # what libraries registered in the zygote
    warm.reset(seed=job["seed"], directory=pathlib.Path(job["directory"], "tmp"))
    for name in ("stdout", "stderr"):
        fd = 1 if name == "stdout" else 2
        stream = open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    session.start(
        session.Session(
            sources={s["id"]: session.Source(**s) for s in job["sources"]},
            row_cap=job["row_cap"],
            seed=job["seed"],
            send=pipe.send,
            receive=pipe.receive,
        )
    )


def _execute(script: str, name: str) -> int:
    """Runs the script as `__main__`. Returns the exit code."""
    # Tracebacks show the script's own lines.
    linecache.cache[name] = (len(script), None, script.splitlines(True), name)
    try:
        code = compile(script, name, "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        traceback.print_exception(error.with_traceback(None))
        return program.SYNTAX_ERROR
    module = types.ModuleType("__main__")
    module.__file__ = name
    sys.modules["__main__"] = module
    sys.argv = [name]
    try:
        exec(code, module.__dict__)
        result = 0
    except SystemExit as error:
        result = 0 if error.code in (None, 0) else program.RUNTIME_ERROR
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException as error:  # whatever a stranger's code raises
        result = _classify(error)
        _print_traceback(error, name)
    return _finish(module) or result


def _classify(error: BaseException) -> int:
    if isinstance(error, MemoryError):
        return program.MEMORY_ERROR
    number = error.errno if isinstance(error, OSError) else None
    return _ERRNO_CODES.get(number, program.RUNTIME_ERROR)


def _print_traceback(error: BaseException, name: str) -> None:
    """Prints the traceback from the script's first frame on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != name:
        trace = trace.tb_next
    try:
        traceback.print_exception(error.with_traceback(trace))
    except BaseException:  # a closed stderr, or no memory left
        pass


def _finish(module: types.ModuleType) -> int:
    """Ends the script as the interpreter would. Returns 0 or an exit code.

    Joins its threads, runs its exit handlers, closes the files it left open.
    """
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
        module.__dict__.clear()
        gc.collect()
    except BaseException as error:  # from a file's last write, for example
        return _classify(error)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # closed by the script
            pass
    return 0
