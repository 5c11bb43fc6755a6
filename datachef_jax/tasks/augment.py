"""More tasks from few: the same benchmark with other sources, names or rows shown."""

from collections.abc import Sequence
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


def exchange_ids(task: Task, rng: np.random.Generator, ids: Sequence[str]) -> Task:
    """Returns the task with its sources under other ids.

    A small policy learns the few names of a small pool by heart and then has none for
    a new task; under changing names it can only read them.

    Args:
      task: A task.
      rng: Randomness.
      ids: Different ids to draw from, at least as many as the task has sources.
    """
    drawn = rng.choice(ids, size=len(task.sources), replace=False)
    sources = [
        dataclasses.replace(source, id=str(new))
        for source, new in zip(task.sources, drawn, strict=True)
    ]
    return dataclasses.replace(task, sources=tuple(sources))


def exchange_rows(task: Task, rng: np.random.Generator) -> Task:
    """Returns the task with the example rows of every source in random order.

    A prompt shows the first of them. If that were always the same row, a small policy
    would learn the row by heart instead of what its kind looks like.

    Args:
      task: A task.
      rng: Randomness.
    """
    sources = [
        dataclasses.replace(
            source,
            examples=tuple(
                source.examples[i] for i in rng.permutation(len(source.examples))
            ),
        )
        for source in task.sources
    ]
    return dataclasses.replace(task, sources=tuple(sources))
