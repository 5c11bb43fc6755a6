"""Task pools by the name a config gives them, and the stream of tasks of a run."""

from collections.abc import Mapping, Sequence
import dataclasses
import inspect
import pathlib
from typing import Any

import grain
import numpy as np

from datachef_jax import types
from datachef_jax.tasks import augment
from datachef_jax.tasks import real_math
from datachef_jax.tasks.mini import pool as mini_pool


def load(
    kind: str, settings: Mapping[str, Any], *, folder: pathlib.Path, root: pathlib.Path
) -> list[types.Task]:
    """Returns all tasks of a pool; every source can be read and has rows.

    Args:
      kind: "mini" or "real_math".
      settings: Of that pool, by keyword.
      folder: Where a pool puts source files that it makes itself.
      root: The repository, beside which data may lie.

    Raises:
      ValueError: If there is no such pool, or it has other settings; or if a source is
        missing, unreadable or empty, naming the file.
    """
    pools = {
        "mini": (mini_pool.build, folder),
        "real_math": (real_math.build, root),
    }
    if kind not in pools:
        raise ValueError(f"kind must be one of {sorted(pools)}, got {kind!r}")
    build, place = pools[kind]
    try:
        inspect.signature(build).bind(place, **settings)
    except TypeError as error:
        wrong = f"kind {kind!r} has other settings than {sorted(settings)}: {error}"
        raise ValueError(wrong) from error
    return build(place, **settings)


def unseen(kind: str, tasks: Sequence[types.Task], *, seed: int) -> list[types.Task]:
    """Returns tasks of a pool with benchmark questions that none of its sources holds.

    Args:
      kind: Of the pool.
      tasks: Of it.
      seed: Of the questions.

    Raises:
      ValueError: If the pool does not make its questions itself, or has no more.
    """
    if kind != "mini":
        raise ValueError(f"the pool {kind!r} has no questions but its benchmarks'")
    return [mini_pool.unseen(task, seed=seed) for task in tasks]


def mini_training_tasks(
    pools: int, *, seed: int, benchmark_size: int, folder: pathlib.Path
) -> list[types.Task]:
    """Returns the training tasks of several mini pools, `<name>-<seed>` by name.

    In one pool a task's sources have their columns, layout and rows for good. A policy
    that imitates recipes for one pool learns that "id" means sentences in this task
    and boxed answers in that one, and reads no card.

    Args:
      pools: How many pools, of `seed` and those after it.
      seed: Of the first pool.
      benchmark_size: Questions in each benchmark.
      folder: One subfolder a pool is written below it.
    """
    return [
        dataclasses.replace(task, name=f"{task.name}-{number}")
        for number in range(seed, seed + pools)
        for task in mini_pool.build(
            folder / str(number), seed=number, benchmark_size=benchmark_size
        )
        if not task.held_out
    ]


def stream(
    tasks: Sequence[types.Task],
    *,
    prompts_per_step: int,
    smallest: int,
    largest: int,
    exchange_ids: bool,
    seed: int,
) -> grain.DatasetIterator:
    """Returns the tasks of each step without end, every one before any comes again.

    Args:
      tasks: To train on.
      prompts_per_step: Tasks of a step.
      smallest: Fewest sources of a task that are shown; see `augment.subset`.
      largest: Most sources.
      exchange_ids: Whether sources get other ids each time, drawn from those of all
        `tasks`; see `augment.exchange_ids`.
      seed: Of the order, the subsets, the ids and the rows shown.
    """
    ids = sorted({source.id for task in tasks for source in task.sources})

    def show(task: types.Task, rng: np.random.Generator) -> types.Task:
        task = augment.subset(task, rng, smallest=smallest, largest=largest)
        task = augment.exchange_rows(task, rng)
        return augment.exchange_ids(task, rng, ids) if exchange_ids else task

    order = grain.MapDataset.source(list(tasks)).seed(seed).shuffle()
    # Not without an end: a batch of one task would have no length that Python takes.
    order = order.repeat(10**9)
    steps = order.random_map(show).batch(prompts_per_step, batch_fn=list)
    # No threads: nothing is read from disk.
    return iter(
        steps.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    )
