"""Attacks on the sandbox: one recipe each, and how it may end.

After the table in the report on sandboxes: endless loops, processes, memory, disk,
output, forged verdicts, secrets, the sources, the network, and calls of the kernel. A
script that prints `LEAK` has got what it must not have.
"""

import dataclasses

FINE = "no_output"  # the script ended well, and wrote no rows
_TURNS = '{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}'
_ROW = f'{{"dialogs": [{_TURNS}]}}'
_OUT = "data/processed/a.jsonl"
_WRITE = f"open({_OUT!r}, 'w').write({_ROW!r})"


@dataclasses.dataclass(frozen=True)
class Attack:
    """One of them.

    Attributes:
      name: Of the case.
      script: In which SECRET, SOURCE, TCP, UDP, NAMED, ABSTRACT and VICTIM stand for
        what is outside.
      kinds: In which it may end.
    """

    name: str
    script: str
    kinds: tuple[str, ...]


def _refused(action: str, before: str = "") -> str:
    """Returns a script that tells if an action was possible."""
    lines = ["import os, socket, ctypes, struct, resource", *before.split("\n")]
    lines += ["try:", f"  got = {action}", "except (OSError, ValueError): pass"]
    return "\n".join([*lines, "else: print('LEAK', got)"])


def _call(number: int, *arguments: int) -> str:
    given = ", ".join(map(str, (number, *arguments)))
    return _refused(
        f"_check(libc.syscall({given}))",
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def _check(x):\n  if x < 0: raise OSError(ctypes.get_errno())\n  return x",
    )


