"""Cold start: demonstrations kept by rejection, then supervised fine-tuning on them.

The paper (section 3.4) samples plans and code from two large models and keeps what
executes and has quality; here they are sampled from a grammar over the toolkit and
kept if their script runs and the verifier gives their data a good enough score.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np
import tqdm

from datachef_jax.finetune import packing
from datachef_jax.recipes import grammar
from datachef_jax.recipes.execute import Executor
from datachef_jax.tasks import augment
from datachef_jax.tasks.mini import rename
from datachef_jax.text import prompts
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.types import Task
from datachef_jax.verifier.verify import Verifier
from experiments import environment
from experiments import results
from experiments.corpora import policy as policy_corpus
from sandbox import pool as sandbox_pool

_ROUND = 64  # recipes that are executed and graded together


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demonstration:
    """A recipe that was kept.

    Attributes:
      task: Name of the task.
      sources: Ids of the sources that its prompt showed, in order.
      recipe: Its text.
      score: What the verifier gave it, in [0, 1].
    """

    task: str
    sources: tuple[str, ...]
    recipe: str
    score: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampler:
    """Samples demonstrations.

    Attributes:
      tasks: Training tasks.
      executor: Runs the recipes.
      verifier: Grades what they leave.
      smallest: Fewest sources in a prompt.
      largest: Most sources in a prompt.
      min_score: Recipes below are rejected.
      workdir: Gets one file a round, so that a killed run goes on.
    """

    tasks: Sequence[Task]
    executor: Executor
    verifier: Verifier
    smallest: int
    largest: int
    min_score: float
    workdir: pathlib.Path

    def sample(self, count: int, *, seed: int) -> tuple[list[Demonstration], int]:
        """Returns at least `count` demonstrations, and how many recipes it took."""
        kept: list[Demonstration] = []
        tried = 0
        with tqdm.tqdm(total=count, desc="demonstrations", unit="recipe") as bar:
            while len(kept) < count:
                path = self.workdir / "demonstrations" / f"{tried:06d}.json"
                found = results.once(path, functools.partial(self._round, seed, tried))
                kept += [
                    Demonstration(**{**d, "sources": tuple(d["sources"])})
                    for d in found
                ]
                tried += _ROUND
                bar.update(len(found))
                bar.set_postfix(kept=f"{len(kept) / tried:.0%}")
        return kept, tried

    def _round(self, seed: int, first: int) -> list[dict[str, Any]]:
        rng = np.random.default_rng([seed, first])
        asked, texts = [], []
        for _ in range(_ROUND):
            task = self.tasks[rng.integers(len(self.tasks))]
            task = augment.subset(
                task, rng, smallest=self.smallest, largest=self.largest
            )
            asked.append(task)
            recipe = grammar.sample(task, rng, care=float(rng.random()))
            texts.append(grammar.write(task, recipe))
        seeds = [int(value) for value in rng.integers(2**31, size=_ROUND)]
        executions = self.executor.run(asked, texts, seeds, lambda count: None)
        verdicts = self.verifier.verify(
            asked, executions, seeds, progress=lambda count: None
        )
        return [
            dataclasses.asdict(
                Demonstration(
                    task=task.name,
                    sources=tuple(source.id for source in task.sources),
                    recipe=text,
                    score=verdict.score,
                )
            )
            for task, text, verdict in zip(asked, texts, verdicts, strict=True)
            if verdict.outcome == "scored" and verdict.score >= self.min_score
        ]


def tokenize(
    demonstrations: Sequence[Demonstration],
    tasks: Sequence[Task],
    tokenizer: ChatTokenizer,
    *,
    style: prompts.PromptStyle,
    copies: int,
    topics_share: float,
    max_tokens: int,
    seed: int,
) -> list[packing.TokenExample]:
    """Returns every demonstration several times, with other names and rows shown.

    Args:
      demonstrations: What to tokenize.
      tasks: Those that they were made for.
      tokenizer: Of the policy.
      style: Of the prompts.
      copies: How often each is retold.
      topics_share: Share that is retold about another topic, with other questions.
      max_tokens: Of prompt and recipe together.
      seed: Of the names and the rows shown.
    """
    rng = np.random.default_rng(seed)
    named = {task.name: task for task in tasks}
    examples = []
    for demonstration in demonstrations:
        task = named[demonstration.task]
        found = {source.id: source for source in task.sources}
        shown = dataclasses.replace(
            task, sources=tuple(found[i] for i in demonstration.sources)
        )
        for _ in range(copies):
            told = augment.exchange_rows(shown, rng)
            topics = bool(rng.random() < topics_share)
            if topics:
                told = policy_corpus.made_up_questions(
                    told, rng, tokenizer, shown_chars=style.max_example_chars
                )
            prompt = prompts.policy_messages(told, style)
            replace = rename.renamer(rng, topics=topics)
            examples.append(
                policy_corpus.tokenize(
                    [{"role": "user", "content": replace(prompt[0]["content"])}],
                    replace(demonstration.recipe),
                    tokenizer,
                    max_tokens=max_tokens,
                )
            )
    return examples


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColdStart:
    """The parts of the experiment.

    Attributes:
      sampler: Makes demonstrations.
      demonstrations: How many to keep.
      train: Trains on them; returns figures.
      seed: Of the demonstrations.
      sandbox: Of the sampler's executor; started and ended by `run`.
      workdir: Gets `checkpoint/` and `summary.json`.
    """

    sampler: Sampler
    demonstrations: int
    train: Callable[[Sequence[Demonstration]], Mapping[str, float]]
    seed: int
    sandbox: sandbox_pool.Sandbox
    workdir: pathlib.Path

    def run(self, record: environment.Environment) -> None:
        """Samples demonstrations, trains on them, writes `summary.json`.

        Keys: `demonstrations/tried`, `/kept` and `/score` (the mean of those kept),
        and what `supervised.train` returns.
        """
        with self.sandbox, record.stage("demonstrations"):
            record.note("sandbox", self.sandbox.isolation)
            kept, tried = self.sampler.sample(self.demonstrations, seed=self.seed)
        with record.stage("training"):
            figures = self.train(kept)
        figures = {
            "demonstrations/tried": tried,
            "demonstrations/kept": len(kept),
            "demonstrations/score": float(np.mean([d.score for d in kept])),
            **figures,
        }
        for name, value in figures.items():
            print(f"{name:<24} {value:.4f}")
        results.write_json(self.workdir / "summary.json", figures)
