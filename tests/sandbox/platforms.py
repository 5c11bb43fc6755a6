"""Platforms on this machine, by what they take away; what the sandbox makes of them.

As a program it runs the attacks where it stands, and prints what came of it:

    python -m tests.sandbox.platforms {"": here, "docker"} <config.sandbox.outer>
"""

from collections.abc import Sequence
import errno
import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
from typing import Any

import pyseccomp

from tests.sandbox import outside

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_DOCKER_CAPABILITIES = """
chown dac_override fsetid fowner mknod net_raw setgid setuid setfcap setpcap
net_bind_service sys_chroot kill audit_write
""".split()
# What moby's profiles/seccomp/default.json gives to nobody without CAP_SYS_ADMIN and
# the like; `clone3` does not exist, so that `clone` can be looked at.
_DOCKER_REFUSES = """
unshare setns mount umount umount2 pivot_root move_mount open_tree fsopen fsmount
fsconfig fspick mount_setattr bpf perf_event_open userfaultfd open_by_handle_at
fanotify_init quotactl swapon swapoff syslog lookup_dcookie add_key request_key keyctl
sethostname setdomainname reboot init_module finit_module delete_module kexec_load
settimeofday clock_settime acct iopl ioperm
""".split()
_NEW_NAMESPACES = 0x7E020000


def docker(user: int) -> list[str]:
    """Returns what runs a command with what Docker's default profile leaves."""
    kept = ",".join(["-all", *(f"+{name}" for name in _DOCKER_CAPABILITIES)])
    command = ["setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}"]
    if user:
        command += [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    return command


def gvisor() -> list[str]:
    """Returns what runs a command in gVisor; see runsc(1)."""
    return ["runsc", "--network=none", "--ignore-cgroups", "do"]


def opened(command: Sequence[str], folder: pathlib.Path) -> list[str]:
    """Returns what runs a command with an interpreter that all users may read.

    Where a directory on the way to it is closed to others, as a home or temporary one
    may be, another stands in its place, in a mount namespace: only root can do this.

    Args:
      command: What is run.
      folder: Empty, and open to all.
    """
    needed = {pathlib.Path(path) for path in (sys.base_prefix, sys.prefix, _ROOT)}
    closed, script = set(), []
    for number, path in enumerate(sorted(needed)):
        shut = [each for each in path.parents if not each.stat().st_mode & stat.S_IXOTH]
        if not shut:
            continue
        held = folder / str(number)
        held.mkdir()
        closed.add(shut[-1])
        script.append(f"mount --bind '{path}' '{held}'")
    script += [f"mount -t tmpfs -o mode=755 none '{path}'" for path in closed]
    for number, path in enumerate(sorted(needed)):
        if any(each in path.parents for each in closed):
            script.append(
                f"mkdir -p '{path}' && mount --bind '{folder / str(number)}' '{path}'"
            )
    if not script:
        return list(command)
    return [
        "unshare",
        "--mount",
        "sh",
        "-ec",
        "\n".join([*script, 'exec "$@"']),
        "-",
        *command,
    ]


def attacked(
    around: Sequence[str], *, refuses: str, outer: str, folder: pathlib.Path
) -> dict[str, Any]:
    """Returns what this program prints on a platform.

    Args:
      around: What its command begins with there.
      refuses: Its first argument.
      outer: Its second.
      folder: Empty, and open to all.

    Raises:
      RuntimeError: If it fails, with its last words.
    """
    temporary = folder / "tmp"
    temporary.mkdir()
    temporary.chmod(0o777)
    program = [sys.executable, "-m", "tests.sandbox.platforms", refuses, outer]
    command = opened([*around, *program], folder)
    environment = os.environ | {"TMPDIR": str(temporary), "HOME": str(temporary)}
    # Its output goes by a pipe: gVisor shares the position of no file with us.
    ended = subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True
    )
    if ended.returncode:
        raise RuntimeError(ended.stderr[-4000:])
    return json.loads(ended.stdout.splitlines()[-1])


def _refuse_as_docker() -> None:
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in _DOCKER_REFUSES:
        if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) >= 0:
            rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
    for bit in range(32):
        if _NEW_NAMESPACES >> bit & 1:
            asked = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, 1 << bit, 1 << bit)
            rules.add_rule(pyseccomp.ERRNO(errno.EPERM), "clone", asked)
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.load()


def main(refuses: str, outer: str) -> None:
    """Prints JSON of the sandbox's `isolation`, and of the attacks' `failures`."""
    if refuses == "docker":
        _refuse_as_docker()
    folder = pathlib.Path(tempfile.mkdtemp())
    with outside.started(folder, workers=4, outer=outer) as (sandbox, around):
        failures = around.withstand(sandbox, outside.ATTACKS)
        around.check()
        print(json.dumps({"isolation": sandbox.isolation, "failures": failures}))


if __name__ == "__main__":
    main(*sys.argv[1:])
