"""What tokens cost: our engine beside those of Tunix and transformers.

Every figure comes from a process of its own (`peers/`), which loads the same weights,
reads the same workload, warms up and answers it once. The programs take turns, so that
what else the machine does meets them all. A program is tried with several sizes of its
batch in the first round; the one that costs it the fewest CPU-seconds goes on.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
import statistics
from typing import Any

import tqdm

from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from experiments import bench_engine_table
from experiments import bench_floor
from experiments import bench_inputs
from experiments import bench_mfu
from experiments import bench_workloads
from experiments import environment
from experiments import results

_ITEMSIZE = 4  # float32
_MODULES = {
    "ours": "our_engine",
    "ours_without_prefix": "our_engine",
    "tunix": "tunix_engine",
    "transformers": "transformers_engine",
    "continuous": "continuous_engine",
}
# Whose interpreter a program has that is not one of its own.
_PYTHONS = {"ours_without_prefix": "ours", "continuous": "transformers"}
_ROWS = {"ours_without_prefix": "ours"}  # likewise, whose sizes of a batch
# "continuous" is transformers with continuous batching. Tunix's sampler scores nothing.
PROGRAMS = {
    "equal": ("ours", "tunix", "transformers", "continuous"),
    "rl": ("ours", "tunix", "transformers", "continuous"),
    "judge": ("ours", "ours_without_prefix", "transformers"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to answer a workload.

    Attributes:
      workload: Its name.
      program: One of those in `PROGRAMS`.
      rows: Completions decoded, or prompts scored, at a time.
    """

    workload: str
    program: str
    rows: int

    @property
    def name(self) -> str:
        """Returns what its files and its row of the summary are called."""
        return f"{self.workload}-{self.program}-{self.rows}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchEngine:
    """The parts of the experiment.

    Attributes:
      workdir: Where everything goes.
      root: The repository, from which the programs are started.
      seed: Of weights and workloads.
      architecture: Of the model.
      workloads: What is asked, by name.
      rows: The sizes of a batch that each program is tried with.
      pythons: The interpreter of each; "" where it is not to be measured.
      rounds: Processes for each program and workload.
      floor_slots: Rows that the ideal program has live at a time.
    """

    workdir: pathlib.Path
    root: pathlib.Path
    seed: int
    architecture: Qwen3Config
    workloads: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, Sequence[int]]
    pythons: Mapping[str, str]
    rounds: int
    floor_slots: int

    def run(self, record: environment.Environment) -> None:
        """Measures what is not measured yet; prints and writes the table."""
        folder = self.workdir / "inputs"
        with record.stage("inputs"):
            self._write_inputs(folder)
        for program, python in self.pythons.items():
            if not python:
                print(f"{program} is not measured: config.peers.{program} is empty")
        with record.stage("programs"):
            runs = self._runs(folder)
        floors = {
            name: floor(workload, self.architecture, slots=self.floor_slots)
            for name, workload in self.workloads.items()
        }
        summary = summarize(runs, floors)
        text = bench_engine_table.table(summary)
        print(text)
        results.write_text(self.workdir / "table.md", text + "\n")
        results.write_json(self.workdir / "summary.json", summary)

    def _write_inputs(self, folder: pathlib.Path) -> None:
        for name, workload in self.workloads.items():
            bench_workloads.write(folder / f"{name}.json", workload)
        if (folder / "weights" / "config.json").exists():  # which is written last
            return
        compute = Compute(
            dtype="float32",
            param_dtype="float32",
            remat="none",
            shard_sequence=False,
            unroll=1,
        )
        model = weights.random(self.architecture, compute, seed=self.seed)
        weights.save(model, folder / "weights", stored_dtype="float32")

    def _runs(self, folder: pathlib.Path) -> dict[Variant, list[Any]]:
        """Returns what each process of each variant has measured, or why not."""
        runs = {variant: [] for variant in self._variants()}
        chosen = list(runs)
        for i in range(self.rounds):
            for variant in tqdm.tqdm(chosen, desc=f"round {i}", unit="process"):
                runs[variant].append(self._measure(variant, i, folder))
            if i == 0:
                chosen = best(runs)
        return runs

    def _variants(self) -> list[Variant]:
        """Returns all variants, those of a workload one after another."""
        found = []
        for workload, asked in self.workloads.items():
            most = len(asked["prompts"])
            for program in PROGRAMS[workload]:
                # Larger batches than there are rows would be the same one again.
                sizes = {
                    min(rows, most) for rows in self.rows[_ROWS.get(program, program)]
                }
                found += [
                    Variant(workload=workload, program=program, rows=rows)
                    for rows in sorted(sizes)
                ]
        return found

    def _measure(self, variant: Variant, i: int, folder: pathlib.Path) -> Any:
        python = self.pythons[_PYTHONS.get(variant.program, variant.program)]
        if not python:
            return "no interpreter is given"
        job = {
            "folder": str(folder / "weights"),
            "workload": str(folder / f"{variant.workload}.json"),
            "sizes": bench_mfu.plain(self.architecture),
            "rows": variant.rows,
            "share_prefix": variant.program != "ours_without_prefix",
            "watch_host": i == 0,
        }
        path = self.workdir / "runs" / f"{i}-{variant.name}"
        found = bench_inputs.start(
            python, _MODULES[variant.program], job, path, root=self.root
        )
        if isinstance(found, str):
            print(f"{variant.name} is not measured: {found}", flush=True)
        return found


