"""What verifying a row costs: our verifier beside the same judge with transformers.

Every figure comes from a process of its own (`peers/`), started in turns, so that what
else the machine does meets them all. Programs: `verifier`, the whole of ours, gates
included; `judge`, ours without gates, from the texts of rows to their grades; and
transformers, `row_by_row` and `batched`, with the size of a batch that costs it the
fewest CPU-seconds in the first round. Ours reads equal rows once, and begins without
having seen any; the peers are handed no row twice, and ids instead of texts, so what is
counted is all in their favour.

`summary.json` has, by setting, what was `asked`; by program its `figures`, see
`bench_engine.figures`, where `answered` is rows that no gate stops; `times`, how many
times as fast as `batched` ours are, by wall time and by CPU; `stages`, the CPU-seconds
of ours by stage; `read_share`, of the prompts' tokens, what our engine has read; and
`apart`, how far any program's grades are from ours. `steps` has the verifier's share of
a GRPO step, see `share`; `tried` the CPU-seconds of each variant in the first round.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import math
import pathlib
import pickle
import statistics
from typing import Any

import numpy as np
from scipy import special
import tqdm

from datachef_jax.sampling.request import Part
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Scores
from datachef_jax.serving.client import Client
from datachef_jax.verifier import verify
from experiments import bench_engine
from experiments import bench_inputs
from experiments import bench_verifier_table
from experiments import bench_workloads
from experiments import environment
from experiments import results
from experiments.bench_engine import Variant
from experiments.peers import our_verifier
from experiments.peers.our_verifier import Inputs

OURS = ("verifier", "judge")
PEERS = ("row_by_row", "batched")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """A judge and rows for it.

    Attributes:
      ask: Makes the inputs, and what they name, in a folder.
      batches: The sizes of a batch that transformers is tried with.
    """

    ask: Callable[[pathlib.Path], Inputs]
    batches: Sequence[int]


class Recorder(Client):
    """Answers every score alike, and keeps what was asked.

    Attributes:
      requests: In the order in which they came.
    """

    def __init__(self):
        """Has been asked nothing."""
        self.requests: list[Request] = []

    def serve(self, requests: Sequence[Request]) -> Iterator[tuple[int, Part]]:
        """See `Client`."""
        self.requests += requests
        for i, request in enumerate(requests):
            count = len(request.candidates)
            scores = Scores(candidates=(-math.log(count),) * count)
            yield i, Part(request=i, sample=None, scores=scores, last=True)


def write_inputs(
    inputs: Inputs, folder: pathlib.Path, root: pathlib.Path
) -> dict[str, float]:
    """Writes what the programs of a setting read: `inputs.pickle`, `workload.json`.

    Args:
      inputs: Without items.
      folder: Gets the files.
      root: The repository.

    Returns:
      Counts: `datasets`, their `rows`, those `drawn`, those `judged`, `prompts`
      (of different rows), and mean `tokens` of a prompt.
    """
    recorder = Recorder()
    verdicts = our_verifier.verifier(inputs, recorder, root).verify(
        inputs.tasks, inputs.executions, inputs.seeds, progress=lambda count: None
    )
    items = [
        (task, *verify.question_and_answer(execution.dataset.rows[row.index]))
        for task, execution, verdict in zip(
            inputs.tasks, inputs.executions, verdicts, strict=True
        )
        for row in verdict.rows
        if not row.gate
    ]
    prompts = [list(request.prompt) for request in recorder.requests]
    workload = {
        "prompts": prompts,
        "new_tokens": [],
        "candidates": list(recorder.requests[0].candidates),
        "pad_id": bench_workloads.PAD_ID,
    }
    bench_workloads.write(folder / "workload.json", workload)
    whole = dataclasses.replace(inputs, items=items)
    (folder / "inputs.pickle").write_bytes(pickle.dumps(whole))
    return {
        "datasets": len(inputs.tasks),
        "rows": sum(len(done.dataset.rows) for done in inputs.executions),
        "drawn": sum(len(verdict.rows) for verdict in verdicts),
        "judged": len(items),
        "prompts": len(prompts),
        "tokens": statistics.fmean(map(len, prompts)),
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchVerifier:
    """The parts of the experiment.

    Attributes:
      workdir: Where everything goes.
      root: The repository, from which the programs are started.
      settings: By name.
      python: Our interpreter.
      peer: That of transformers; "" where it is not to be measured.
      rounds: Processes for each program and setting.
      tolerance: How far two programs may be apart in the probability of a grade.
      steps: The config of the GRPO steps.
      warm_up: How many of these are not counted: they compile.
    """

    workdir: pathlib.Path
    root: pathlib.Path
    settings: Mapping[str, Setting]
    python: str
    peer: str
    rounds: int
    tolerance: float
    steps: Mapping[str, Any]
    warm_up: int

    def run(self, record: environment.Environment) -> None:
        """Measures what is not measured yet; prints and writes the tables.

        Raises:
          RuntimeError: If two programs do not give the same grades.
        """
        with record.stage("inputs"):
            asked = {name: self._asked(name) for name in self.settings}
        if not self.peer:
            print("transformers is not measured: config.peers.transformers is empty")
        with record.stage("programs"):
            runs = self._runs()
        with record.stage("steps"):
            steps = self._steps()
        summary = summarize(runs, asked, self.tolerance)
        summary["steps"] = share(steps[self.warm_up :])
        text = bench_verifier_table.page(summary)
        print(text)
        results.write_text(self.workdir / "table.md", text)
        results.write_json(self.workdir / "summary.json", summary)

    def _asked(self, name: str) -> dict[str, float]:
        """Writes the inputs of a setting, if they are not there; see `write_inputs`."""
        folder = self.workdir / "inputs" / name

        def write() -> dict[str, float]:
            inputs = self.settings[name].ask(folder)
            return write_inputs(inputs, folder, self.root)

        return results.once(folder / "asked.json", write)

    def _runs(self) -> dict[Variant, list[Any]]:
        """Returns what each process of each variant has measured, or why not."""
        runs = {variant: [] for variant in self._variants()}
        chosen = list(runs)
        for i in range(self.rounds):
            for variant in tqdm.tqdm(chosen, desc=f"round {i}", unit="process"):
                runs[variant].append(self._measure(variant, i))
            if i == 0:
                chosen = bench_engine.best(runs)
        return runs

    def _variants(self) -> list[Variant]:
        """Returns all variants, those of a setting one after another."""
        found = []
        for name, setting in self.settings.items():
            sizes = {"row_by_row": (1,), "batched": setting.batches}
            found += [
                Variant(workload=name, program=program, rows=rows)
                for program in (*OURS, *PEERS)
                for rows in sizes.get(program, (0,))  # ours: as its engine has it
            ]
        return found

    def _measure(self, variant: Variant, i: int) -> Any:
        ours = variant.program in OURS
        if not ours and not self.peer:
            return "no interpreter is given"
        folder = self.workdir / "inputs" / variant.workload
        inputs = our_verifier.read(folder / "inputs.pickle")
        job = {
            "root": str(self.root),
            "inputs": str(folder / "inputs.pickle"),
            "judge_alone": variant.program == "judge",
            "folder": str(self.root / inputs.config["judge"]["checkpoint"]),
            "workload": str(folder / "workload.json"),
            "rows": variant.rows,
            "watch_host": False,
        }
        name = f"{i}-{variant.name}"
        if ours:
            return self._own("our_verifier", job, name)
        found = bench_inputs.start(
            self.peer,
            "transformers_judge",
            job,
            self.workdir / "runs" / name,
            root=self.root,
        )
        if isinstance(found, str):
            print(f"{variant.name} is not measured: {found}", flush=True)
        return found

    def _steps(self) -> list[dict[str, float]]:
        """Returns the figures of each GRPO step, see `our_steps.figures`."""
        path = self.workdir / "inputs" / "steps.pickle"
        path.write_bytes(pickle.dumps(dict(self.steps)))
        job = {"config": str(path), "root": str(self.root)}
        return self._own("our_steps", job, "steps")

    def _own(self, program: str, job: Mapping[str, Any], name: str) -> Any:
        """Returns what a program of ours measures.

        Raises:
          RuntimeError: If it measures nothing.
        """
        path = self.workdir / "runs" / name
        found = bench_inputs.start(self.python, program, job, path, root=self.root)
        if isinstance(found, str):
            raise RuntimeError(f"{path}.log: {found}")
        return found


def summarize(
    runs: Mapping[Variant, Sequence[Any]],
    asked: Mapping[str, Mapping[str, float]],
    tolerance: float,
) -> dict[str, Any]:
    """Returns the figures of all settings, and what was `tried`.

    Args:
      runs: What the processes of each variant have measured, or why they have not.
      asked: By setting; see `BenchVerifier`.
      tolerance: See there.

    Raises:
      RuntimeError: If two programs of a setting do not give the same grades.
    """
    tried = {
        variant.name: found[0] if isinstance(found[0], str) else found[0]["cpu_seconds"]
        for variant, found in runs.items()
    }
    chosen = bench_engine.best(runs)
    settings = {}
    for name, counts in asked.items():
        found = {v.program: runs[v] for v in chosen if v.workload == name}
        rows = {v.program: v.rows for v in chosen if v.workload == name}
        figures = {
            program: {"rows": rows[program]} | _figures(ran, counts["judged"])
            for program, ran in found.items()
        }
        measured = {
            program: ran
            for program, each in found.items()
            if (ran := [run for run in each if not isinstance(run, str)])
        }
        scores = {program: ran[0]["scores"] for program, ran in measured.items()}
        settings[name] = {
            "asked": dict(counts),
            "figures": figures,
            "times": times(figures),
            "stages": stages(measured),
            "read_share": measured["judge"][0]["read_tokens"]
            / (counts["prompts"] * counts["tokens"]),
            "apart": apart(scores, name, tolerance),
        }
    return {"settings": settings, "tried": tried}


def _figures(runs: Sequence[Any], judged: int) -> dict[str, Any]:
    """Returns `bench_engine.figures`: a peer's answer counts wherever it was judged."""
    counted = [
        run if isinstance(run, str) else dict(run) | {"answered": judged}
        for run in runs
    ]
    return bench_engine.figures(counted, None)


