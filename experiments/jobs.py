"""Which fine-tunes the table needs: one for each recipe that stands for a row."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any
import zlib

import numpy as np

from datachef_jax.training.rollouts import Rollout
from experiments import evaluation

POLICIES = ("untrained", "cold_start", "grpo")
BY_HAND = "hand-written"  # in the place of a method: where their rollouts are kept

Rollouts = dict[tuple[str, int, str], list[Rollout]]
"""(policy or `BY_HAND`, seed, task) -> its recipes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One recipe to fine-tune on.

    Attributes:
      method: Row of the table that it counts for; "single" for a single source.
      seed: Of the fine-tune.
      task: Name of the task.
      label: Which of several of the method: a source's id, the rank of an oracle's.
      text: The recipe; "" for none, which leaves the base model as it is.
      dvs: Its verifier score in percent, None if it has none.
    """

    method: str
    seed: int
    task: str
    label: str
    text: str
    dvs: float | None


def make(
    rollouts: Rollouts,
    tasks: Sequence[str],
    seeds: Sequence[int],
    *,
    by_hand: Mapping[str, Mapping[str, str]],
    oracle: int,
) -> list[Job]:
    """Returns every fine-tune that the table needs.

    Args:
      rollouts: Of the policies and of the hand-written recipes.
      tasks: Names of the held-out tasks.
      seeds: Of the fine-tunes.
      by_hand: By task and by "expert" or the id of a single source, in the order of
        their rollouts.
      oracle: How many of the best-graded recipes of GRPO are fine-tuned on.
    """
    jobs = []
    for seed in seeds:
        for task in tasks:
            where = dict(seed=seed, task=task)
            jobs.append(Job(method="base", label="", text="", dvs=None, **where))
            graded = rollouts[BY_HAND, seed, task]
            for label, made in zip(by_hand[task], graded, strict=True):
                method = "expert" if label == "expert" else "single"
                jobs.append(_job(method, label, made, where))
            for method in POLICIES:
                found = rollouts[method, seed, task]
                drawn = draw_valid(found, f"{method} {task}", seed)
                jobs.append(_job(method, "drawn", drawn, where))
            best = best_graded(rollouts["grpo", seed, task], oracle)
            for rank, made in enumerate(best or [None]):
                jobs.append(_job("grpo_oracle", f"top {rank + 1}", made, where))
    return jobs


def draw_valid(made: Sequence[Rollout], name: str, seed: int) -> Rollout | None:
    """Draws one recipe from those of DVS > 0, as the paper does, or returns None."""
    valid = [rollout for rollout in made if evaluation.dvs(rollout) > 0]
    if not valid:
        return None
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return valid[rng.integers(len(valid))]


def best_graded(made: Sequence[Rollout], count: int) -> list[Rollout]:
    """Returns the different recipes of highest DVS > 0, the best first."""
    different = {rollout.completion: rollout for rollout in reversed(made)}
    valid = [r for r in reversed(different.values()) if evaluation.dvs(r) > 0]
    return sorted(valid, key=evaluation.dvs, reverse=True)[:count]


def _job(
    method: str, label: str, made: Rollout | None, where: Mapping[str, Any]
) -> Job:
    """Returns the fine-tune on a recipe, or none at all in its place."""
    if made is None:
        return Job(method=method, label=label, text="", dvs=None, **where)
    dvs = 100.0 * evaluation.dvs(made)
    return Job(method=method, label=label, text=made.completion, dvs=dvs, **where)
