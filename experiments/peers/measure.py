"""What a process measures of its own updates: the same for us and for the peers.

Only the standard library: the peers run this with interpreters of their own. A
program is started as `python -m experiments.peers.<name> JOB RESULT`: the first file
says what to do (`bench_update.py` writes it), the second gets the figures.
"""

from collections.abc import Callable, Mapping, Sequence
import gc
from importlib import metadata
import json
import pathlib
import resource
import sys
import time
from typing import Any

GIB = 2**30

Step = Callable[[], tuple[float, float | None]]
"""Does one update, waits for it, and returns its loss and its gradient's norm, or None
where the program does not tell."""


def main(
    load: Callable[[Mapping[str, Any]], Any],
    program: Callable[[Mapping[str, Any], Any], Step],
    *,
    packages: Sequence[str],
    device_peak_bytes: Callable[[], int] = lambda: 0,
) -> None:
    """Measures a program's updates and writes them to the file of the command line.

    The first update compiles and its time is kept apart. Keys of the result, lists
    having one entry for each of the later updates:

      seconds, cpu_seconds: of the update; CPU-seconds are those of user and system;
      first_seconds, first_cpu_seconds: of the first one;
      loss, grad_norm: of all updates, the first included;
      loaded_gib: resident set once the weights are there;
      peak_gib: the largest resident set during the later updates;
      life_peak_gib: the largest there ever was, loading and compiling included;
      device_peak_gib: the most memory taken on an accelerator, 0 on a CPU;
      versions: of the packages.

    Args:
      load: Reads the model that the job names.
      program: Makes its update.
      packages: Whose versions to note.
      device_peak_bytes: Asked after the last update.
    """
    # Should memory run out, this process is the one to end.
    pathlib.Path("/proc/self/oom_score_adj").write_text("1000")
    job = json.loads(pathlib.Path(sys.argv[1]).read_text())
    model = load(job)
    gc.collect()
    loaded = memory("VmRSS")
    step = program(job, model)
    del model
    figures = _updates(step, job["steps"])
    figures |= {
        "loaded_gib": loaded / GIB,
        "device_peak_gib": device_peak_bytes() / GIB,
        "versions": {name: metadata.version(name) for name in packages},
    }
    pathlib.Path(sys.argv[2]).write_text(json.dumps(figures))


def _updates(step: Step, count: int) -> dict[str, Any]:
    """Returns the figures of one update that compiles and of some later ones."""
    first = _timed(step)
    before = memory("VmHWM")
    reset_peak()
    later = [_timed(step) for _ in range(count)]
    peak = memory("VmHWM")
    return {
        "seconds": [one["seconds"] for one in later],
        "cpu_seconds": [one["cpu_seconds"] for one in later],
        "first_seconds": first["seconds"],
        "first_cpu_seconds": first["cpu_seconds"],
        "loss": [one["loss"] for one in (first, *later)],
        "grad_norm": [one["grad_norm"] for one in (first, *later)],
        "peak_gib": peak / GIB,
        "life_peak_gib": max(before, peak) / GIB,
    }


def _timed(step: Step) -> dict[str, float | None]:
    cpu, wall = cpu_seconds(), time.perf_counter()
    loss, grad_norm = step()
    return {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": cpu_seconds() - cpu,
        "loss": loss,
        "grad_norm": grad_norm,
    }


def cpu_seconds() -> float:
    """Returns what this process has used so far, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def memory(field: str) -> int:
    """Returns a field of this process's memory in bytes (Linux, proc(5))."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise KeyError(field)


def reset_peak() -> None:
    """Makes the largest resident set that of now (Linux, proc(5))."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")
