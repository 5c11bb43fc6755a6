"""Recipes and what became of them: sampled, run, graded, and written down."""

from collections.abc import Callable, Sequence
import dataclasses
import statistics
from typing import Any
import zlib

import numpy as np

from datachef_jax import types
from datachef_jax.recipes import parse
from datachef_jax.recipes.execute import Executor
from datachef_jax.sampling.request import Sampling
from datachef_jax.serving.client import Client
from datachef_jax.training import rollouts
from datachef_jax.training.rollouts import Rollout
from datachef_jax.verifier.verify import Verifier

STAGES = 3  # sampled, run, graded: how often `progress` hears of each recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Measures policies on tasks.

    Attributes:
      prompt: The prompt of a task as ids.
      decode: The text of ids.
      executor: Runs the recipes.
      verifier: Grades what they leave.
      recipes: Sampled by each policy for each task.
      temperature: Of sampling.
      max_new_tokens: Longest recipe.
    """

    prompt: Callable[[types.Task], Sequence[int]]
    decode: Callable[[Sequence[int]], str]
    executor: Executor
    verifier: Verifier
    recipes: int
    temperature: float
    max_new_tokens: int

    def measure(
        self,
        policy: Client,
        tasks: Sequence[types.Task],
        *,
        seed: int,
        progress: Callable[[int], Any],
    ) -> list[list[Rollout]]:
        """Returns the rollouts of each task.

        Args:
          policy: Writes the recipes.
          tasks: What for.
          seed: Of sampling and grading.
          progress: Called with the number of recipes that came a stage further.
        """
        completions = policy.generate(
            [self.prompt(task) for task in tasks],
            group_size=self.recipes,
            seeds=np.concatenate([_seeds(t, seed, self.recipes) for t in tasks]),
            sampling=Sampling(
                temperature=self.temperature, max_new_tokens=self.max_new_tokens
            ),
            ready=lambda place, completion: progress(1),
        )
        repeated = [task for task in tasks for _ in range(self.recipes)]
        flat = self._run_and_grade(repeated, completions, seed=seed, progress=progress)
        n = self.recipes
        return [flat[i * n : (i + 1) * n] for i in range(len(tasks))]

    def grade_texts(
        self, task: types.Task, texts: Sequence[str], *, seed: int
    ) -> list[Rollout]:
        """Returns the rollouts of recipes that no policy wrote."""
        written = types.Completion(
            tokens=(), logprobs=(), raw_logprobs=(), versions=(), ended="end"
        )
        return self._run_and_grade(
            [task] * len(texts),
            [written] * len(texts),
            texts=texts,
            seed=seed,
            progress=lambda count: None,
        )

    def _run_and_grade(
        self,
        tasks: Sequence[types.Task],
        completions: Sequence[types.Completion],
        *,
        texts: Sequence[str] | None = None,
        seed: int,
        progress: Callable[[int], Any],
    ) -> list[Rollout]:
        """Returns a rollout for each completion; the texts are theirs if not given.

        No reward is given here: the records have None and an advantage of 0.
        """
        if texts is None:
            texts = [self.decode(c.tokens) for c in completions]
        named = zip(tasks, texts, strict=True)
        seeds = [recipe_seed(task, text, seed) for task, text in named]
        executions = self.executor.run(tasks, texts, seeds, progress)
        verdicts = self.verifier.verify(
            tasks, executions, seeds, progress=lambda rows: None
        )
        progress(len(texts))
        stages = zip(tasks, completions, executions, verdicts, texts, strict=True)
        return [
            rollouts.record(
                *stage,
                prompt=self.decode(self.prompt(stage[0])),
                text=text,
                reward=None,
                advantage=0.0,
            )
            for *stage, text in stages
        ]


def figures(made: Sequence[Rollout]) -> dict[str, float | None]:
    """Returns what a policy's rollouts on one task amount to, in percent.

    Keys: `dvs`, mean verifier score (paper, section 4.1: a recipe without valid data
    counts 0; one unscored through our own fault is left out); `dvs_ungated`, the
    same by the judge alone; `executable`, recipes whose script ended well and left
    rows, out of all; `distinct`, different processing scripts, out of all recipes.
    """
    scored = [r for r in made if r.outcome != "unscored"]
    scripts = {script(r.completion) for r in made} - {""}
    ran = sum(r.execution == "ok" and r.num_rows > 0 for r in made)
    return {
        "dvs": _percent([dvs(r) for r in scored]),
        "dvs_ungated": _percent(
            [r.judge_score if r.outcome == "scored" else 0.0 for r in scored]
        ),
        "executable": 100.0 * ran / len(made),
        "distinct": 100.0 * len(scripts) / len(made),
    }


def dvs(rollout: Rollout) -> float:
    """Returns the verifier's score in [0, 1]; 0 without valid data."""
    return rollout.score if rollout.outcome == "scored" else 0.0


def script(text: str) -> str:
    """Returns the processing script of a recipe, "" if there is none to be read."""
    try:
        return parse.parse(text).processing
    except parse.ParseError:
        return ""


def _percent(scores: Sequence[float]) -> float | None:
    return 100.0 * statistics.fmean(scores) if scores else None


def _seeds(task: types.Task, seed: int, count: int) -> np.ndarray:
    """Returns a sampling seed for each recipe of a task."""
    key = [seed, zlib.crc32(task.name.encode())]
    return np.random.SeedSequence(key).generate_state(count)


def recipe_seed(task: types.Task, text: str, seed: int) -> int:
    """Returns the seed of a recipe: equal ones for a task run and are graded alike."""
    key = [seed, zlib.crc32(task.name.encode()), zlib.crc32(text.encode())]
    return int(np.random.SeedSequence(key).generate_state(1)[0])
