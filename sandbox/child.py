"""A recipe's own process, from the fork to its last instruction.

What it says about itself is believed only to its disadvantage: an exit code can make
a failure out of a success, not the other way round.
"""

import atexit
from collections.abc import Sequence
import dataclasses
import errno
import faulthandler
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
from sandbox.aidp import hints
from sandbox.aidp import session
from sandbox.aidp import warm

_ERRNO_CODES = {
    errno.ENOMEM: program.MEMORY_ERROR,
    errno.EFBIG: program.DISK_ERROR,
    errno.ENOSPC: program.DISK_ERROR,
    errno.EDQUOT: program.DISK_ERROR,
    errno.EPERM: program.FORBIDDEN,
    errno.EACCES: program.FORBIDDEN,
    errno.EROFS: program.FORBIDDEN,
}

_RESERVE_BYTES = 2**21  # of memory, for the traceback of a script that has used it up
_CHANNEL = 3  # after stdin, stdout, stderr; sources come next


@dataclasses.dataclass(frozen=True, kw_only=True)
class Warmth:
    """What the zygote has ready for all scripts.

    Attributes:
      filters: Of system calls, in the order in which they are installed.
      landlock: Version of it, 0 for none.
      limited: Whether the kernel limits what a script uses.
      bytes: Address space that a script begins with.
    """

    filters: Sequence[guard.Filter]
    landlock: int
    limited: bool
    bytes: int


def main(
    fds: Sequence[int], *, parent: int, warmth: Warmth, user: int | None
) -> NoReturn:
    """Runs the script of a job and ends the process; never returns.

    Args:
      fds: Descriptors of the job (JSON), of its log, of its channel and of each of its
        sources, in ascending order.
      parent: Id of the process that forked this one.
      warmth: See there.
      user: The id that it takes; None to keep that of the zygote.
    """
    code = program.RUNTIME_ERROR
    try:
        job = _settle(fds)
        if warmth.limited:
            guard.limit_resources(
                job["limits"],
                files=len(fds),
                warm_bytes=warmth.bytes,
                own_user=user is not None,
            )
        if user is not None:
            guard.become(user)
        guard.drop_privileges(parent)
        os.chdir(job["directory"])
        if warmth.landlock:
            guard.confine_script(warmth.landlock, job["directory"])
        pipe = channel.Pipe(_CHANNEL)
        _reset(job, pipe)
        for one in warmth.filters:
            one.install()
        pipe.send({"ready": True})
        code = _execute(job["script"], job["name"], job["limits"]["script_bytes"])
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
    with open(fds[0], "rb") as file:
        file.seek(0)
        job = json.loads(file.read())
    with open("/dev/null", "rb") as null:
        os.dup2(null.fileno(), 0)
    # The zygote keeps 0 to 9 occupied, so that each place is below what comes there:
    # none of these overwrites another.
    os.dup2(fds[1], 1)
    for place, fd in enumerate(fds[1:], 2):
        os.dup2(fd, place)
    os.closerange(len(fds) + 1, os.sysconf("SC_OPEN_MAX"))
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
    # Who has had its time is told where it was; then the signal does what it does.
    faulthandler.register(
        signal.SIGXCPU, file=sys.stderr, all_threads=False, chain=True
    )
    session.start(
        session.Session(
            sources={
                source["id"]: session.Source(fd=fd, **source)
                for fd, source in enumerate(job["sources"], _CHANNEL + 1)
            },
            row_cap=job["row_cap"],
            seed=job["seed"],
            send=pipe.send,
            receive=pipe.receive,
        )
    )


def _execute(script: str, name: str, most_bytes: int) -> int:
    """Runs the script as `__main__`. Returns the exit code."""
    length = len(script.encode("utf-8", "replace"))
    if length > most_bytes:
        print(f"{name} has {length} bytes, at most {most_bytes}", file=sys.stderr)
        return program.SYNTAX_ERROR
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
    reserve = bytearray(_RESERVE_BYTES)
    try:
        exec(code, module.__dict__)
        result = 0
    except SystemExit as error:
        result = 0 if error.code in (None, 0) else program.RUNTIME_ERROR
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException as error:  # whatever a stranger's code raises
        del reserve
        result = _classify(error)
        _print_traceback(error, name)
    return _finish(module) or result


def _classify(error: BaseException) -> int:
    if isinstance(error, MemoryError):
        return program.MEMORY_ERROR
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, OSError) and number is None and not os.statvfs(".").f_bavail:
        return program.DISK_ERROR  # numpy's short writes have no number
    return _ERRNO_CODES.get(number, program.RUNTIME_ERROR)


def _print_traceback(error: BaseException, name: str) -> None:
    """Prints the traceback from the script's first frame on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != name:
        trace = trace.tb_next
    try:
        traceback.print_exception(error.with_traceback(trace))
        for line in hints.hints(error):
            print(line, file=sys.stderr)
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
