"""Shows that the benchmark score depends on the data: hand-written recipes, fine-tuned.

Each held-out task's recipes, from careless to expert, are run on the whole sources,
fine-tuned with several seeds and scored. The score must span a wide range, and the
seeds must agree on the order of the recipes; else no reward could be judged by it.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import pathlib
import statistics
from typing import Any

from scipy import stats
import tqdm

from datachef_jax import types
from datachef_jax.recipes.execute import Executor
from experiments import environment
from experiments import evaluation
from experiments import finetuning
from experiments import results
from sandbox import pool as sandbox_pool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
    """The parts of the experiment.

    Attributes:
      workdir: Where everything goes.
      tasks: The held-out tasks.
      seeds: Of the fine-tunes.
      recipes: Texts by task and by name.
      executor: Runs recipes on whole sources.
      finetuner: Turns rows into benchmark scores.
      sandbox: Of the executor; started and ended by `run`.
    """

    workdir: pathlib.Path
    tasks: Sequence[types.Task]
    seeds: Sequence[int]
    recipes: Mapping[str, Mapping[str, str]]
    executor: Executor
    finetuner: finetuning.Finetuner
    sandbox: sandbox_pool.Sandbox

    def run(self, record: environment.Environment) -> None:
        """Runs what is not done yet, prints the table, writes `summary.json`."""
        with self.sandbox, record.stage("datasets"):
            record.note("sandbox", self.sandbox.isolation)
            rows = {task.name: self._rows(task) for task in self.tasks}
        with record.stage("fine-tunes"):
            scores = {
                task.name: self._scores(task, rows[task.name]) for task in self.tasks
            }
        summary = {name: summarize(made) for name, made in scores.items()}
        text = table(scores, summary)
        print(text)
        results.write_text(self.workdir / "table.md", text + "\n")
        results.write_json(self.workdir / "summary.json", summary)

    def _rows(self, task: types.Task) -> dict[str, list[types.Row]]:
        """Returns the dataset of each recipe."""
        texts = self.recipes[task.name]
        with tqdm.tqdm(
            total=len(texts), desc=f"{task.name} data", unit="recipe"
        ) as bar:
            executions = self.executor.run(
                [task] * len(texts),
                list(texts.values()),
                [evaluation.recipe_seed(task, text, 0) for text in texts.values()],
                bar.update,
            )
        for name, execution in zip(texts, executions, strict=True):
            if execution.kind != "ok":
                raise RuntimeError(f"{task.name}, {name}: {execution.log}")
        return {
            name: list(execution.dataset.rows)
            for name, execution in zip(texts, executions, strict=True)
        }

    def _scores(
        self, task: types.Task, data: Mapping[str, Sequence[types.Row]]
    ) -> dict[str, dict[str, Any]]:
        """Returns rows and the score with each seed by recipe, the base among them."""
        total = (len(data) + 1) * len(self.seeds) * self.finetuner.training.steps
        scores = {}
        with tqdm.tqdm(total=total, desc=task.name, unit="update") as bar:
            for name, rows in {"base": [], **data}.items():
                bar.set_postfix_str(name)
                made = [
                    self.finetuner.score(task, rows, seed=seed, progress=bar.update)
                    for seed in self.seeds
                ]
                scores[name] = {
                    "rows": len(rows), "dbs": [score["dbs"] for score in made]
                }  # fmt: skip
        return scores


def summarize(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the figures of one task.

    Keys: `dbs`, by recipe, the benchmark score in percent with each seed; `rows`, by
    recipe; `span`, the range of the mean scores of the recipes, the base left out;
    `spearman`, the lowest rank correlation of any two seeds over the recipes.
    """
    recipes = {name: s["dbs"] for name, s in scores.items() if name != "base"}
    means = [statistics.fmean(values) for values in recipes.values()]
    by_seed = list(zip(*recipes.values(), strict=True))
    correlations = [
        float(stats.spearmanr(one, other).statistic)
        for one, other in itertools.combinations(by_seed, 2)
    ]
    return {
        "dbs": {name: list(s["dbs"]) for name, s in scores.items()},
        "rows": {name: s["rows"] for name, s in scores.items()},
        "span": max(means) - min(means),
        "spearman": min(correlations) if correlations else None,
    }


def table(
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]],
    summary: Mapping[str, Mapping[str, Any]],
) -> str:
    """Returns all tasks as one Markdown table, worst recipes first."""
    lines = ["| task | recipe | rows | DBS by seed |", "|---|---|---:|---|"]
    for task, recipes in scores.items():
        order = sorted(recipes, key=lambda name: statistics.fmean(recipes[name]["dbs"]))
        for name in order:
            values = " / ".join(f"{value:.1f}" for value in recipes[name]["dbs"])
            lines.append(f"| {task} | {name} | {recipes[name]['rows']} | {values} |")
        figures = summary[task]
        spearman = figures["spearman"]
        agreement = "one seed" if spearman is None else f"Spearman {spearman:.2f}"
        lines.append(f"| {task} | **span {figures['span']:.1f}** | | {agreement} |")
    return "\n".join(lines)
