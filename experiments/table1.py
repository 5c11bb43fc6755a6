"""The main experiment: GRPO, then held-out recipes, fine-tunes and the table.

Every stage leaves files and is skipped where they are there, so a run killed at any
moment goes on. Deviations from the paper's section 4.1: recipes are run again on the
whole sources for fine-tuning, where the policy's own runs see a part of them; the
oracle takes the best benchmark score itself where the paper's expert took a look.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import hashlib
import pathlib
import statistics
from typing import Any

from flax import nnx
import tqdm

from datachef_jax import types
from datachef_jax.recipes.execute import Executor
from datachef_jax.serving.client import Client
from datachef_jax.training import rollouts as rollout_files
from experiments import environment
from experiments import evaluation
from experiments import finetuning
from experiments import jobs
from experiments import results
from experiments import table
from experiments.jobs import BY_HAND
from experiments.jobs import Job
from experiments.jobs import POLICIES
from experiments.jobs import Rollouts
from sandbox import pool as sandbox_pool

_SINGLE = {"single_average": "single", "single_best": "single"}

Scores = Mapping[Job, Mapping[str, Any]]
"""What `finetuning.Finetuner.score` returned for each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table1:
    """The parts of the experiment; `build.py` makes them from the config.

    Attributes:
      workdir: Where everything goes.
      tasks: The held-out tasks.
      seeds: The spread of every figure is over these.
      train: (seed, folder) -> weights after GRPO; resumes what the folder holds.
      policies: "untrained" and "cold_start".
      trained: Of the policy's model with weights that `train` gave.
      evaluator: Samples, runs and grades recipes.
      by_hand: Recipes by task and by "expert" or the id of a single source.
      executor: Runs recipes on whole sources, for fine-tuning.
      finetuner: Turns rows into benchmark scores.
      oracle: How many of the best-graded recipes are fine-tuned on.
      sandbox: Of both executors; started and ended by `run`.
    """

    workdir: pathlib.Path
    tasks: Sequence[types.Task]
    seeds: Sequence[int]
    train: Callable[[int, pathlib.Path], nnx.State]
    policies: Mapping[str, Client]
    trained: Callable[..., Client]
    evaluator: evaluation.Evaluator
    by_hand: Mapping[str, Mapping[str, str]]
    executor: Executor
    finetuner: finetuning.Finetuner
    oracle: int
    sandbox: sandbox_pool.Sandbox

    def run(self, record: environment.Environment) -> None:
        """Runs what is not done yet, prints the table, writes `summary.json`."""
        with self.sandbox:
            record.note("sandbox", self.sandbox.isolation)
            self._run(record)

    def _run(self, record: environment.Environment) -> None:
        with record.stage("GRPO"):
            trained = {
                seed: self.train(seed, self.workdir / "grpo" / f"seed{seed}")
                for seed in self.seeds
            }
        with record.stage("evaluation"):
            rollouts = self._evaluate(trained)
        wanted = jobs.make(
            rollouts,
            [task.name for task in self.tasks],
            self.seeds,
            by_hand=self.by_hand,
            oracle=self.oracle,
        )
        with record.stage("datasets"):
            data = self._run_in_full(wanted)
        with record.stage("fine-tunes"):
            scores = self._finetune(wanted, data)
        figures = assemble(rollouts, scores, self.tasks, self.seeds)
        self._keep_best_recipe(scores, data)
        self._finish(figures, scores)

    def _evaluate(self, trained: Mapping[int, nnx.State]) -> Rollouts:
        """Returns the rollouts of the policies and of the hand-written recipes."""
        each = len(self.tasks) * self.evaluator.recipes * evaluation.STAGES
        rollouts: Rollouts = {}
        total = each * len(POLICIES) * len(self.seeds)
        with _bar("evaluation", total, "stage") as bar:
            for seed in self.seeds:
                after = self.trained(trained[seed], version=0)
                for method, policy in {**self.policies, "grpo": after}.items():
                    bar.set_postfix_str(f"{method}, seed {seed}")
                    start = bar.n
                    rollouts |= self._kept(method, seed, policy, bar.update)
                    bar.update(start + each - bar.n)  # those kept from before
                bar.set_postfix_str(f"{BY_HAND}, seed {seed}")
                rollouts |= self._kept_by_hand(seed)
        return rollouts

    def _kept(
        self,
        method: str,
        seed: int,
        policy: Client,
        progress: Callable[[int], Any],
    ) -> Rollouts:
        """Returns the rollouts of a policy, from its files if they are there."""
        paths = [self._rollouts(method, seed, task) for task in self.tasks]
        if not all(path.exists() for path in paths):
            made = self.evaluator.measure(
                policy, self.tasks, seed=seed, progress=progress
            )
            for path, recipes in zip(paths, made, strict=True):
                rollout_files.write(path, recipes)
        return {
            (method, seed, task.name): rollout_files.read(path)
            for task, path in zip(self.tasks, paths, strict=True)
        }

    def _kept_by_hand(self, seed: int) -> Rollouts:
        """Returns the rollouts of the hand-written recipes."""
        rollouts = {}
        for task in self.tasks:
            path = self._rollouts(BY_HAND, seed, task)
            if not path.exists():
                texts = self.by_hand[task.name]
                made = self.evaluator.grade_texts(task, list(texts.values()), seed=seed)
                for label, rollout in zip(texts, made, strict=True):
                    if rollout.execution != "ok":  # no policy is to blame
                        raise RuntimeError(
                            f"hand-written recipe {label!r} of task {task.name}: "
                            f"{rollout.execution}\n{rollout.log}"
                        )
                rollout_files.write(path, made)
            rollouts[BY_HAND, seed, task.name] = rollout_files.read(path)
        return rollouts

    def _rollouts(self, method: str, seed: int, task: types.Task) -> pathlib.Path:
        folder = self.workdir / "evaluation" / f"{method}-seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{task.name}.jsonl"

    def _run_in_full(
        self, wanted: Sequence[Job]
    ) -> dict[tuple[str, str], dict[str, Any]]:
        """Returns what each recipe makes of the whole sources, by task and text.

        Values: `kind`, `log` and `rows`; recipes that fail there have no rows.
        """
        tasks = {task.name: task for task in self.tasks}
        recipes = dict.fromkeys((job.task, job.text) for job in wanted if job.text)
        paths = {
            (task, text): self.workdir / "datasets" / task / f"{_digest(text)}.json"
            for task, text in recipes
        }
        missing = [key for key in recipes if not paths[key].exists()]
        with _bar("datasets", len(recipes), "recipe") as bar:
            bar.update(len(recipes) - len(missing))
            executions = self.executor.run(
                [tasks[task] for task, _ in missing],
                [text for _, text in missing],
                [
                    evaluation.recipe_seed(tasks[task], text, self.seeds[0])
                    for task, text in missing
                ],
                bar.update,
            )
        for key, execution in zip(missing, executions, strict=True):
            kept = {"kind": execution.kind, "log": execution.log}
            rows = [{"dialogs": row["dialogs"]} for row in execution.dataset.rows]
            results.write_json(paths[key], kept | {"rows": rows})
        return {key: results.read_json(path) for key, path in paths.items()}

    def _finetune(
        self, wanted: Sequence[Job], data: Mapping[tuple[str, str], dict[str, Any]]
    ) -> dict[Job, dict[str, Any]]:
        """Returns the benchmark scores, see `finetuning.Finetuner.score`."""
        tasks = {task.name: task for task in self.tasks}
        scores = {}
        total = len(wanted) * self.finetuner.training.steps
        with _bar("fine-tunes", total, "update") as bar:
            for job in wanted:
                bar.set_postfix_str(f"{job.task}, {job.method} {job.label}")
                rows = data[job.task, job.text]["rows"] if job.text else []
                scores[job] = self.finetuner.score(
                    tasks[job.task], rows, seed=job.seed, progress=bar.update
                )
        return scores

    def _keep_best_recipe(
        self,
        scores: Scores,
        data: Mapping[tuple[str, str], Mapping[str, Any]],
    ) -> None:
        """Writes `best_recipe/`: of all that a policy wrote, that of highest DBS."""
        methods = (*POLICIES, "grpo_oracle")
        written = [job for job in scores if job.method in methods and job.text]
        if not written:
            return
        best = max(written, key=lambda job: (scores[job]["dbs"], job.dvs))
        folder = self.workdir / "best_recipe"
        results.write_text(folder / "recipe.md", best.text)
        results.write_jsonl(folder / "data.jsonl", data[best.task, best.text]["rows"])
        facts = dataclasses.asdict(best) | dict(scores[best])
        del facts["text"]
        results.write_json(folder / "facts.json", facts)

    def _finish(
        self,
        figures: Mapping[str, Any],
        scores: Scores,
    ) -> None:
        """Prints the table and writes it; `summary.json` comes last of all.

        `metrics.jsonl` gathers what the seeds' training wrote, with a field `seed`.

        Keys of `summary.json`:
          tasks: `name` and `held_out` of each, in the order of the columns;
          seeds: the seeds;
          methods: see `table.summarize`; DVS, DBS and shares in percent;
          single_sources: DBS by seed, by task and source id;
          without_valid_recipe: policy -> how many (seed, task) had no recipe of
            DVS > 0 to draw, so that their DBS is the base model's;
          recipes: how many recipes each policy wrote for each task and seed.
        """
        tasks = [{"name": t.name, "held_out": t.held_out} for t in self.tasks]
        singles = {task.name: {} for task in self.tasks}
        for job, score in scores.items():
            if job.method == "single":
                singles[job.task].setdefault(job.label, []).append(score["dbs"])
        summary = {
            "tasks": tasks,
            "seeds": list(self.seeds),
            "methods": table.summarize(figures),
            "single_sources": singles,
            "without_valid_recipe": {
                method: sum(j.method == method and not j.text for j in scores)
                for method in POLICIES
            },
            "recipes": self.evaluator.recipes,
        }
        metrics = [
            {"seed": seed, **line}
            for seed in self.seeds
            for line in results.read_jsonl(
                self.workdir / "grpo" / f"seed{seed}" / "metrics.jsonl"
            )
        ]
        results.write_jsonl(self.workdir / "metrics.jsonl", metrics)
        cells = table.lines(summary["methods"], tasks)
        results.write_text(self.workdir / "table.md", table.markdown(cells))
        results.write_text(self.workdir / "table.tex", table.latex(cells))
        print(f"\n{table.markdown(cells)}", flush=True)
        for note in table.notes(summary):
            print(note, flush=True)
        results.write_json(self.workdir / "summary.json", summary)


