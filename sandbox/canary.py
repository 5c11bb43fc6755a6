"""A script that tries what no script may: proof at start that the guards hold.

Version numbers of kernels and libraries are not believed: distributions are known to
announce what they do not enforce.
"""

import pathlib

_SCRIPT = """\
import os, socket, threading

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
attempt("sockets", socket.socket)
attempt("processes", lambda: os.fork() or os._exit(0))
attempt("executing", lambda: os.execv("/bin/true", ["true"]))
attempt("signals", lambda: os.kill(os.getppid(), 0))
thread = threading.Thread(target=print, args=("threads work",))
thread.start()
thread.join()
import sqlite3, xml.dom.minidom
open("data/processed/canary", "w").close()
"""


def script(secret: pathlib.Path) -> str:
    """Returns the script; `secret` is a file that it must not reach."""
    return _SCRIPT.format(secret=str(secret))


def check(kind: str, log: str) -> None:
    """Looks at how the script ended.

    Raises:
      RuntimeError: If an honest part failed or a forbidden one did not, naming it.
    """
    if kind != "ok" or log != "threads work\n":
        raise RuntimeError(f"the sandbox does not hold here ({kind}): {log}")
