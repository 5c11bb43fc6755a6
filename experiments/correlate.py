"""How well what costs no fine-tuning tells good data from bad: the paper's Table 5.

Recipes by hand, single sources, a policy's recipes and adversarial ones are run on the
whole sources; their data is graded, measured by the baselines, and fine-tuned on with
several seeds. Every stage leaves files and is skipped where they are there.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import pathlib
import statistics
from typing import Any

import numpy as np
import tqdm

from datachef_jax import types
from datachef_jax.finetune import many
from datachef_jax.recipes import adversarial
from datachef_jax.recipes import handwritten
from datachef_jax.recipes import parse
from datachef_jax.recipes.execute import Executor
from datachef_jax.verifier import metadata
from datachef_jax.verifier.proxy import ProxySettings
from datachef_jax.verifier.verify import question_and_answer
from datachef_jax.verifier.verify import Verifier
from experiments import correlate_table
from experiments import dataset_metrics
from experiments import environment
from experiments import evaluation
from experiments import finetuning
from experiments import results
from sandbox import pool as sandbox_pool

ADVERSARIAL = "adversarial"
_BY_HAND, _SINGLE, _POLICY = "by hand", "single source", "policy"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recipe whose data is compared with others'.

    Attributes:
      name: Unique within its task.
      kind: `ADVERSARIAL`, or whose work it is.
      text: The recipe.
    """

    name: str
    kind: str
    text: str


