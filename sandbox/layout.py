"""By what recipes are kept apart from the machine and from each other.

Seccomp, resource limits and a verdict from outside are in every layout, and Landlock or
namespaces of their own, or else an outer sandbox around the trainer, which nothing here
can see: whoever operates it declares it. What else there is depends on the platform:
the best layout whose canaries survive is taken, and what that lacks stands in every
result.
"""

from collections.abc import Sequence
import dataclasses
import os
from pathlib import Path
import shutil
import stat
import subprocess

GUARANTEES = {
    "landlock": "scripts can open their own files only, by Landlock",
    "namespaces": "scripts see neither the machine's files, network nor processes",
    "disk_quota": "the kernel bounds what scripts write; else it is looked at",
    "own_user": "each script has a user id of its own",
    "thread_limit": "the kernel bounds the threads of scripts; else they are counted",
}
"""What a layout may hold, beside what all of them must."""

OUTER = {
    "gvisor": "the trainer runs in gVisor (runsc; GKE Sandbox)",
    "vm": "the trainer runs in a virtual machine that nothing else uses",
}
"""What may be declared to stand around the trainer; with it, scripts get user ids of
their own and no Landlock: files that all users may read, they can read."""

_NODES = ("/dev/null", "/dev/urandom")
_KEPT = ("SETUID", "SETGID", "KILL")  # to give scripts users of their own, and end them
_FILES = ("DAC_OVERRIDE", "DAC_READ_SEARCH")  # see `guard`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """One of the ways.

    Attributes:
      namespaces: Whether bubblewrap gives the zygote namespaces of its own.
      own_users: Whether each script gets a user id of its own.
      outer: Which of `OUTER` stands around the trainer, if that is relied on.
      without: Layers that are left out, to see what each is for: "seccomp", "landlock",
        "landlock 2" (what it learned after its first version) or "limits";
        `candidates` leaves out none.
    """

    namespaces: bool
    own_users: bool
    outer: str = ""
    without: Sequence[str] = ()

    @property
    def lost(self) -> tuple[str, ...]:
        """Returns the guarantees that it cannot hold."""
        held = {"landlock"}
        held |= {"namespaces", "disk_quota"} if self.namespaces else set()
        held |= {"own_user", "thread_limit"} if self.own_users else set()
        return tuple(name for name in GUARANTEES if name not in held)

    def __str__(self) -> str:
        spaces = "bubblewrap" if self.namespaces else "no namespaces"
        users = "a user id for each script" if self.own_users else "one user id"
        outer = [f"within {self.outer}"] if self.outer else []
        without = [f"no {name}" for name in self.without]
        return ", ".join([spaces, users, *outer, *without])


def candidates(outer: str) -> list[Layout]:
    """Returns what may be tried here, the best first.

    Args:
      outer: Which of `OUTER` is declared, "" for none.
    """
    users = (True, False) if os.geteuid() == 0 else (False,)
    found = [
        Layout(namespaces=namespaces, own_users=own_users)
        for namespaces in (True, False)
        for own_users in users
    ]
    if outer:
        found.append(Layout(namespaces=False, own_users=True, outer=outer))
    return found


def obstacle(layout: Layout, readable: Sequence[str]) -> str:
    """Returns why a layout is not to be had here, "" if nothing is known against it.

    Args:
      layout: Which one.
      readable: Files and trees that scripts need.
    """
    if layout.own_users and os.geteuid() != 0:
        return "only root can give scripts user ids of their own"
    if not layout.namespaces:
        closed = _closed(readable) if layout.own_users else ""
        return f"{closed} is closed to other users, and scripts need it" * bool(closed)
    if shutil.which("bwrap") is None:
        return "bwrap is not installed (Debian's package `bubblewrap`)"
    probe = [*_bubblewrap(layout), "--ro-bind", "/", "/", "true"]
    tried = subprocess.run(probe, capture_output=True, text=True, timeout=30)
    return tried.stderr.strip() if tried.returncode else ""


def _closed(paths: Sequence[str]) -> str:
    """Returns a directory that only its owner may enter, "" if there is none."""
    for folder in sorted({folder for path in paths for folder in Path(path).parents}):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return str(folder)
    return ""


def wrap(
    layout: Layout, *, readable: Sequence[str], slots: Sequence[str], slot_bytes: int
) -> list[str]:
    """Returns what a command has to begin with, to run in a layout; see bwrap(1).

    Args:
      layout: Which one.
      readable: Files and trees that it needs.
      slots: Directories that are made for scripts to write to.
      slot_bytes: What each of those may hold.
    """
    if not layout.namespaces:
        return []
    command = _bubblewrap(layout)
    paths = (*readable, *_NODES, *slots)
    parents = {str(parent) for path in paths for parent in Path(path).parents}
    for path in sorted(
        parents - {"/"}
    ):  # else some would be as closed as what they hold
        command += ["--dir", path]
    for path in readable:
        command += ["--ro-bind", path, path]
    for path in _NODES:
        command += ["--dev-bind", path, path]
    # Closed by Landlock: whoever looks for it is told that it is forbidden.
    command += ["--proc", "/proc", "--dir", "/dev/shm"]
    for path in slots:
        size = ["--size", str(slot_bytes)]
        command += ["--perms", "0700", *size, "--tmpfs", path]
    return [*command, "--remount-ro", "/", "--chdir", "/", "--"]


def _bubblewrap(layout: Layout) -> list[str]:
    command = ["bwrap", "--die-with-parent", "--hostname", "sandbox"]
    for kind in ("ipc", "pid", "net", "uts"):
        command.append(f"--unshare-{kind}")
    command += ["--unshare-cgroup-try", "--cap-drop", "ALL"]
    if os.geteuid() == 0:  # in a user namespace, root could not become somebody else
        for name in _KEPT if layout.own_users else _FILES:
            command += ["--cap-add", f"CAP_{name}"]
    else:
        command.append("--unshare-user")
    return command
