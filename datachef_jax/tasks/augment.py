"""More tasks from few: the same benchmark with a random part of its sources."""

import dataclasses

import numpy as np

from datachef_jax.types import Task


def subset(
    task: Task, rng: np.random.Generator, *, smallest: int, largest: int
) -> Task:
    """Returns the task with a random subset of its sources in random order.

    The paper's augmentation (section 3.4) draws a uniform subset; ours bounds its
    size, because a single source leaves nothing to choose.

    Args:
      task: A task.
      rng: Randomness.
      smallest: Fewest sources to keep; all are kept where there are fewer.
      largest: Most sources to keep.
    """
    available = len(task.sources)
    count = int(rng.integers(min(smallest, available), min(largest, available) + 1))
    kept = rng.permutation(available)[:count]
    return dataclasses.replace(task, sources=tuple(task.sources[i] for i in kept))