def by_hand(task: types.Task, rows: Sequence[int]) -> list[Candidate]:
    """Returns the candidates that no policy has written; the list is fixed.

    Args:
      task: What for.
      rows: Sizes of the samples of the expert's data.
    """
    kinds = {
        _BY_HAND: handwritten.variants(task) | handwritten.samples(task, rows),
        # What was taken from the benchmark teaches its answers: it is an adversary's.
        _SINGLE: {
            s.id: handwritten.single_source(s)
            for s in task.sources
            if not adversarial.copied(s)
        },
        ADVERSARIAL: adversarial.attacks(task),
    }
    return [
        Candidate(name=name, kind=kind, text=parse.render(recipe))
        for kind, recipes in kinds.items()
        for name, recipe in recipes.items()
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Correlate:
    """The parts of the experiment; `build_correlate.py` makes them.

    Attributes:
      workdir: Where everything goes.
      tasks: All of them; the table tells those held out from the others.
      asked: The same with the questions that fine-tuned models are asked.
      seeds: Of the fine-tunes.
      samples: See `by_hand`.
      write: Texts of a policy's recipes for a task.
      executor: Runs recipes on whole sources.
      rewarded: Runs them on as much of the sources as recipes see in GRPO: what a
        policy is to be rewarded for is foretold from that.
      verifier: Grades what they leave, with the student as its held-out judge.
      baselines: By name.
      finetuner: Turns rows into benchmark scores.
      fit, width: See `Finetuner.score_many`.
      proxy: The numbers of the learned proxy.
      seed: Of draws and intervals.
      sandbox: Of the executor; started and ended by `run`.
    """

    workdir: pathlib.Path
    tasks: Sequence[types.Task]
    asked: Sequence[types.Task]
    seeds: Sequence[int]
    samples: Sequence[int]
    write: Callable[[types.Task], Sequence[str]]
    executor: Executor
    rewarded: Executor
    verifier: Verifier
    baselines: Mapping[str, dataset_metrics.Baseline]
    finetuner: finetuning.Finetuner
    fit: many.Fit
    width: int
    proxy: ProxySettings
    seed: int
    sandbox: sandbox_pool.Sandbox

    def run(self, record: environment.Environment) -> None:
        """Runs what is not done yet, prints the table, writes `summary.json`."""
        with self.sandbox:
            record.note("sandbox", self.sandbox.isolation)
            with record.stage("recipes"):
                candidates = {task.name: self._candidates(task) for task in self.tasks}
            with record.stage("datasets"):
                made = [
                    self._dataset(task, candidate)
                    for task in self.tasks
                    for candidate in self._shown(task, candidates[task.name])
                ]
        with record.stage("fine-tunes"):
            self._finetune(made)
        self._predict(made)
        figures = correlate_table.figures(
            made, held_out=[t.name for t in self.tasks if t.held_out], seed=self.seed
        )
        text = correlate_table.render(figures)
        print(text)
        results.write_jsonl(self.workdir / "datasets.jsonl", _plain(made))
        results.write_jsonl(self.workdir / "results.jsonl", _foretelling(made))
        results.write_text(self.workdir / "table.md", text + "\n")
        results.write_text(self.workdir / "scatter.svg", correlate_table.draw(made))
        results.write_json(self.workdir / "summary.json", figures)

    def _candidates(self, task: types.Task) -> list[Candidate]:
        """Returns all recipes for a task; the policy's are written once."""
        written = results.once(
            self.workdir / "recipes" / f"{task.name}.json",
            lambda: list(dict.fromkeys(self.write(task))),
        )
        return by_hand(task, self.samples) + [
            Candidate(name=f"policy {i + 1}", kind=_POLICY, text=text)
            for i, text in enumerate(written)
        ]

    def _shown(self, task: types.Task, candidates: Sequence[Candidate]) -> tqdm.tqdm:
        return tqdm.tqdm(candidates, desc=f"{task.name} data", unit="recipe")

    def _dataset(self, task: types.Task, candidate: Candidate) -> dict[str, Any]:
        """Returns a candidate's data and what is said of it; done only once."""
        name = f"{candidate.kind} {candidate.name}".replace("/", "_")
        return results.once(
            self.workdir / "datasets" / task.name / f"{name}.json",
            lambda: self._measure(task, candidate),
        )

    def _measure(self, task: types.Task, candidate: Candidate) -> dict[str, Any]:
        execution, verdict = self._graded(task, candidate, self.executor)
        rewarded = self._graded(task, candidate, self.rewarded)
        rows = execution.dataset.rows
        drawn = [question_and_answer(rows[row.index]) for row in verdict.rows]
        metrics = dataset_metrics.of_verdict(verdict) | dataset_metrics.of_rows(
            drawn, self.baselines
        )
        return {
            "task": task.name,
            "name": candidate.name,
            "kind": candidate.kind,
            "execution": execution.kind,
            "log": execution.log,
            "metrics": _finite(metrics),
            "gates": dict(verdict.gates),
            "found": dict(verdict.found),
            "factors": dict(verdict.factors),
            "grades": dict(verdict.grades),
            "interval": list(verdict.interval),
            "recipe": metadata.describe(task, execution, verdict),
            "rewarded": metadata.describe(task, *rewarded),
            "rows": [{"dialogs": row["dialogs"]} for row in rows],
        }

    def _graded(
        self, task: types.Task, candidate: Candidate, executor: Executor
    ) -> tuple[types.Execution, types.Verdict]:
        """Returns what a recipe leaves, and the verdict on it."""
        text = candidate.text
        (execution,) = executor.run(
            [task], [text], [evaluation.recipe_seed(task, text, self.seed)], _ignore
        )
        if execution.kind == "sandbox_error":
            raise RuntimeError(f"{task.name}, {candidate.name}: {execution.log}")
        (verdict,) = self.verifier.verify(
            [task],
            [execution],
            [evaluation.grading_seed(task, text, self.seed)],
            progress=_ignore,
        )
        return execution, verdict

    def _finetune(self, made: Sequence[dict[str, Any]]) -> None:
        """Adds the score with each seed to every dataset."""
        tasks = {task.name: task for task in self.asked}
        wanted = [
            finetuning.Wanted(tasks[one["task"]], one["rows"], seed)
            for one in made
            for seed in self.seeds
        ]
        total = len(wanted) * self.finetuner.training.steps
        with tqdm.tqdm(total=total, desc="fine-tunes", unit="update") as bar:
            scores = self.finetuner.score_many(
                wanted, fit=self.fit, width=self.width, progress=bar.update
            )
        for i, one in enumerate(made):
            own = scores[i * len(self.seeds) : (i + 1) * len(self.seeds)]
            one["dbs"] = [score["dbs"] for score in own]

    def _predict(self, made: Sequence[dict[str, Any]]) -> None:
        """Adds what the proxy says that has not seen a dataset's task."""
        said = dataset_metrics.of_proxy(
            [one["recipe"] for one in made],
            [statistics.fmean(one["dbs"]) for one in made],
            [one["task"] for one in made],
            self.proxy,
        )
        for i, one in enumerate(made):
            one["metrics"][dataset_metrics.PROXY] = said["mean"][i]
            one["proxy"] = {name: values[i] for name, values in said.items()}


def _plain(made: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the datasets without their rows, of which only the number counts."""
    return [
        {k: len(v) if k == "rows" else v for k, v in one.items() if k != "rewarded"}
        for one in made
    ]


def _foretelling(made: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns what `verifier.forecast` is fitted to."""
    named = ("task", "kind", "name", "dbs")
    return [{k: one[k] for k in named} | {"recipe": one["rewarded"]} for one in made]


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {k: float(v) if np.isfinite(v) else None for k, v in metrics.items()}


def _ignore(count: int) -> None:
    """Reports progress to nobody."""
