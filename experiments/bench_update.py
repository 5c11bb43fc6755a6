"""What one GRPO update costs: ours beside those of Tunix and TRL.

Every figure comes from a process of its own (`peers/`), which loads the same weights
and rows, does one update that compiles and a few that are timed. The programs take
turns, so that what else the machine does meets them all.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
import statistics
from typing import Any

import numpy as np
import tqdm

from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from experiments import bench_inputs
from experiments import bench_mfu
from experiments import environment
from experiments import results

_HEAD = (
    "program", "remat", "micro-batch", "seconds", "CPU-seconds", "peak GiB",
    "GiB above weights", "compile CPU-s", "loss", "versions",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to do the update.

    Attributes:
      program: "ours", "tunix" or "trl".
      remat: What the backward pass recomputes: "none" or, of every layer, "full".
      micro_batch: Rows of one backward pass.
    """

    program: str
    remat: str
    micro_batch: int

    @property
    def name(self) -> str:
        """Returns what its files and its row of the summary are called."""
        return f"{self.program}-{self.remat}-{self.micro_batch}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchUpdate:
    """The parts of the experiment.

    Attributes:
      workdir: Where everything goes.
      root: The repository, from which the programs are started.
      seed: Of weights and rows.
      architecture: Of the model.
      dtypes: `dtype` and `param_dtype`, as in `Compute`.
      rows: What is learned from.
      settings: Of objective and optimizer, as the programs want them.
      variants: What is measured, in this order.
      pythons: The interpreter of each program; "" where it is not to be measured.
      rounds: Processes for each variant.
      steps: Timed updates of each.
      tolerance: Largest relative differences of `loss` and `grad_norm`.
      mfu: Measures the share of an accelerator's peak that large models reach.
    """

    workdir: pathlib.Path
    root: pathlib.Path
    seed: int
    architecture: Qwen3Config
    dtypes: Mapping[str, str]
    rows: bench_inputs.Rows
    settings: Mapping[str, Any]
    variants: Sequence[Variant]
    pythons: Mapping[str, str]
    rounds: int
    steps: int
    tolerance: Mapping[str, float]
    mfu: bench_mfu.Mfu

    def run(self, record: environment.Environment) -> None:
        """Measures what is not measured yet; prints and writes the table.

        Raises:
          RuntimeError: If the programs compute different things, or ours fails.
        """
        folder = self.workdir / "inputs"
        with record.stage("inputs"):
            if not (folder / "batch.npz").exists():
                write_inputs(
                    folder, self.architecture, self.dtypes, self.rows, seed=self.seed
                )
        with record.stage("updates"):
            runs = self._runs(folder)
        with record.stage("mfu"):
            mfu = self.mfu.run(self.root, self.workdir / "mfu")
        summary = {
            "updates": {name: summarize(found) for name, found in runs.items()},
            "mfu": mfu,
        }
        summary["differences"] = differences(summary["updates"])
        for figure, most in self.tolerance.items():
            if not summary["differences"][figure] <= most:
                raise RuntimeError(
                    f"the programs do not compute the same: {figure} differs by "
                    f"{summary['differences'][figure]:.2e}, at most {most} is allowed; "
                    f"their figures stand in {self.workdir / 'runs'}"
                )
        text = "\n".join([table(self.variants, summary), "", *bench_mfu.lines(mfu)])
        print(text)
        results.write_text(self.workdir / "table.md", text + "\n")
        results.write_json(self.workdir / "summary.json", summary)

    def _runs(self, folder: pathlib.Path) -> dict[str, list[Any]]:
        """Returns what each process of each variant has measured, or why not."""
        for program, python in self.pythons.items():
            if not python:
                print(f"{program} is not measured: config.peers.{program} is empty")
        runs = {variant.name: [] for variant in self.variants}
        total = self.rounds * len(self.variants)
        with tqdm.tqdm(total=total, desc="updates", unit="process") as bar:
            for i in range(self.rounds):
                for variant in self.variants:
                    bar.set_postfix_str(variant.name)
                    runs[variant.name].append(self._measure(variant, i, folder))
                    bar.update()
        return runs

    def _measure(self, variant: Variant, i: int, folder: pathlib.Path) -> Any:
        python = self.pythons[variant.program]
        if not python:
            return "no interpreter is given"
        job = {
            "folder": str(folder / "weights"),
            "batch": str(folder / "batch.npz"),
            "sizes": bench_mfu.plain(self.architecture),
            "rows": self.rows.rows,
            "new_tokens": self.rows.new_tokens,
            "steps": self.steps,
            "remat": variant.remat,
            "micro_batch": variant.micro_batch,
            "unroll": self.architecture.num_layers,
            **self.dtypes,
            **self.settings,
        }
        module = (
            "our_update" if variant.program == "ours" else f"{variant.program}_update"
        )
        path = self.workdir / "runs" / f"{i}-{variant.name}"
        found = bench_inputs.start(python, module, job, path, root=self.root)
        if isinstance(found, str):
            if variant.program == "ours":
                raise RuntimeError(f"{variant.name}: {found}")
            print(f"{variant.name} is not measured: {found}", flush=True)
        return found