_CASES = {
    # Time.
    "endless loop": ("while True: pass", "timeout"),
    "endless loop, catching all": (
        "while True:\n try:\n  while True: pass\n except BaseException: pass",
        "timeout",
    ),
    "endless loop, ignoring signals": (
        "import signal\nfor s in (24, 15, 2, 1, 14): signal.signal(s, signal.SIG_IGN)\n"
        "while True: pass",
        "timeout",
    ),
    "endless arithmetic": ("7 ** 10 ** 9", "timeout"),
    "endless regular expression": (
        "import re\nre.match('(a*)*b', 'a' * 60)",
        "timeout",
    ),
    "sleep": ("import time\ntime.sleep(600)", "timeout"),
    "stopped": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "timeout",
    ),
    "deadlock": (
        "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        "timeout",
    ),
    "threads left behind": (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()",
        "timeout",
    ),
    "endless exit handler": (
        "import atexit\ndef f():\n  while True: pass\natexit.register(f)",
        "timeout",
    ),
    "raised limit": (
        "import resource\ntry: resource.setrlimit(resource.RLIMIT_CPU, (600, 600))\n"
        "except (OSError, ValueError): pass\nwhile True: pass",
        "timeout",
    ),
    # Standard streams.
    "input": ("input()", "runtime_error"),
    "flood of output": (
        "import sys\nfor i in range(2 ** 12): sys.stdout.write('x' * 2 ** 16)",
        FINE,
    ),
    "flood of bytes": (
        "import os\nfor i in range(2 ** 11): os.write(2, b'\\xff' * 2 ** 16)",
        FINE,
    ),
    "closed streams": (
        "import sys, os\nsys.stdout.close(); sys.stderr.close(); os.close(0)",
        FINE,
    ),
    "all descriptors closed": ("import os\nos.closerange(0, 256)", FINE),
    # Processes.
    "fork": ("import os\nos.fork()", "forbidden"),
    "fork bomb": ("import os\nwhile True: os.fork()", "forbidden"),
    "vfork": (_call(58), FINE),
    "clone": (_call(56, 17, 0, 0, 0, 0), FINE),
    "clone3": (_call(435, 0, 0), FINE),
    "execve": ("import os\nos.execv('/bin/true', ['true'])", "forbidden"),
    "subprocess": ("import subprocess\nsubprocess.run(['true'])", "forbidden"),
    "os.system": (_refused("0 if os.system('true') == 0 else 1 / 0"), "runtime_error"),
    "pool of processes": (
        "import multiprocessing\nmultiprocessing.Pool(2)",
        "forbidden",
    ),
    "daemon": ("import os\nos.setsid()", "forbidden"),
    "ten thousand threads": (
        "import threading, time\nthreading.stack_size(2 ** 16)\n"
        "for i in range(10_000):\n"
        "  threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
        "forbidden runtime_error oom timeout",
    ),
    # Memory.
    "one large array": ("x = bytearray(2 ** 40)", "oom"),
    "many arrays": ("x = []\nwhile True: x.append(bytearray(2 ** 20))", "oom"),
    "many small objects": ("x = []\nwhile True: x.append([x])", "oom timeout"),
    "a growing text": ("x = 'ab'\nwhile True: x += x", "oom"),
    "numpy": ("import numpy\nnumpy.ones(2 ** 33)", "oom"),
    "arrow": (
        "import pyarrow\nx = []\nwhile True: x.append(pyarrow.array(range(10 ** 5)))",
        "oom timeout",
    ),
    "shared memory": ("import mmap\nmmap.mmap(-1, 2 ** 31)", "oom"),
    "memory file": ("import os\nos.memfd_create('x')", "forbidden"),
    "zip bomb": (
        "import zlib\nx = zlib.compress(bytes(2 ** 24), 9)\ny = []\n"
        "while True: y.append(zlib.decompress(x))",
        "oom timeout",
    ),
    "locked memory": (_call(149, 4096, 4096), FINE),
    # The interpreter.
    "recursion": ("def f(): f()\nf()", "runtime_error"),
    "recursion in C": (
        "x = []\nfor i in range(10 ** 6): x = [x]\nrepr(x)",
        "runtime_error crash",
    ),
    "nested source": ("(" * 5000, "syntax_error"),
    "no source": ("def", "syntax_error"),
    "a zero in the source": ("a = '\0'", "syntax_error"),
    "half a character in the source": ("a = '\ud800'", "syntax_error"),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)", "crash"),
    "abort": ("import os\nos.abort()", "crash"),
    "killed by itself": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "oom",
    ),
    # Disk.
    "one large file": ("f = open('x', 'wb')\nwhile 1: f.write(bytes(2 ** 20))", "disk"),
    "many files": (
        "for i in range(99):\n  open(f'data/{i}', 'wb').write(bytes(2 ** 20))\n"
        "import time; time.sleep(600)",
        "disk",
    ),
    "many empty files": (
        "for i in range(9000): open(f'data/{i}', 'w').close()\n"
        "import time; time.sleep(600)",
        "disk",
    ),
    "nested directories": (
        "import os\nfor i in range(3000): os.mkdir('d'); os.chdir('d')",
        f"{FINE} disk",
    ),
    "closed directories": (
        "import os\nfor i in range(9): os.mkdir(f'd{i}'); open(f'd{i}/x', 'w')\n"
        "for i in range(9): os.mkdir(f'e{i}', 0)",
        FINE + " disk",  # who is not root cannot look how much is in there
    ),
    "strange names": (
        "import os\nfor i in range(1, 47): open(os.fsencode('n') + bytes([i]), 'w')\n"
        "open(b'\\xff\\xfe', 'w'); open('x' * 255, 'w')",
        FINE,
    ),
    "shared memory files": (_refused("open('/dev/shm/x', 'w')"), FINE),
    "temporary files elsewhere": (_refused("open('/tmp/x', 'w')"), FINE),
    "a file beyond its limit": (
        "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "open('x', 'wb').truncate(2 ** 40)",
        "disk runtime_error",
    ),
    # What is left as output.
    "output is a link": (
        f"import os\nos.symlink('/etc/passwd', {_OUT!r})",
        "forbidden",
    ),
    "output is a second name": (
        f"import os\nopen('x', 'w').write({_ROW!r})\nos.link('x', {_OUT!r})",
        "forbidden",
    ),
    "output is a pipe": (f"import os\nos.mkfifo({_OUT!r})", "forbidden"),
    "output is a device": (f"import os\nos.mknod({_OUT!r}, 0o20600, 259)", "forbidden"),
    "output is a directory": (f"import os\nos.mkdir({_OUT!r})", "invalid_output"),
    "its directory has gone": (
        "import os\nos.rename('data/processed', 'elsewhere')",
        FINE + " runtime_error",  # Landlock's first version knows no such right
    ),
    "its directory is a file": (
        "import os\nos.rmdir('data/processed')\nopen('data/processed', 'w')",
        "invalid_output",
    ),
    "a sparse output": (
        f"open({_OUT!r}, 'wb').truncate(2 ** 21 - 1)",
        "invalid_output",
    ),
    "zeros": (f"open({_OUT!r}, 'wb').write(bytes(2 ** 20))", "invalid_output"),
    "a closed output": (
        f"import os\nos.close(os.open({_OUT!r}, os.O_CREAT | os.O_WRONLY, 0))",
        FINE + " invalid_output",  # who is not root cannot open it either
    ),
    "a long line": (
        f"open({_OUT!r}, 'w').write('\"' + 'x' * 2 ** 20 + '\"')",
        "invalid_output",
    ),
    "not UTF-8": (f"open({_OUT!r}, 'wb').write(b'\\xff')", "invalid_output"),
    "NaN": (f"open({_OUT!r}, 'w').write('{{\"dialogs\": NaN}}')", "invalid_output"),
    "deep nesting": (f"open({_OUT!r}, 'w').write('[' * 10 ** 5)", "invalid_output"),
    "half a character": (
        f"open({_OUT!r}, 'w').write('\"\\\\ud800\"')",
        "invalid_output",
    ),
    "a long number": (f"open({_OUT!r}, 'w').write('9' * 10 ** 5)", "invalid_output"),
    "a scalar": (f"open({_OUT!r}, 'w').write('3')", "ok"),
    "a mark of order": (
        f"open({_OUT!r}, 'wb').write(b'\\xef\\xbb\\xbf' + {_ROW!r}.encode())",
        "invalid_output",
    ),
    "an empty output": (f"open({_OUT!r}, 'w').close()", FINE),
    "a million rows": (
        f"open({_OUT!r}, 'w').write('3\\n' * 10 ** 6)",
        "invalid_output",
    ),
    # Forged verdicts.
    "leaving at once": ("import os\nos._exit(0)", FINE),
    "leaving in the middle of a row": (
        f"import os\nf = open({_OUT!r}, 'w')\nf.write({_ROW!r}[:-3])\nf.flush()\n"
        "os._exit(0)",
        "invalid_output",
    ),
    "leaving with our codes": ("import os\nos._exit(120)", "syntax_error"),
    "writing to every descriptor": (
        "import os\nfor fd in range(256):\n  try: os.write(fd, b'\\0\\0\\0\\1{')\n"
        "  except OSError: pass",
        FINE,
    ),
    "frames of its own": (
        "from aidp import session\nsession.current().send({'ended': 0, 'kind': 'ok'})",
        FINE,
    ),
    "walking the frames": (
        "import sys\nf = sys._getframe()\nwhile f: f.f_globals.clear(); f = f.f_back",
        f"{FINE} runtime_error",
    ),
    "replacing what judges": (
        "import json, os, sys, builtins\njson.loads = os.read = os.open = None\n"
        "sys.exit = os._exit = lambda *_: None\nbuiltins.open = None\n1 / 0",
        "runtime_error timeout crash",
    ),
    # Secrets.
    "the environment": (
        "import os\nif set(os.environ) - {'HOME', 'TZ', 'LANG'}: print('LEAK')",
        FINE,
    ),
    "environments of others": (
        _refused("open(f'/proc/{os.getppid()}/environ').read()"),
        FINE,
    ),
    "memory of others": (_refused("open(f'/proc/{os.getppid()}/mem', 'rb')"), FINE),
    "its own memory": (_refused("open('/proc/self/mem', 'rb')"), FINE),
    "a file": (_refused("open(SECRET).read()"), FINE),
    "accounts": (_refused("open('/etc/passwd').read()"), FINE),
    "passwords": (_refused("open('/etc/shadow').read()"), FINE),
    "keys": (_refused("os.listdir('/root/.ssh')"), FINE),
    "the root": (_refused("os.listdir('/')"), FINE),
    "what lies above": (_refused("os.listdir('..')"), FINE),
    "the disk": (_refused("open('/dev/vda', 'rb')"), FINE),
    "the log of the kernel": (_refused("open('/dev/kmsg', 'rb')"), FINE),
    # The sources, and other files.
    "append to a source": (_refused("open(SOURCE, 'a')"), FINE),
    "truncate a source": (_refused("os.truncate(SOURCE, 0)"), FINE),
    "truncate by opening": (
        _refused("os.open(SOURCE, os.O_RDONLY | os.O_TRUNC)"),
        FINE,
    ),
    "truncate its descriptor": (_refused("os.ftruncate(4, 0)"), FINE),
    "write to its descriptor": (_refused("os.write(4, b'x')"), FINE),
    "open its descriptor again": (_refused("open('/proc/self/fd/4', 'a')"), FINE),
    "map its descriptor": (
        _refused("mmap.mmap(4, 0)", "import mmap"),
        FINE,
    ),
    "remove a source": (_refused("os.unlink(SOURCE)"), FINE),
    "rename a source": (_refused("os.rename(SOURCE, 'x')"), FINE),
    "link a source": (_refused("os.link(SOURCE, 'x')"), FINE),
    "mode of a source": ("import os\nos.fchmod(4, 0)\nos.chmod(SOURCE, 0)", FINE),
    "times of a source": ("import os\nos.utime(4)\nos.utime(SOURCE)", FINE),
    "attributes of a source": (_refused("os.setxattr(4, 'user.x', b'')"), FINE),
    "a file beside": (_refused("open(SECRET + '2', 'w')"), FINE),
    "a file above": (_refused("open('../x', 'w')"), FINE),
    "another root": (_refused("os.chroot('.')"), FINE),
    # The network, and others.
    "TCP": (_refused("socket.create_connection(('127.0.0.1', TCP))"), FINE),
    "UDP": (
        _refused(
            "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', UDP))"
        ),
        FINE,
    ),
    "a socket of a path": (
        _refused("socket.socket(socket.AF_UNIX).connect(NAMED)"),
        FINE,
    ),
    "a socket without one": (
        _refused("socket.socket(socket.AF_UNIX).connect(ABSTRACT)"),
        FINE,
    ),
    "a pair's datagram elsewhere": (
        _refused(
            "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0]"
            ".sendto(b'x', NAMED)"
        ),
        FINE,
    ),
    "netlink": (_refused("socket.socket(16, socket.SOCK_RAW)"), FINE),
    "raw": (_refused("socket.socket(socket.AF_INET, socket.SOCK_RAW)"), FINE),
    "vsock": (_refused("socket.socket(40, socket.SOCK_STREAM)"), FINE),
    "kill the parent": (_refused("os.kill(os.getppid(), 9)"), FINE),
    "kill everybody": (_refused("os.kill(-1, 9)"), FINE),
    "kill the group": (_refused("os.killpg(0, 9)"), FINE),
    "kill a victim": (_refused("os.kill(VICTIM, 9)"), FINE),
    "a handle of a victim": (_refused("os.pidfd_open(VICTIM)"), FINE),
    "limits of a victim": (
        _refused("resource.prlimit(VICTIM, resource.RLIMIT_CPU, (1, 1))"),
        FINE,
    ),
    "another user": (_refused("os.setuid(0) or os.setresuid(1, 1, 1)"), FINE),
    "another processor": (_refused("os.sched_setaffinity(0, {0})"), FINE),
}
_CALLS = {  # of x86-64
    "io_uring_setup": 425,
    "keyctl": 250,
    "add_key": 248,
    "bpf": 321,
    "userfaultfd": 323,
    "ptrace": 101,
    "unshare": 272,
    "setns": 308,
    "mount": 165,
    "pivot_root": 155,
    "perf_event_open": 298,
    "pidfd_send_signal": 424,
    "pidfd_getfd": 438,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "seccomp": 317,
    "reboot": 169,
    "shmget": 29,
    "semget": 64,
    "msgget": 68,
    "mq_open": 240,
    "inotify_init": 253,
    "fanotify_init": 300,
    "clock_settime": 227,
    "settimeofday": 164,
    "memfd_secret": 447,
    "init_module": 175,
    "kexec_load": 246,
    "personality": 135,
    "open_by_handle_at": 304,
    "landlock_create_ruleset": 444,
}


def attacks(*, calls: bool) -> list[Attack]:
    """Returns all of them.

    Args:
      calls: Whether those are among them that know the calls by x86-64's numbers.
    """
    found = [
        Attack(name, script, tuple(kinds.split()))
        for name, (script, kinds) in _CASES.items()
    ]
    if calls:
        found += [
            Attack(name, _call(number, 0, 0, 0, 0, 0), (FINE,))
            for name, number in _CALLS.items()
        ]
    return found
