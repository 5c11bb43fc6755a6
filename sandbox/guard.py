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

import landlockpy

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


def check(*, apart: bool) -> int:
    """Makes sure of what nothing runs without.

    Args:
      apart: Whether this process has namespaces of its own, or an outer sandbox.

    Returns:
      The version of Landlock, 0 if there is none.

    Raises:
      RuntimeError: If something is missing, saying what and how to get it.
    """
    landlock = landlockpy.abi_version() if landlockpy.supported() else 0
    if not landlock and not apart:
        raise RuntimeError(
            "the sandbox cannot start: Landlock is missing, and so are namespaces. It"
            " needs Linux 5.13 or later with `landlock` among the security modules"
            " (lsm=landlock,... on the kernel's command line), or bubblewrap, or to be"
            " told of an outer sandbox (config.sandbox.outer)"
        )
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"the sandbox must fork from one thread, found {threads}")
    return min(landlock, landlockpy.flags.LATEST_ABI)


def address_space() -> int:
    """Returns how many bytes of it this process has."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def limit_resources(
    limits: dict[str, float], *, files: int, warm_bytes: int, own_user: bool
) -> None:
    """Sets the limits that the kernel enforces for each process.

    The kernel counts the threads of all processes of a user together: where several
    scripts share one, so that a busy host would fail honest ones, threads are counted
    from outside instead.

    Args:
      limits: Fields of `sandbox.job.Limits` by name.
      files: How many it has from the beginning.
      warm_bytes: Address space that it begins with.
      own_user: Whether no other process has its user id.
    """
    memory = warm_bytes + int(limits["memory_bytes"])
    cpu = math.ceil(limits["cpu_seconds"])
    threads = int(limits["processes"])
    for kind, soft, hard in (
        *([(resource.RLIMIT_NPROC, threads, threads)] if own_user else []),
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, 256 + files, 256 + files),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
    ):
        ceiling = resource.getrlimit(kind)[1]  # an outer limit may be lower
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(kind, (int(soft), int(hard)))


def become(user: int) -> None:
    """Takes a user id, and no other group than that of the same number."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def forbid_privileges() -> None:
    """Gives up for good what programs that are executed might get.

    Raises:
      OSError: If the kernel refuses.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, value: int) -> None:
    if LIBC.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


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
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(_PR_SET_DUMPABLE, 0)
    if os.getppid() != parent:  # it ended before its death would have been a signal
        os._exit(1)


def confine_zygote(version: int, readable: Sequence[str], slots: Sequence[str]) -> None:
    """Leaves this process and its children what is `readable`, and their `slots`."""
    rules = [("/dev/null", _READ_WRITE_FILE), *((slot, _OWN) for slot in slots)]
    for path in readable:
        access = _READ if os.path.isdir(path) else landlockpy.AccessFS.READ_FILE
        rules.append((path, access))
    _confine(version, rules)


def confine_script(version: int, slot: str) -> None:
    """Leaves this process, of all slots, its own one; what it may read stays so."""
    _confine(version, [("/", _READ), ("/dev/null", _READ_WRITE_FILE), (slot, _OWN)])


def _confine(version: int, rules: Sequence[tuple[str, landlockpy.AccessFS]]) -> None:
    """Forbids everything but these accesses below these paths.

    Everything this version of Landlock can forbid is forbidden; where it is an old one,
    seccomp stands in (truncation, sockets, signals).
    """
    with landlockpy.Ruleset(
        handled_fs=landlockpy.fs_for_abi(version),
        handled_net=landlockpy.net_for_abi(version),
        scoped=landlockpy.scope_for_abi(version),
        best_effort=False,
    ) as ruleset:
        for path, access in rules:
            ruleset.allow_path(path, access)
        ruleset.restrict()


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


class Filter:
    """A filter of system calls, to be installed by any number of processes."""

    def __init__(self, code: bytes, pid: int) -> None:
        """Prepares it.

        Args:
          code: Of `syscalls.compile_filters`.
          pid: What stands there for the id of the process.
        """
        self._code = bytearray(code)
        placeholder = pid.to_bytes(4, "little")
        # An instruction has 8 bytes, of which the last 4 are its constant.
        self._own_pid = [
            at + 4
            for at in range(0, len(self._code), 8)
            if self._code[at + 4 : at + 8] == placeholder
        ]

    def install(self) -> None:
        """Puts this process under the filter, for good; must come last.

        Raises:
          OSError: If the kernel refuses.
        """
        for at in self._own_pid:
            self._code[at : at + 4] = os.getpid().to_bytes(4, "little")
        code = (ctypes.c_char * len(self._code)).from_buffer(self._code)
        program = _Program(len(self._code) // 8, ctypes.addressof(code))
        if LIBC.prctl(22, 2, ctypes.byref(program), 0, 0):  # SET_SECCOMP, FILTER
            raise OSError(ctypes.get_errno(), "seccomp refused the filter")
