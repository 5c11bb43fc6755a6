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
from datachef_jax.serving.client import Client
from datachef_jax.training import rollouts
from datachef_jax.training import writing
from datachef_jax.training.conversation import Conversation
from datachef_jax.training.metrics import Stopwatch
from datachef_jax.training.rollouts import Rollout
from datachef_jax.verifier.verify import Verifier

STAGES = 2  # answered, graded: how often `progress` hears of each recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Measures policies on tasks.

    Attributes:
      prompt: The prompt of a task as ids.
      decode: The text of ids.
      conversation: In how many answers recipes are written.
      executor: Runs the recipes.
      verifier: Grades what they leave.
      recipes: Sampled by each policy for each task.
      temperature: Of sampling.
    """

    prompt: Callable[[types.Task], Sequence[int]]
    decode: Callable[[Sequence[int]], str]
    conversation: Conversation
    executor: Executor
    verifier: Verifier
    recipes: int
    temperature: float

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
        asked = [task for task in tasks for _ in range(self.recipes)]
        seeds: dict[int, int] = {}  # of running; those of grading are told to nobody
        grading: dict[int, int] = {}

        def sample(*request: Any) -> Sequence[types.Completion]:
            return writing.sample(policy, *request, temperature=self.temperature)

        def execute(
            places: Sequence[int], texts: Sequence[str]
        ) -> Sequence[types.Execution]:
            chosen = [asked[place] for place in places]
            for place, task, text in zip(places, chosen, texts, strict=True):
                seeds[place] = recipe_seed(task, text, seed)
                grading[place] = grading_seed(task, text, seed)
            of = [seeds[place] for place in places]
            return self.executor.run(chosen, texts, of, progress=_ignore)

        def verify(
            places: Sequence[int], executions: Sequence[types.Execution]
        ) -> Sequence[types.Verdict]:
            chosen, of = [asked[i] for i in places], [grading[i] for i in places]
            verdicts = self.verifier.verify(chosen, executions, of, progress=_ignore)
            progress(len(places))
            return verdicts

        written = writing.write(
            [self.prompt(task) for task in tasks],
            lambda answer: np.concatenate(
                [_seeds(task, seed, self.recipes, answer) for task in tasks]
            ),
            writing.Means(
                conversation=self.conversation,
                sample=sample,
                execute=execute,
                verify=verify,
                kept=writing.nothing_kept,
            ),
            clock=Stopwatch(),
            answered=progress,
        )
        flat = self._records(asked, written)
        n = self.recipes
        return [flat[i * n : (i + 1) * n] for i in range(len(tasks))]

    def grade_texts(
        self, task: types.Task, texts: Sequence[str], *, seed: int
    ) -> list[Rollout]:
        """Returns the rollouts of recipes that no policy wrote."""
        tasks = [task] * len(texts)
        seeds = [recipe_seed(task, text, seed) for text in texts]
        executions = self.executor.run(tasks, texts, seeds, progress=_ignore)
        grading = [grading_seed(task, text, seed) for text in texts]
        verdicts = self.verifier.verify(tasks, executions, grading, progress=_ignore)
        nothing = types.Completion(
            tokens=(), logprobs=(), raw_logprobs=(), versions=(), ended="end"
        )
        written = writing.Written(
            completions=[nothing] * len(texts),
            texts=texts,
            executions=executions,
            verdicts=verdicts,
        )
        return self._records(tasks, written)

    def _records(
        self, tasks: Sequence[types.Task], written: writing.Written
    ) -> list[Rollout]:
        """Returns a rollout for each recipe.

        No reward is given here: the records have None and an advantage of 0.
        """
        return [
            rollouts.record(
                task,
                completion,
                execution,
                verdict,
                prompt=self.decode(self.prompt(task)),
                text=text,
                spoken=self.conversation.spoken(completion),
                reward=None,
                advantage=0.0,
            )
            for task, completion, execution, verdict, text in zip(
                tasks,
                written.completions,
                written.executions,
                written.verdicts,
                written.texts,
                strict=True,
            )
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


def _ignore(count: int) -> None:
    """Reports progress to nobody."""


def _seeds(task: types.Task, seed: int, count: int, answer: int) -> np.ndarray:
    """Returns a sampling seed for each recipe of a task, for one of its answers."""
    key = [seed, zlib.crc32(task.name.encode()), *([answer] if answer else [])]
    return np.random.SeedSequence(key).generate_state(count)


def recipe_seed(task: types.Task, text: str, seed: int) -> int:
    """Returns the seed that a recipe's script gets: equal recipes run alike."""
    return _seed(task, text, seed, 0)


def grading_seed(task: types.Task, text: str, seed: int) -> int:
    """Returns the seed by which it is graded, which does not follow from its own."""
    return _seed(task, text, seed, 1)


def _seed(task: types.Task, text: str, seed: int, use: int) -> int:
    key = [seed, zlib.crc32(task.name.encode()), zlib.crc32(text.encode())]
    return int(np.random.SeedSequence(key).generate_state(2)[use])
