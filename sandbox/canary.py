"""A script that tries what no script may: proof at start that the guards hold.

Version numbers of kernels and libraries are not believed: distributions are known to
announce what they do not enforce.
"""

from collections.abc import Collection
import os
import pathlib

from sandbox.job import Limits

_SCRIPT = """\
import os, re, socket, threading, time

def attempt(name, action):
    try:
        action()
    except OSError:
        return
    print("possible:", name)

secret = {secret!r}
attempt("reading files", lambda: open(secret).read())
attempt("writing files", lambda: open(secret, "w"))
attempt("truncating files", lambda: os.truncate(secret, 0))
attempt("making files", lambda: open(secret + "2", "w"))
def read_keys():
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{{process}}/environ").read()
        except OSError:
            continue
        if re.search("(KEY|TOKEN|SECRET|PASSWORD)[^=]*=.", words):
            return
    raise PermissionError

attempt("reading keys in another's environment; keep them in files", read_keys)
attempt("sockets", socket.socket)
attempt("processes", lambda: os.fork() or os._exit(0))
attempt("executing", lambda: os.execv("/bin/true", ["true"]))
attempt("signals", lambda: os.kill(os.getppid(), 0))
thread = threading.Thread(target=print, args=("threads work",))
thread.start()
thread.join()
import asyncio, sqlite3, xml.dom.minidom
asyncio.run(asyncio.sleep(0))
from aidp import *
dump_dataset(format_to_sharegpt([{{"a": "1"}}], "a", "a"), "data/processed/a.jsonl")
"""
# What proves a guarantee, where it is held.
_PROOFS = {
    "landlock": "attempt('seeing others', lambda: os.listdir(os.path.dirname(secret)))",
    "namespaces": "if os.path.exists(secret): print('visible: files of the host')",
    "disk_quota": """\
quota = os.statvfs(".")
if quota.f_blocks * quota.f_frsize > {disk}: print("unbounded: disk")
""",
    "own_user": "if os.getuid() == {user}: print('shared: the user id')",
    "thread_limit": """\
threading.stack_size(2 ** 16)
end = threading.Event()
try:
    for _ in range({threads}): threading.Thread(target=end.wait).start()
    print("unbounded: threads")
except RuntimeError:
    pass
end.set()
""",
}


def script(secret: pathlib.Path, limits: Limits, lost: Collection[str]) -> str:
    """Returns the script.

    Args:
      secret: A file that it must not reach.
      limits: That it runs within.
      lost: Guarantees that need no proof.
    """
    proofs = [proof for name, proof in _PROOFS.items() if name not in lost]
    return "\n".join([_SCRIPT, *proofs]).format(
        secret=str(secret),
        disk=limits.dataset_bytes + 2**16,  # whole pages
        threads=limits.processes + 1,
        user=os.geteuid(),
    )


def check(kind: str, log: str) -> None:
    """Looks at how the script ended.

    Raises:
      RuntimeError: If an honest part failed or a forbidden one did not, naming it.
    """
    if kind != "ok" or log != "threads work\n":
        raise RuntimeError(f"the sandbox does not hold here ({kind}): {log}")
