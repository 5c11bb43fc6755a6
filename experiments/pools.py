"""Task pools by the name a config gives them, and the stream of tasks of a run."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

import grain
import numpy as np

from datachef_jax import types
from datachef_jax.tasks import augment
from datachef_jax.tasks import sources
from datachef_jax.tasks.mini import pool as mini_pool


def load(
    kind: str, folder: pathlib.Path, settings: Mapping[str, Any]
) -> list[types.Task]:
    """Returns all tasks of a pool, whose sources can be read and have rows.

    Args:
      kind: A key of `KINDS`.
      folder: For the source files of pools that make their own.
      settings: Passed on to the pool by keyword.

    Raises:
      ValueError: If there is no such pool, or a source is missing, unreadable or
        empty; names the task and the file.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {sorted(KINDS)}, got {kind!r}")
    tasks = KINDS[kind](folder, **settings)
    for task in tasks:
        for source in task.sources:
            try:
                sources.read_rows(source.path, source.format, source.records)
            except ValueError as error:
                raise ValueError(f"task {task.name}, {source.id}: {error}") from error
    return tasks


KINDS = {"mini": mini_pool.build}


def stream(
    tasks: Sequence[types.Task],
    *,
    prompts_per_step: int,
    smallest: int,
    largest: int,
    seed: int,
) -> grain.DatasetIterator:
    """Returns the tasks of each step without end, every one before any comes again.

    Args:
      tasks: To train on.
      prompts_per_step: Tasks of a step.
      smallest: Fewest sources of a task that are shown; see `augment.subset`.
      largest: Most sources.
      seed: Of the order and the subsets.
    """

    def subset(task: types.Task, rng: np.random.Generator) -> types.Task:
        return augment.subset(task, rng, smallest=smallest, largest=largest)

    order = grain.MapDataset.source(list(tasks)).seed(seed).shuffle().repeat()
    steps = order.random_map(subset).batch(prompts_per_step, batch_fn=list)
    # No threads: nothing is read from disk.
    return iter(
        steps.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    )
