"""How long loading a checkpoint takes, and how much memory beside the model itself.

`summary.json` has, for "ours" and "safetensors" (which reads every tensor and keeps
none): `seconds`, `cpu_seconds`, and `peak_gib`, the largest resident set of a process
that did nothing else; and `stored_gib`, the size of the files.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from datachef_jax.models.qwen3 import layout
from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from experiments import environment
from experiments import results

_PROGRAMS = ("ours", "safetensors")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchLoad:
    """The experiment.

    Attributes:
      workdir: Where everything goes.
      root: The repository.
      architecture: Of the model.
      stored_dtype: Of the files, and of the loaded model.
      max_file_bytes: Size of a file.
      seed: Of the weights.
    """

    workdir: pathlib.Path
    root: pathlib.Path
    architecture: Qwen3Config
    stored_dtype: str
    max_file_bytes: int
    seed: int

    def run(self, record: environment.Environment) -> None:
        """Writes the weights if they are not there, measures, prints the table."""
        folder = self.workdir / "weights"
        if not (folder / "config.json").exists():  # which is written last
            with record.stage("writing"):
                self._write(folder)
        with record.stage("loading"):
            figures = {name: self._measure(name, folder) for name in _PROGRAMS}
        files = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
        summary = figures | {"stored_gib": files / 2**30}
        print(table(summary))
        results.write_text(self.workdir / "table.md", table(summary) + "\n")
        results.write_json(self.workdir / "summary.json", summary)

    def _write(self, folder: pathlib.Path) -> None:
        compute = Compute(
            dtype=self.stored_dtype,
            param_dtype=self.stored_dtype,
            remat="none",
            shard_sequence=False,
            unroll=1,
        )
        rng = np.random.default_rng(self.seed)

        def draw(x: jax.ShapeDtypeStruct) -> jax.Array:
            return jnp.asarray(rng.random(x.shape, np.float32), x.dtype)

        model = layout.abstract(self.architecture, compute)
        graphdef, shapes = nnx.split(model, nnx.Param)
        weights.save(
            nnx.merge(graphdef, jax.tree.map(draw, shapes)),
            folder,
            stored_dtype=self.stored_dtype,
            max_file_bytes=self.max_file_bytes,
        )

    def _measure(self, name: str, folder: pathlib.Path) -> dict[str, float]:
        command = [sys.executable, "-m", "experiments.peers.load", name]
        done = subprocess.run(
            [*command, str(folder), self.stored_dtype],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(self.root)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])


def table(summary: dict) -> str:
    """Returns the figures as a Markdown table."""
    stored = f"loading {summary['stored_gib']:.2f} GiB"
    lines = [
        f"| {stored} | seconds | CPU-seconds | peak GiB |",
        "|---|---:|---:|---:|",
    ]
    for name in _PROGRAMS:
        figures = summary[name]
        lines.append(
            f"| {name} | {figures['seconds']:.1f} | {figures['cpu_seconds']:.1f} | "
            f"{figures['peak_gib']:.2f} |"
        )
    return "\n".join(lines)
