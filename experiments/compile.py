"""Compiles the programs of a run ahead of time for TPU topologies that are not here.

Wants the `libtpu` wheel (requirements-parity.txt), which compiles for TPUs on any
machine. Every program of every topology leaves a file, so that a killed run goes on;
then one table of what each takes. `summary.json` has a list of rows with the keys:

  program, topology, mesh, shape: what was compiled, for what;
  fits: whether the compiler found room for it; if not, `needs_gib` and nothing below;
  arguments_gib, temporaries_gib, peak_gib: of one chip. The peak also counts results
    that take no argument's place;
  hbm_share: of the peak in the chip's memory (`hbm_gib` of the config);
  petaflops: of all chips together, matrix products, loops as often as they run;
  step_seconds: predicted: the larger of those operations at `efficiency` of the peak
    rate, and of the bytes that a decoding loop reads at the same share of the memory's
    rate. Exchange between chips is taken to hide behind either.

Seconds of compiling stand in `environment.json` and in the printed table.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import importlib.util
import os
import pathlib
import re
import time
from typing import Any

import jax
from jax.experimental import topologies
import ml_collections as mlc
import tqdm

from datachef_jax.parallel import flops
from datachef_jax.parallel import sharding
from experiments import checks
from experiments import environment
from experiments import models
from experiments import programs
from experiments import results

_GIB = 2**30
# Without these libtpu asks a server of Google's cloud, for minutes, what it runs on.
_ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",
    # Nobody's TPU: several processes may compile side by side.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}
# The compiler's two ways to say so: of all a program needs, of temporaries alone.
_NEEDS = (
    re.compile(r"Used ([\d.]+)([KMG]) of ([\d.]+)([KMG]) hbm"),
    re.compile(r"\(([\d.]+)([KMG])\) exceeds available HBM \(([\d.]+)([KMG])\)"),
)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
# Keys of a topology in the config.
_TARGET = {"name": str, "topology": str, "data": int, "model": int} | dict.fromkeys(
    ("tflops", "gigabytes_per_second", "hbm_gib"), (int, float)
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compile:
    """The experiment.

    Attributes:
      workdir: Where everything goes.
      config: Of the run whose programs are compiled.
      topologies: What to compile for; keys as in `configs/compile/qwen3_32b.py`.
      efficiency: Share of the peak rates that predictions count on.
      search: Whether to look for the largest micro-batch that fits.
    """

    workdir: pathlib.Path
    config: mlc.ConfigDict
    topologies: Sequence[Mapping[str, Any]]
    efficiency: float
    search: bool

    def run(self, record: environment.Environment) -> None:
        """Compiles what is not compiled yet, prints the table."""
        rows = []
        for target in self.topologies:
            with record.stage(f"compiling for {target['name']}"):
                rows += self._compile_for(target)
        text = table(rows)
        print(text)
        results.write_text(self.workdir / "table.md", text + "\n")
        kept = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
        results.write_json(self.workdir / "summary.json", kept)

    def _compile_for(self, target: Mapping[str, Any]) -> list[dict[str, Any]]:
        with jax.set_mesh(make_mesh(target)):
            hbm_bytes = int(target["hbm_gib"] * _GIB)
            wanted = programs.of_run(self.config, hbm_bytes=hbm_bytes)
            rows = [
                self._once(target, program)
                for program in tqdm.tqdm(wanted, desc=target["name"], unit="program")
            ]
            if self.search:
                rows.append(self.largest(target))
        return rows

    def largest(self, target: Mapping[str, Any]) -> dict[str, Any]:
        """Doubles the micro-batch as long as the update fits; returns the last."""
        rl = self.config.rl
        size, found = rl.micro_batch, None
        while (rl.prompts_per_step * rl.group_size) % size == 0:
            made = self._once(target, programs.grpo_update(self.config, size))
            if not made["fits"]:
                return found or made
            found = made | {"program": "GRPO update, largest micro-batch"}
            size *= 2
        return found

    def _once(
        self, target: Mapping[str, Any], program: programs.Program
    ) -> dict[str, Any]:
        name = re.sub(r"\W+", "_", f"{program.name} {program.shape}")
        path = self.workdir / "programs" / target["name"] / f"{name}.json"
        return results.once(
            path,
            functools.partial(measure, program, target, efficiency=self.efficiency),
        )


def build(config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path) -> Compile:
    """Builds the experiment behind `configs/compile/qwen3_32b.py`."""
    del root
    checks.numbers(config)
    checks.require(
        importlib.util.find_spec("libtpu") is not None,
        "config.experiment",
        "compile",
        "wants libtpu: pip install -r requirements-parity.txt",
    )
    settings = config.compile.to_dict()
    for target in settings["topologies"]:
        with checks.blame("config.compile.topologies", target):
            _check_target(target)
            make_mesh(target)
    for section in ("policy", "judge", "base"):
        checkpoint = config[section].checkpoint
        with checks.blame(f"config.{section}.checkpoint", checkpoint):
            if not checkpoint.startswith("random/"):
                raise ValueError("must be a published size, as in 'random/8b'")
            models.sizes(config, section, vocab_size=0)
    return Compile(workdir=workdir, config=config, **settings)


PROGRAMMES = {"compile": build}


def _check_target(target: Any) -> None:
    if not isinstance(target, Mapping) or target.keys() != _TARGET.keys():
        raise ValueError(f"must have the keys {sorted(_TARGET)}")
    for key, kind in _TARGET.items():
        if not isinstance(target[key], kind):
            raise ValueError(f"{key}={target[key]!r} is of the wrong type")


def make_mesh(target: Mapping[str, Any]) -> jax.sharding.Mesh:
    """Returns the mesh of a topology's chips.

    Raises:
      ValueError: If there is no such topology, or its chips do not fill the mesh.
    """
    os.environ.update(_ALONE)
    try:
        chips = topologies.get_topology_desc(target["topology"], platform="tpu")
    except Exception as error:  # whatever libtpu raises for a name
        raise ValueError(f"{target['topology']}: {error}") from error
    return sharding.make_mesh(
        data=target["data"], model=target["model"], devices=chips.devices
    )


def measure(
    program: programs.Program, target: Mapping[str, Any], *, efficiency: float
) -> dict[str, Any]:
    """Compiles a program under the mesh that is set; returns its row of the table."""
    start = time.monotonic()
    traced = program.trace()
    chips = target["data"] * target["model"]
    operations = flops.count(traced.jaxpr.jaxpr, while_trips=program.trips)
    row = {
        "program": program.name,
        "topology": target["name"],
        "mesh": f"{target['data']} x {target['model']}",
        "shape": program.shape,
        "petaflops": operations / 1e15,
    }
    try:
        memory = traced.lower().compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        return row | {"fits": False, "seconds": _since(start), **needs(error)}
    peak = (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )
    rates = {
        name: efficiency * target[name] * 1e9
        for name in ("tflops", "gigabytes_per_second")
    }
    computing = operations / (chips * 1e3 * rates["tflops"])
    reading = memory.argument_size_in_bytes / rates["gigabytes_per_second"]
    return row | {
        "fits": True,
        "arguments_gib": memory.argument_size_in_bytes / _GIB,
        "temporaries_gib": memory.temp_size_in_bytes / _GIB,
        "peak_gib": peak / _GIB,
        "hbm_share": peak / _GIB / target["hbm_gib"],
        "step_seconds": max(computing, program.trips * reading),
        "seconds": _since(start),
    }


def _since(start: float) -> float:
    return round(time.monotonic() - start, 1)


def needs(error: Exception) -> dict[str, float]:
    """Reads what a program needs from the compiler's message, or raises it again."""
    matches = (pattern.search(str(error)) for pattern in _NEEDS)
    found = next(filter(None, matches), None)
    if found is None:
        raise error
    used, unit, limit, limit_unit = found.groups()
    return {
        "needs_gib": float(used) * _UNITS[unit] / _GIB,
        "of_gib": float(limit) * _UNITS[limit_unit] / _GIB,
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows as a Markdown table."""
    lines = [
        "| program | topology | mesh | batch and lengths | arguments GiB | "
        "temporaries GiB | peak GiB | of HBM | PFLOP | predicted s | compiled in s |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        head = [row[name] for name in ("program", "topology", "mesh", "shape")]
        if row["fits"]:
            cells = [
                f"{row['arguments_gib']:.2f}",
                f"{row['temporaries_gib']:.2f}",
                f"{row['peak_gib']:.2f}",
                f"{row['hbm_share']:.0%}",
                f"{row['petaflops']:,.1f}",
                f"{row['step_seconds']:.3g}",
            ]
        else:
            needs = f"needs {row['needs_gib']:.1f} of {row['of_gib']:.1f} GiB"
            cells = ["", "", f"does not fit: {needs}", "", "", ""]
        lines.append("| " + " | ".join([*head, *cells, f"{row['seconds']:.0f}"]) + " |")
    return "\n".join(lines)
