"""The system calls that a recipe's process may make, as two seccomp filters.

One filter goes by name: what is on no list does not exist (ENOSYS, so that the C
library falls back to older calls). The other looks at arguments: of the calls listed
there, everything else is refused (EPERM). Of two refusals the one installed last gives
the error, so the names come last.
"""

from collections.abc import Sequence
import errno
import os
import tempfile

import pyseccomp
from pyseccomp import Arg

_ALLOWED = """
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 creat close
close_range lseek stat fstat lstat newfstatat fstatat64 statx statfs fstatfs access
faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd chdir fchdir mkdir
mkdirat rmdir unlink unlinkat rename renameat renameat2 ftruncate fsync fdatasync
sync_file_range copy_file_range sendfile dup dup2 dup3 pipe pipe2 poll ppoll select
pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime umask flock fadvise64
readahead brk mmap munmap mprotect mremap madvise msync mincore membarrier futex
set_robust_list get_robust_list rseq set_tid_address gettid exit exit_group sched_yield
sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max
sched_get_priority_min getcpu rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending
rt_sigsuspend rt_sigtimedwait sigaltstack pause alarm getitimer setitimer timer_create
timer_settime timer_gettime timer_getoverrun timer_delete restart_syscall clock_gettime
clock_getres clock_nanosleep nanosleep gettimeofday time times getpid getppid getuid
geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid getsid getpriority
capget uname sysinfo getrusage getrlimit getrandom wait4 waitid recvfrom shutdown
getsockopt setsockopt getsockname getpeername
""".split()

_FORBIDDEN = """
fork vfork execve execveat socket connect bind listen accept accept4 sendmsg sendmmsg
recvmsg recvmmsg tkill rt_sigqueueinfo rt_tgsigqueueinfo ptrace process_vm_readv
process_vm_writev pidfd_open pidfd_send_signal pidfd_getfd kcmp mount umount2 pivot_root
chroot unshare setns setuid setgid setreuid setregid setresuid setresgid setgroups
setfsuid setfsgid setsid setpgid capset symlink symlinkat link linkat mknod mknodat
memfd_create memfd_secret setrlimit truncate setpriority sched_setaffinity
sched_setscheduler sched_setparam sched_setattr ioprio_set mlock mlock2 mlockall
personality seccomp bpf perf_event_open userfaultfd add_key request_key keyctl
name_to_handle_at open_by_handle_at inotify_init inotify_init1 inotify_add_watch
fanotify_init fanotify_mark clock_settime settimeofday adjtimex clock_adjtime
sethostname setdomainname reboot kexec_load init_module finit_module delete_module
swapon swapoff quotactl acct syslog vhangup iopl ioperm
""".split()

# Answered without being done: Landlock does not cover these, and honest copies of
# files call them.
_IGNORED = """
chmod fchmod fchmodat chown fchown lchown fchownat utime utimes utimensat futimesat
""".split()

# Refused with ENOTSUP, or else shutil.copy2 fails.
_UNSUPPORTED = """
setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr
flistxattr removexattr lremovexattr fremovexattr
""".split()

PID = 0x5AFEB0C5  # stands for the process's own id until the filter is installed

_CLONE_FLAGS = 0x7E020000  # CLONE_NEW* but CLONE_NEWTIME, which clone cannot ask for
_CLONE_THREAD = 0x00010F00  # VM, FS, FILES, SIGHAND and THREAD: what a thread shares


def _word(position: int, value: int, mask: int = 0xFFFFFFFF) -> Arg:
    """Compares an argument that the kernel takes as 32 bits."""
    return Arg(position, pyseccomp.MASKED_EQ, mask, value)


def _opens(flags: int) -> list[list[Arg]]:
    """Opening may not truncate what it opens for reading (Landlock ABI 1 and 2)."""
    return [
        [_word(flags, 0, os.O_TRUNC)],
        [_word(flags, os.O_WRONLY, os.O_ACCMODE)],
        [_word(flags, os.O_RDWR, os.O_ACCMODE)],
    ]


_CONDITIONAL: dict[str, Sequence[Sequence[Arg]]] = {
    "open": _opens(1),
    "openat": _opens(2),
    "clone": [[_word(0, _CLONE_THREAD, _CLONE_THREAD | _CLONE_FLAGS)]],
    "kill": [[_word(0, PID)]],
    "tgkill": [[_word(0, PID)]],
    "prlimit64": [[_word(0, process), Arg(2, pyseccomp.EQ, 0)] for process in (0, PID)],
    # SET_NAME, GET_NAME, GET_DUMPABLE, SET_SECCOMP (more filters can only take away)
    "prctl": [[_word(0, option)] for option in (15, 16, 3, 22)],
    # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
    "ioctl": [
        [_word(1, request)]
        for request in (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
    ],
    # Not F_SETOWN and F_SETSIG, which send signals, nor F_SETPIPE_SZ.
    "fcntl": [
        [_word(1, command)]
        for command in (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)
    ],
    "socketpair": [[_word(0, 1), _word(1, 1, 0xF)]],  # AF_UNIX, SOCK_STREAM
    "sendto": [[Arg(4, pyseccomp.EQ, 0)]],  # to the peer, without an address
    "fallocate": [[_word(1, 0)]],  # other modes evade the limit on file size
}


def _add(rules: pyseccomp.SyscallFilter, action: int, names: Sequence[str]) -> None:
    """Adds the calls that this architecture and this libseccomp know."""
    for name in names:
        if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) >= 0:
            rules.add_rule(action, name)


def compile_filters() -> list[bytes]:
    """Returns the filters' code, in the order in which they must be installed."""
    by_argument = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    by_name = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.ENOSYS))
    _add(by_argument, pyseccomp.ALLOW, _ALLOWED + _FORBIDDEN + _IGNORED + _UNSUPPORTED)
    for name, alternatives in _CONDITIONAL.items():
        if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) >= 0:
            for conditions in alternatives:
                by_argument.add_rule(pyseccomp.ALLOW, name, *conditions)
    _add(by_name, pyseccomp.ALLOW, _ALLOWED + list(_CONDITIONAL))
    _add(by_name, pyseccomp.ERRNO(errno.EPERM), _FORBIDDEN)
    _add(by_name, pyseccomp.ERRNO(errno.ENOTSUP), _UNSUPPORTED)
    _add(by_name, pyseccomp.ERRNO(0), _IGNORED)
    return [_code(by_argument), _code(by_name)]


def _code(rules: pyseccomp.SyscallFilter) -> bytes:
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