def best(runs: Mapping[Variant, Sequence[Any]]) -> list[Variant]:
    """Returns for each workload and program the variant of the fewest CPU-seconds.

    Only the first process of each counts; a program that has no figures has its first
    variant, so that its reason is seen.
    """
    found: dict[tuple[str, str], Variant] = {}

    def cost(variant: Variant) -> float:
        first = runs[variant][0]
        return float("inf") if isinstance(first, str) else first["cpu_seconds"]

    for variant in runs:
        key = (variant.workload, variant.program)
        if key not in found or cost(variant) < cost(found[key]):
            found[key] = variant
    return list(found.values())


def floor(
    workload: Mapping[str, Any], architecture: Qwen3Config, *, slots: int
) -> int | None:
    """Returns the fewest bytes that a workload must move, None if it only scores."""
    if workload["candidates"]:
        return None
    weight_bytes, token_bytes = bench_floor.step_bytes(architecture, itemsize=_ITEMSIZE)
    return bench_floor.decode_bytes(
        [len(prompt) for prompt in workload["prompts"]],
        workload["new_tokens"],
        slots=slots,
        weight_bytes=weight_bytes,
        token_bytes=token_bytes,
    )


def summarize(
    runs: Mapping[Variant, Sequence[Any]], floors: Mapping[str, int | None]
) -> dict[str, Any]:
    """Returns all figures.

    Keys: `floor_gib`, by workload; `workloads`, by workload and program the figures of
    the best variant, see `figures`, with `agreement` where transformers has been
    measured too; `tried`, by the variant's name its CPU-seconds in the first round, or
    why there are none.
    """
    tried, summary = {}, {name: {} for name in floors}
    for variant, found in runs.items():
        first = found[0]
        tried[variant.name] = first if isinstance(first, str) else first["cpu_seconds"]
    chosen = {(v.workload, v.program): runs[v] for v in best(runs)}
    for variant in best(runs):
        name, program = variant.workload, variant.program
        one = figures(runs[variant], floors[name])
        reference = _measured(chosen[name, "transformers"])
        if reference and "not_measured" not in one:
            one["agreement"] = agreement(_measured(runs[variant])[0], reference[0])
        summary[name][program] = {"rows": variant.rows} | one
    gib = {name: None if n is None else n / 2**30 for name, n in floors.items()}
    return {"floor_gib": gib, "workloads": summary, "tried": tried}


def _measured(runs: Sequence[Any]) -> list[Any]:
    return [run for run in runs if not isinstance(run, str)]


def figures(runs: Sequence[Any], floor_bytes: int | None) -> dict[str, Any]:
    """Returns the figures of one variant.

    Keys: `seconds`, `cpu_seconds`, `peak_gib` and `warm_up_cpu_seconds` (compilation
    above all), medians over the processes; `answered`, new tokens or scored rows;
    `per_cpu_second`, `per_second`, of these; `above_weights_gib`, what of the peak is
    beyond the weights; `host_share`; `floor_gib_per_second`, none for scores;
    `processes`; `versions`. A variant without figures has `not_measured`, the reason.
    """
    measured = _measured(runs)
    if not measured:
        return {"not_measured": runs[0]}

    def median(name: str) -> float:
        return statistics.median(run[name] for run in measured)

    answered, seconds = measured[0]["answered"], median("seconds")
    above = [run["peak_gib"] - run["loaded_gib"] for run in measured]
    shares = [run["host_share"] for run in measured if run["host_share"] is not None]
    return {
        "seconds": seconds,
        "cpu_seconds": median("cpu_seconds"),
        "answered": answered,
        "per_cpu_second": answered / median("cpu_seconds"),
        "per_second": answered / seconds,
        "peak_gib": median("peak_gib"),
        "above_weights_gib": statistics.median(above),
        "host_share": statistics.median(shares) if shares else None,
        "floor_gib_per_second": floor_bytes and floor_bytes / 2**30 / seconds,
        "warm_up_cpu_seconds": median("warm_up_cpu_seconds"),
        "processes": len(measured),
        "versions": measured[0]["versions"],
    }


def agreement(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """Returns how far two programs find the same.

    Keys: `tokens`, the share of the greedy tokens that come before the first that
    differs, if any are compared; `nats`, the largest difference of a score, if any
    are.
    """
    found = {}
    if other["greedy"]:
        same = [
            _prefix(a, b) for a, b in zip(one["greedy"], other["greedy"], strict=True)
        ]
        found["tokens"] = sum(same) / sum(map(len, other["greedy"]))
    if other["scores"]:
        pairs = zip(one["scores"], other["scores"], strict=True)
        found["nats"] = max(
            abs(a - b) for x, y in pairs for a, b in zip(x, y, strict=True)
        )
    return found


def _prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Returns how many tokens are the same before the first that differs."""
    pairs = zip(one, other, strict=True)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(other))