def write_inputs(
    folder: pathlib.Path,
    architecture: Qwen3Config,
    dtypes: Mapping[str, str],
    rows: bench_inputs.Rows,
    *,
    seed: int,
) -> None:
    """Writes random weights as a Hugging Face folder, and rows for an update.

    Args:
      folder: Gets `weights/` and `batch.npz`.
      architecture: Of the model.
      dtypes: `dtype` and `param_dtype`.
      rows: What they are to be like.
      seed: Of everything.
    """
    compute = Compute(**dtypes, remat="none", shard_sequence=False, unroll=1)
    model = weights.random(architecture, compute, seed=seed)
    weights.save(model, folder / "weights", stored_dtype=dtypes["param_dtype"])
    bench_inputs.write_rows(
        folder / "batch.npz",
        rows,
        vocab_size=architecture.vocab_size,
        seed=seed,
        model=model,
    )


def summarize(runs: Sequence[Any]) -> dict[str, Any]:
    """Returns the figures of one variant.

    Keys: `seconds` and `cpu_seconds` of an update, medians over all processes;
    `peak_gib`, the median of the largest resident set during the timed updates;
    `above_weights_gib`, what of it is beyond that after loading the weights;
    `device_peak_gib`, on an accelerator; `compile_cpu_seconds`, which the first update
    took beyond a later one; `loss` of the first and of the last update and `grad_norm`
    of the first (none where a peer does not tell); `processes`; `versions`. A variant
    without figures has `not_measured`, the reason.
    """
    measured = [run for run in runs if not isinstance(run, str)]
    if not measured:
        return {"not_measured": runs[0]}

    def median(figures: Sequence[float]) -> float:
        return round(statistics.median(figures), 3)

    seconds = [x for run in measured for x in run["seconds"]]
    return {
        "seconds": median(seconds),
        "cpu_seconds": median([x for run in measured for x in run["cpu_seconds"]]),
        "peak_gib": median([run["peak_gib"] for run in measured]),
        "above_weights_gib": median(
            [run["peak_gib"] - run["loaded_gib"] for run in measured]
        ),
        "device_peak_gib": median([run["device_peak_gib"] for run in measured]),
        # Not wall time, which another program may stretch by more than this.
        "compile_cpu_seconds": median(
            [run["first_cpu_seconds"] - min(run["cpu_seconds"]) for run in measured]
        ),
        "loss": [measured[0]["loss"][0], measured[0]["loss"][-1]],
        "grad_norm": measured[0]["grad_norm"][0],
        "processes": len(measured),
        "versions": measured[0]["versions"],
    }


def differences(updates: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Returns by how much the programs differ: the widest range over the mean.

    Keys: `loss`, of the first and of the last update, and `grad_norm`.
    """
    measured = [one for one in updates.values() if "loss" in one]

    def spread(values: Sequence[float]) -> float:
        return float(np.ptp(values) / np.abs(np.mean(values)))

    norms = [one["grad_norm"] for one in measured if one["grad_norm"] is not None]
    return {
        "loss": max(spread([one["loss"][i] for one in measured]) for i in (0, -1)),
        "grad_norm": spread(norms),
    }


def table(variants: Sequence[Variant], summary: Mapping[str, Any]) -> str:
    """Returns the figures of all variants as one Markdown table."""
    lines = [f"| {' | '.join(_HEAD)} |", "|---|---|" + "---:|" * 7 + "---|"]
    for variant in variants:
        one = summary["updates"][variant.name]
        cells = [variant.program, variant.remat, str(variant.micro_batch)]
        if "not_measured" in one:
            cells += ["–"] * 6 + [one["not_measured"]]
        else:
            device = one["device_peak_gib"]
            cells += [
                f"{one['seconds']:.2f}",
                f"{one['cpu_seconds']:.2f}",
                f"{one['peak_gib']:.2f}" + (f" + {device:.2f}" if device else ""),
                f"{one['above_weights_gib']:.2f}",
                f"{one['compile_cpu_seconds']:.1f}",
                f"{one['loss'][0]:.6f}",
                ", ".join(f"{k} {v}" for k, v in one["versions"].items()),
            ]
        lines.append(f"| {' | '.join(cells)} |")
    found = summary["differences"]
    lines += [
        "",
        f"Relative differences: loss {found['loss']:.1e}, gradient norm "
        f"{found['grad_norm']:.1e}.",
    ]
    return "\n".join(lines)
