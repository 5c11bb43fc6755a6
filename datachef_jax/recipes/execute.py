"""From a completion to the rows it stands for: parse, run in the sandbox, read."""

from collections.abc import Callable, Sequence

from datachef_jax.parallel import hosts
from datachef_jax.recipes import parse
from datachef_jax.types import Dataset
from datachef_jax.types import Execution
from datachef_jax.types import Recipe
from datachef_jax.types import Task
from sandbox import job
from sandbox import pool


class Executor:
    """Runs recipes; leaves nothing on disk.

    Args:
      sandbox: A started sandbox.
      row_cap: How many rows of a source a script sees; 0 for all.
    """

    def __init__(self, *, sandbox: pool.Sandbox, row_cap: int) -> None:
        self._sandbox, self._row_cap = sandbox, row_cap

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
        executions: list[Execution | None] = [None] * len(asked)
        recipes: dict[int, Recipe] = {}
        for index, (_, text, _) in enumerate(asked):
            try:
                recipes[index] = parse.parse(text)
            except parse.ParseError as error:
                executions[index] = Execution(
                    kind="unparsed", log=str(error), dataset=Dataset(rows=())
                )
                progress(1)
        jobs = [
            self._job(asked[index][0], recipe, asked[index][2])
            for index, recipe in recipes.items()
        ]
        results = self._sandbox.run(jobs, progress)
        for (index, recipe), result in zip(recipes.items(), results, strict=True):
            executions[index] = _execution(recipe, result)
        return executions

    def _job(self, task: Task, recipe: Recipe, seed: int) -> job.Job:
        return job.Job(
            processing=recipe.processing,
            verification=recipe.verification,
            sources=tuple(
                job.SourceFile(
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
        )


def _execution(recipe: Recipe, result: job.Result) -> Execution:
    return Execution(
        kind=result.kind,
        log=result.log,
        dataset=Dataset(
            rows=tuple(result.output.rows),
            malformed=result.output.malformed,
            first_error=result.output.first_error,
            ignored=result.output.ignored,
        ),
        recipe=recipe,
        verification=result.verification,
        calls=result.calls,
        cpu_seconds=result.cpu_seconds,
        wall_seconds=result.wall_seconds,
        peak_bytes=result.peak_bytes,
        written_bytes=result.written_bytes,
    )
