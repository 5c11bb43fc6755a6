"""How a recipe ended, judged by what was seen from outside.

A script can fake a failure, never a success: what it says of itself is believed only
to its disadvantage.
"""

import os
import signal

from sandbox import program
from sandbox.job import Limits
from sandbox.program import Ending

_EXIT_KINDS = {
    0: "ok",
    program.SYNTAX_ERROR: "syntax_error",
    program.RUNTIME_ERROR: "runtime_error",
    program.MEMORY_ERROR: "oom",
    program.DISK_ERROR: "disk",
    program.FORBIDDEN: "forbidden",
}
_SIGNAL_KINDS = {
    signal.SIGXCPU: "timeout",
    signal.SIGXFSZ: "disk",
    signal.SIGSYS: "forbidden",
    signal.SIGKILL: "oom",  # not by us: by the kernel, which was out of memory
}


def classify(ending: Ending, cpu_seconds: float) -> str:
    """Returns the kind of an ending, from what cannot be forged first.

    Args:
      ending: How the child ended.
      cpu_seconds: How much processor time it was allowed.
    """
    if ending.status is None or not ending.ready:
        return "sandbox_error"
    if ending.killed:
        return ending.killed
    if ending.cpu_seconds >= cpu_seconds:
        return "timeout"
    if os.WIFSIGNALED(ending.status):
        return _SIGNAL_KINDS.get(os.WTERMSIG(ending.status), "crash")
    return _EXIT_KINDS.get(os.WEXITSTATUS(ending.status), "runtime_error")


def explain(ending: Ending, kind: str, limits: Limits) -> str:
    """Returns the log, with a word on what the script itself could not say."""
    log = ending.log
    if kind == "oom":
        log += f"\n[a script may have {limits.memory_bytes} bytes of memory]\n"
    if kind == "disk":
        log += (
            f"\n[a file may have {limits.file_bytes} bytes,"
            f" all of them {limits.dataset_bytes} bytes]\n"
        )
    if ending.killed == "forbidden":
        log += f"\n[a script may have {limits.processes} threads]\n"
    if ending.killed or kind == "timeout" or os.WIFSIGNALED(ending.status or 0):
        return (
            f"{log}\n[stopped: {kind}, after {ending.cpu_seconds:.1f} s of CPU"
            f" and {ending.wall_seconds:.1f} s]\n"
        )
    return log
