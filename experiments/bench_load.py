"""How long loading a checkpoint takes, and how much memory beside the model itself.

`summary.json` has, for "ours" and "safetensors" (which reads every tensor and keeps
none): `seconds`, `cpu_seconds`, and `peak_gib`, the largest resident set of a process
that did nothing else; and `stored_gib`, the size of the files.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections as mlc
import numpy as np

from datachef_jax.models.qwen3 import layout
from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from experiments import checks
from experiments import environment
from experiments import results

# Each runs alone: what a process has once taken is in its largest resident set.
_HEAD = """
import json, pathlib, resource, sys, time
folder = pathlib.Path(sys.argv[1])
"""
_TAIL = """
usage = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which begins with what the process that started this one had.
status = pathlib.Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0])
print(json.dumps({
    "seconds": time.monotonic() - start,
    "cpu_seconds": usage.ru_utime + usage.ru_stime - before,
    "peak_gib": peak / 2**20,
}))
"""
_START = """
usage = resource.getrusage(resource.RUSAGE_SELF)
start, before = time.monotonic(), usage.ru_utime + usage.ru_stime
"""
_PROGRAMS = {
    "ours": """
import jax
from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.config import Compute
compute = Compute(
    dtype=sys.argv[2], param_dtype=sys.argv[2], remat="none", shard_sequence=False,
    unroll=1,
)
jax.devices()
""" + _START + "model = weights.load(folder, compute)",
    "safetensors": """
import ml_dtypes, safetensors
""" + _START + """
for file in sorted(folder.glob("*.safetensors")):
    with safetensors.safe_open(file, framework="numpy") as tensors:
        for name in tensors.keys():
            tensors.get_tensor(name)
""",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchLoad:
    """The experiment.

    Attributes:
      workdir: Where everything goes.
      root: The repository.
      sizes: Of the model.
      stored_dtype: Of the files, and of the loaded model.
      max_file_bytes: Size of a file.
      seed: Of the weights.
    """

    workdir: pathlib.Path
    root: pathlib.Path
    sizes: Qwen3Config
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

        graphdef, shapes = nnx.split(layout.abstract(self.sizes, compute), nnx.Param)
        weights.save(
            nnx.merge(graphdef, jax.tree.map(draw, shapes)),
            folder,
            stored_dtype=self.stored_dtype,
            max_file_bytes=self.max_file_bytes,
        )

    def _measure(self, name: str, folder: pathlib.Path) -> dict[str, float]:
        command = [sys.executable, "-c", _HEAD + _PROGRAMS[name] + _TAIL]
        done = subprocess.run(
            [*command, str(folder), self.stored_dtype],
            cwd=self.root,
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


def build(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> BenchLoad:
    """Builds the experiment behind `configs/bench/load.py`."""
    with checks.blame("config.architecture", config.architecture.to_dict()):
        sizes = Qwen3Config(**config.architecture)
    dtypes = ("float32", "bfloat16", "float16")
    dtype = config.stored_dtype
    checks.require(
        dtype in dtypes, "config.stored_dtype", dtype, f"must be one of {dtypes}"
    )
    return BenchLoad(
        workdir=workdir,
        root=root,
        sizes=sizes,
        stored_dtype=dtype,
        max_file_bytes=config.max_file_bytes,
        seed=config.seed,
    )


PROGRAMMES = {"bench_load": build}