def times(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns how many times as many rows ours has done as `batched` in the same time.

    Keys: by program of ours `per_second` and `per_cpu_second`; nothing where `batched`
    has no figures.
    """
    names, batched = ("per_second", "per_cpu_second"), figures["batched"]
    if "not_measured" in batched:
        return {}
    return {
        program: {name: figures[program][name] / batched[name] for name in names}
        for program in OURS
    }


def stages(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """Returns the CPU-seconds of our verifier by stage, of medians over processes.

    Keys: `prompts` (rows are rendered and tokenised, and grades made of scores), what
    the judge alone takes beside its engine; `engine`; `gates`, all the rest.
    """

    def median(program: str, name: str) -> float:
        return statistics.median(run[name] for run in runs[program])

    prompts = median("judge", "cpu_seconds") - median("judge", "engine_cpu_seconds")
    engine = median("verifier", "engine_cpu_seconds")
    gates = median("verifier", "cpu_seconds") - engine - prompts
    return {"gates": gates, "prompts": prompts, "engine": engine}


def apart(
    scores: Mapping[str, Sequence[Sequence[float]]], setting: str, tolerance: float
) -> float:
    """Returns how far the grades of any program are from those of the first one.

    Args:
      scores: Log-probabilities of the grades by program and prompt.
      setting: Its name.
      tolerance: The largest difference of a probability that is allowed: of a grade, if
        the reply is one, or that it is one.

    Raises:
      RuntimeError: If one is larger, or not a number; names the program.
    """
    grades = {
        program: np.hstack(
            [special.softmax(found, axis=1), np.exp(found).sum(1, keepdims=True)]
        )
        for program, found in scores.items()
    }
    first = next(iter(grades))
    largest = 0.0
    for program, found in grades.items():
        difference = float(np.abs(found - grades[first]).max())
        if not difference <= tolerance:
            raise RuntimeError(
                f"{setting}: the grades of {program} and {first} differ by "
                f"{difference:.1e}, more than {tolerance:.1e}"
            )
        largest = max(largest, difference)
    return largest


def share(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns which part of GRPO steps is the verifier's.

    Keys: `steps`, their number; `seconds` and `cpu_seconds` of one, the sandbox's
    included, means; `alone_seconds` and `alone_cpu_seconds` of its verifying, alone;
    `cpu_share`, of those CPU-seconds; `alone_share`, of those seconds; `stage_share`,
    wall time of the stage in the run, where it waits for cores and for the engine, to
    that of the step.

    Args:
      steps: See `our_steps.figures`.
    """
    mean = {name: statistics.fmean(step[name] for step in steps) for name in steps[0]}
    cpu = mean["cpu_seconds"] + mean["sandbox_cpu_seconds"]
    return {
        "steps": len(steps),
        "seconds": mean["seconds"],
        "cpu_seconds": cpu,
        "alone_seconds": mean["alone_seconds"],
        "alone_cpu_seconds": mean["alone_cpu_seconds"],
        "cpu_share": mean["alone_cpu_seconds"] / cpu,
        "alone_share": mean["alone_seconds"] / mean["seconds"],
        "stage_share": mean["verify_seconds"] / mean["seconds"],
    }
