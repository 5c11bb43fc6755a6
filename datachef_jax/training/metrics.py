"""Where figures go: metrics.jsonl, timing.jsonl, TensorBoard, and a stopwatch."""

from collections.abc import Iterator, Mapping
import contextlib
import json
import os
import pathlib
import time
from typing import Any

import tensorboardX


class Stopwatch:
    """Adds up the seconds spent in named stages."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Counts the time inside the context towards `name`."""
        start = time.perf_counter()
        yield
        spent = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + spent


class Writer:
    """Writes the figures of each step, and continues where a checkpoint left off.

    `metrics.jsonl` has one line a step and holds only what the seed determines, so
    that it is equal, byte for byte, however often the run was killed. Times go to
    `timing.jsonl`, which keeps the steps that were done twice. TensorBoard gets both.
    """

    def __init__(self, workdir: str | os.PathLike, *, step: int):
        """Opens the files for the steps from `step` on.

        Args:
          workdir: Folder of the run.
          step: The first step that will be written; later lines are dropped.

        Raises:
          ValueError: If the lines of the steps before are not all there.
        """
        workdir = pathlib.Path(workdir)
        truncate(workdir / "metrics.jsonl", steps=step)
        self._metrics = (workdir / "metrics.jsonl").open("a", encoding="utf-8")
        self._timing = (workdir / "timing.jsonl").open("a", encoding="utf-8")
        # Tells TensorBoard to forget what it has seen of this step and later ones.
        self._events = tensorboardX.SummaryWriter(
            str(workdir / "tensorboard"), purge_step=step
        )

    def write(
        self, step: int, metrics: Mapping[str, float], seconds: Mapping[str, float]
    ) -> None:
        """Writes one step; when this returns the lines survive a kill.

        Args:
          step: Its number, from 0.
          metrics: What the seed determines.
          seconds: Wall-clock time of each stage.
        """
        for file, figures in ((self._metrics, metrics), (self._timing, seconds)):
            line = json.dumps({"step": step} | dict(figures), sort_keys=True)
            file.write(line + "\n")
            file.flush()
        for name, value in metrics.items():
            self._events.add_scalar(name, value, step)
        for name, value in seconds.items():
            self._events.add_scalar(f"seconds/{name}", value, step)
        self._events.flush()

    def close(self) -> None:
        """Closes the files."""
        self._metrics.close()
        self._timing.close()
        self._events.close()


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Returns the lines of a metrics, timing or events file."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def truncate(path: pathlib.Path, *, steps: int) -> None:
    """Keeps the lines of the first `steps` steps; the file may be absent if 0.

    Raises:
      ValueError: If there are not that many.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    kept = lines[:steps]
    if [json.loads(line)["step"] for line in kept] != list(range(steps)):
        raise ValueError(f"{path} does not hold steps 0 to {steps - 1}")
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_bytes(b"".join(kept))
    os.replace(unfinished, path)
