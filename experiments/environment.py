"""What a run's figures depend on beside its config: `environment.json`.

Times, memory, versions and commit stand here and in no other result, so that
`summary.json` holds what the seed determines and nothing else. Keys:

  sessions: one entry for each start of the process, first to last: `started` (UTC),
    `commit` ("" outside a git checkout), `changed` (whether files differed from it),
    `python`, `platform`, `cpus` (usable ones), `memory_gib`, `devices` and
    `packages`;
  stages: seconds of wall time by stage, summed over sessions. What a killed process
    had spent in its unfinished stage is not in it;
  peak_rss_gib: the largest resident set of this program and of any process that it
    waited for, in GiB;
  allocator: on a CPU, what becomes of freed memory (`allocator.py`);
  attention: for each kind of rows and layers, which implementation of attention the
    platform has, and why none faster (`kernels.py`);
  sandbox: which isolation recipes ran under, and what that does without.
"""

from collections.abc import Iterator
import contextlib
import datetime
from importlib import metadata
import os
import pathlib
import platform
import resource
import subprocess
import time
from typing import Any

import jax

from experiments import results

_PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "datasets",
    "grain", "ml-collections", "tensorflow-datasets", "jaxtyping", "reasoning-gym",
    "numpy",
)  # fmt: skip


class Environment:
    """The file, kept up to date while the run goes on."""

    def __init__(self, path: pathlib.Path, *, root: pathlib.Path):
        """Opens a session.

        Args:
          path: The file; what earlier sessions wrote is kept.
          root: The checkout that the code runs from.
        """
        self._path = path
        empty = {"sessions": [], "stages": {}, "peak_rss_gib": 0.0}
        self._facts = results.read_json(path) if path.exists() else empty
        self._facts["sessions"].append(_session(root))
        self._write()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the wall time of the body to that of the stage."""
        start = time.monotonic()
        yield
        self.add_seconds(name, time.monotonic() - start)

    def add_seconds(self, name: str, seconds: float) -> None:
        """Adds to the wall time of a stage."""
        stages = self._facts["stages"]
        stages[name] = round(stages.get(name, 0.0) + seconds, 2)
        self._write()

    def note(self, key: str, value: Any) -> None:
        """Records a fact that is not known before the run has begun."""
        self._facts[key] = value
        self._write()

    def _write(self) -> None:
        peak = max(self._facts["peak_rss_gib"], _peak_rss_gib())
        self._facts["peak_rss_gib"] = round(peak, 3)
        results.write_json(self._path, self._facts)


def _session(root: pathlib.Path) -> dict[str, Any]:
    """Returns the facts about this process."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git(root, "rev-parse", "HEAD"),
        "changed": bool(_git(root, "status", "--porcelain")),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30, 1),
        "devices": [f"{device.platform}:{device.id}" for device in jax.devices()],
        "packages": {name: metadata.version(name) for name in _PACKAGES},
    }


def _git(root: pathlib.Path, *arguments: str) -> str:
    """Returns what git prints, "" if there is no git, checkout or commit."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _peak_rss_gib() -> float:
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(w).ru_maxrss for w in whose) / 2**20  # from KiB
