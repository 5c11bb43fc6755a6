"""What a recipe's process gives up before its script starts, for good.

Not covered: without namespaces a script can see which paths exist (not what is in
them), the process table's size and the host's name; a bug in the kernel defeats all of
it. Threads and disk space are watched from outside (`sandbox.supervisor`).
"""

from collections.abc import Sequence
import ctypes
import math
import os
import pathlib
import resource
import signal
import sys
import sysconfig

import landlockpy

from sandbox import syscalls

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.prctl.argtypes = (ctypes.c_int, *[ctypes.c_void_p] * 4)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION = 0x20080522
# DAC_OVERRIDE, DAC_READ_SEARCH: where root runs somebody else's virtual environment,
# its files are readable by these alone. Landlock says which files those may be.
_KEPT_CAPABILITIES = 1 << 1 | 1 << 2

_READ = landlockpy.AccessFS.READ_FILE | landlockpy.AccessFS.READ_DIR
_READ_WRITE_FILE = landlockpy.AccessFS.READ_FILE | landlockpy.AccessFS.WRITE_FILE
_OWN = (
    _READ
    | landlockpy.AccessFS.WRITE_FILE
    | landlockpy.AccessFS.TRUNCATE
    | landlockpy.AccessFS.MAKE_REG
    | landlockpy.AccessFS.MAKE_DIR
    | landlockpy.AccessFS.REMOVE_FILE
    | landlockpy.AccessFS.REMOVE_DIR
    | landlockpy.AccessFS.REFER
)

_SYSTEM_PATHS = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/dev/urandom",
)


def check() -> None:
    """Makes sure of what nothing runs without.

    Raises:
      RuntimeError: If it is missing, saying what and how to get it.
    """
    if not landlockpy.supported():
        raise RuntimeError(
            "the sandbox cannot start: Landlock is missing. It needs Linux 5.13 or"
            " later with `landlock` among the security modules (lsm=landlock,... on"
            " the kernel's command line)"
        )
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"the sandbox must fork from one thread, found {threads}")


def readable_paths() -> list[str]:
    """Returns the interpreter's libraries, as far as they exist."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    paths = [sysconfig.get_path(name) for name in names]
    paths += [path for path in sys.path if path.endswith("-packages")]
    base = pathlib.Path(sys.base_prefix, sys.platlibdir)
    paths += [str(base / f"python{sys.version_info[0]}.{sys.version_info[1]}")]
    paths += [str(library) for library in base.glob("libpython*")]
    found = {os.path.realpath(path) for path in (*paths, *_SYSTEM_PATHS)}
    return sorted(path for path in found if os.path.exists(path))


def limit_resources(limits: dict[str, float]) -> None:
    """Sets the limits that the kernel enforces for each process.

    Not the number of processes: the kernel counts those of all processes of a user
    together, so that a busy host would fail honest scripts. seccomp refuses processes,
    and threads are counted from outside.

    Args:
      limits: Fields of `sandbox.pool.Limits` by name.
    """
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + int(limits["memory_bytes"])
    cpu = math.ceil(limits["cpu_seconds"])
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, 256, 256),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
    ):
        ceiling = resource.getrlimit(kind)[1]  # an outer limit may be lower
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(kind, (int(soft), int(hard)))


def drop_privileges(parent: int) -> None:
    """Gives up capabilities, and the right to outlive `parent`.

    Raises:
      OSError: If the kernel refuses.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    data = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; low, then high
    if LIBC.capget(header, data):
        raise OSError(ctypes.get_errno(), "capget")
    kept = data[1] & _KEPT_CAPABILITIES
    if LIBC.capset(header, (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)):
        raise OSError(ctypes.get_errno(), "capset")
    for option, value in (
        (_PR_SET_PDEATHSIG, signal.SIGKILL),
        (_PR_SET_DUMPABLE, 0),
        (_PR_SET_NO_NEW_PRIVS, 1),
    ):
        if LIBC.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl {option}")
    if os.getppid() != parent:  # it ended before its death would have been a signal
        os._exit(1)


def confine_files(readable: Sequence[str], files: Sequence[str], own: str) -> None:
    """Leaves the process `readable` trees and `files`, and its `own` directory.

    Everything this kernel can forbid is forbidden, rather than what some version of
    Landlock could: on older ones seccomp stands in (truncation, sockets, signals).
    """
    abi = min(landlockpy.abi_version(), landlockpy.flags.LATEST_ABI)
    with landlockpy.Ruleset(
        handled_fs=landlockpy.fs_for_abi(abi),
        handled_net=landlockpy.net_for_abi(abi),
        scoped=landlockpy.scope_for_abi(abi),
        best_effort=False,
    ) as rules:
        for path in readable:
            access = _READ if os.path.isdir(path) else landlockpy.AccessFS.READ_FILE
            rules.allow_path(path, access)
        for path in files:
            rules.allow_path(path, landlockpy.AccessFS.READ_FILE)
        rules.allow_path("/dev/null", _READ_WRITE_FILE)
        rules.allow_path(own, _OWN)
        rules.restrict()


def filter_calls(filters: Sequence[syscalls.Filter]) -> None:
    """Installs the filters of system calls; must come last."""
    for one in filters:
        one.install(LIBC)