def assemble(
    rollouts: Rollouts,
    scores: Scores,
    tasks: Sequence[types.Task],
    seeds: Sequence[int],
) -> table.Figures:
    """Sorts verifier and benchmark scores into the rows of the table."""
    figures = {method: {} for method in table.METHODS}
    for task in tasks:
        best = _best_source(scores, task.name)
        for method in table.METHODS:
            cells = []
            for seed in seeds:
                found = {
                    job: score["dbs"]
                    for job, score in scores.items()
                    if (job.seed, job.task) == (seed, task.name)
                    and job.method == _SINGLE.get(method, method)
                    and (method != "single_best" or job.label == best)
                }
                cell = dict.fromkeys(table.METRICS) | _dvs_and_dbs(method, found)
                if method in POLICIES:
                    cell |= evaluation.figures(rollouts[method, seed, task.name])
                cells.append(cell)
            figures[method][task.name] = {
                metric: [cell[metric] for cell in cells] for metric in table.METRICS
            }
    return figures


def _dvs_and_dbs(method: str, found: Mapping[Job, float]) -> dict[str, float | None]:
    """Returns the figures of a method from its jobs for one task and seed."""
    if method == "grpo_oracle":  # the paper gives it no DVS
        return {"dbs": max(found.values())}
    graded = [job.dvs for job in found if job.dvs is not None]
    return {
        "dbs": statistics.fmean(found.values()),
        "dvs": statistics.fmean(graded) if graded else None,
    }


def _best_source(scores: Scores, task: str) -> str:
    """Returns the single source of highest mean DBS over seeds.

    As with recipes, only those of DVS > 0, in every seed, count: a copy of the
    benchmark would win.
    """
    singles: dict[str, list[Job]] = {}
    for job in scores:
        if (job.method, job.task) == ("single", task):
            singles.setdefault(job.label, []).append(job)
    valid = {name: made for name, made in singles.items() if all(j.dvs for j in made)}
    dbs = {
        name: statistics.fmean(scores[job]["dbs"] for job in made)
        for name, made in (valid or singles).items()
    }
    return max(dbs, key=dbs.get)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _bar(name: str, total: int, unit: str) -> tqdm.tqdm:
    return tqdm.tqdm(total=total, desc=name, unit=unit)
