"""From a completion to the rows it stands for: parse, run in the sandbox, read."""

from collections.abc import Callable, Sequence
import dataclasses
import pathlib

from datachef_jax.parallel import hosts
from datachef_jax.recipes import dataset
from datachef_jax.recipes import parse
from datachef_jax.types import Dataset
from datachef_jax.types import Execution
from datachef_jax.types import Recipe
from datachef_jax.types import Task
from sandbox import directories
from sandbox import pool

_PREFIX = "recipe-"  # of the directories that are ours to remove


class Executor:
    """Runs recipes and reads what they wrote; leaves nothing on disk.

    Args:
      sandbox: A started sandbox.
      directory: Where scripts get directories of their own; those that a killed run
        left there are removed.
      row_cap: How many rows of a source a script sees; 0 for all.
      max_dataset_bytes: A dataset may have no more than this.
    """

    def __init__(
        self,
        *,
        sandbox: pool.Sandbox,
        directory: pathlib.Path,
        row_cap: int,
        max_dataset_bytes: int,
    ) -> None:
        self._sandbox, self._directory = sandbox, directory
        self._row_cap, self._max_dataset_bytes = row_cap, max_dataset_bytes

    def run(
        self,
        tasks: Sequence[Task],
        texts: Sequence[str],
        seeds: Sequence[int],
        progress: Callable[[int], None],
    ) -> list[Execution]:
        """Executes one completion for each task.

        Args:
          tasks: What each completion was written for; its sources can be loaded.
          texts: The completions.
          seeds: Determine the rows that are loaded and the scripts' randomness.
          progress: Called with 1 for each completion that is through.

        Returns:
          Their executions, in order; each depends on its task, text and seed alone. In
          a run of several processes each executes a share of them.
        """
        asked = hosts.share(list(zip(tasks, texts, seeds, strict=True)))
        return hosts.join(self._run(asked, progress), len(texts))

    def _run(
        self,
        asked: Sequence[tuple[Task, str, int]],
        progress: Callable[[int], None],
    ) -> list[Execution]:
        """Does so on this machine."""
        self._sweep()
        self._directory.mkdir(parents=True, exist_ok=True)
        executions: list[Execution | None] = [None] * len(asked)
        jobs: dict[int, pool.Job] = {}
        for index, (task, text, seed) in enumerate(asked):
            try:
                jobs[index] = self._job(index, task, parse.parse(text), seed)
            except parse.ParseError as error:
                executions[index] = Execution(
                    kind="unparsed", log=str(error), dataset=Dataset(rows=())
                )
                progress(1)
        results = self._sandbox.run(list(jobs.values()), progress)
        for (index, job), result in zip(jobs.items(), results, strict=True):
            executions[index] = self._execution(job, result)
        self._sweep()
        return executions

    def _sweep(self) -> None:
        for left in self._directory.glob(f"{_PREFIX}*"):
            directories.wipe(left)

    def _job(self, index: int, task: Task, recipe: Recipe, seed: int) -> pool.Job:
        return pool.Job(
            processing=recipe.processing,
            verification=recipe.verification,
            sources=tuple(
                pool.SourceFile(
                    id=source.id,
                    path=source.path,
                    format=source.format,
                    records=source.records,
                    split=source.split,
                    name=source.name,
                )
                for source in task.sources
            ),
            row_cap=self._row_cap,
            seed=int(seed),
            directory=self._directory / f"{_PREFIX}{index}",
        )

    def _execution(self, job: pool.Job, result: pool.Result) -> Execution:
        execution = Execution(
            kind=result.kind,
            log=result.log,
            dataset=Dataset(rows=()),
            verification=result.verification,
            calls=result.calls,
            cpu_seconds=result.cpu_seconds,
            wall_seconds=result.wall_seconds,
            peak_bytes=result.peak_bytes,
        )
        if result.kind != "ok":
            return execution
        try:
            rows = dataset.read(job.directory, max_bytes=self._max_dataset_bytes)
        except dataset.InvalidOutput as error:
            log = f"{result.log}\n[{error}]\n"
            return dataclasses.replace(execution, kind="invalid_output", log=log)
        if not rows.rows and not rows.malformed:
            log = f"{result.log}\n[no rows in data/processed/*.jsonl]\n"
            return dataclasses.replace(
                execution, kind="no_output", log=log, dataset=rows
            )
        return dataclasses.replace(execution, dataset=rows)
