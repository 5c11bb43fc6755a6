"""Downstream: fine-tunes the base model on a recipe's rows and scores its benchmark."""

from collections.abc import Callable, Sequence
import dataclasses
import hashlib
import json
import pathlib
from typing import Any, NamedTuple

from flax import nnx
import grain

from datachef_jax import types
from datachef_jax.benchmarks import evaluate
from datachef_jax.finetune import many
from datachef_jax.finetune import packing
from datachef_jax.recipes import dataset
from datachef_jax.serving.client import Client
from datachef_jax.text.tokenizer import ChatTokenizer
from experiments import results


_Batches = grain.DatasetIterator[packing.Batch]


class Wanted(NamedTuple):
    """A dataset whose score is wanted."""

    task: types.Task  # whose benchmark is asked
    rows: Sequence[types.Row]  # without any, the base model itself is scored
    seed: int  # of the draw of `max_rows` and of the order of the batches


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Job:
    """What is to be done for a dataset.

    Attributes:
      task: Whose benchmark is asked.
      digest: The hash of all rows, "base" if there are none.
      drawn: The rows to train on.
      seed: Of the order of the batches.
      path: Where the score is kept.
    """

    task: types.Task
    digest: str
    drawn: Sequence[types.Row]
    seed: int
    path: pathlib.Path

    @property
    def name(self) -> str:
        """Returns what errors call it."""
        return f"{self.task.name}, dataset {self.digest}, seed {self.seed}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetuner:
    """How a dataset becomes a benchmark score.

    Attributes:
      training: The base model, and how it learns.
      tokenizer: The base model's.
      client: Of the model with weights, which answers benchmark questions.
      max_new_tokens: Longest answer.
      batch_rows: Packed rows of a batch.
      row_tokens: Length of a packed row.
      targets_per_row: Tokens to be predicted in a packed row, at most.
      max_rows: Larger datasets are cut down to so many rows, drawn at random.
      folder: Where scores are kept, one file for each seed, task and dataset.
    """

    training: many.Training
    tokenizer: ChatTokenizer
    client: Callable[..., Client]
    max_new_tokens: int
    batch_rows: int
    row_tokens: int
    targets_per_row: int
    max_rows: int
    folder: pathlib.Path

    def score(
        self,
        task: types.Task,
        rows: Sequence[types.Row],
        *,
        seed: int,
        progress: Callable[[int], Any],
    ) -> dict[str, Any]:
        """Returns the benchmark score after a fine-tune, which is done only once.

        Args:
          task: Whose benchmark is asked.
          rows: The dataset; without any, the base model itself is scored.
          seed: Of the draw of `max_rows` and of the order of the batches.
          progress: Called with the number of updates done since the last call;
            they add up to `training.steps` however the score was come by.

        Returns:
          `dbs` (percent), `dataset` (the rows' hash), `rows` (after the draw) and
          `final_loss` (nats per target, mean of the last tenth of the updates;
          None without training).
        """
        (score,) = self.score_many(
            [Wanted(task, rows, seed)], fit=many.one_by_one, width=1, progress=progress
        )
        return score

    def score_many(
        self,
        wanted: Sequence[Wanted],
        *,
        fit: many.Fit,
        width: int,
        progress: Callable[[int], Any],
    ) -> list[dict[str, Any]]:
        """Returns what `score` does for each dataset, and keeps it in the same files.

        What a killed run has not kept is that of its last `width` datasets at most.

        Args:
          wanted: The datasets.
          fit: How several are trained. After `many.in_one_program` the results are
            those of `score` but for rounding, else to the bit.
          width: How many at once.
          progress: As for `score`; its numbers add up to that for each dataset.

        Returns:
          In the order of `wanted`, see `score`.
        """
        jobs = [self._job(one) for one in wanted]
        # One that is wanted twice is trained once.
        waiting = {job.path: job for job in jobs if not job.path.exists()}
        progress(self.training.steps * (len(jobs) - len(waiting)))
        group: list[tuple[_Job, _Batches]] = []
        for job in waiting.values():
            batches = self._batches(job)
            if batches is None:
                progress(self.training.steps)
                results.write_json(job.path, self._result(job, None))
                continue
            group.append((job, batches))
            if len(group) == width:
                self._keep(group, fit=fit, width=width, progress=progress)
                group = []
        if group:
            self._keep(group, fit=fit, width=width, progress=progress)
        return [results.read_json(job.path) for job in jobs]

    def _job(self, wanted: Wanted) -> _Job:
        """Says what is trained on, and where its score belongs."""
        task, rows, seed = wanted
        content = json.dumps([row["dialogs"] for row in rows], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16] if rows else "base"
        return _Job(
            task=task,
            digest=digest,
            drawn=[rows[i] for i in dataset.draw(len(rows), self.max_rows, seed)],
            seed=seed,
            path=self.folder / f"seed{seed}" / task.name / f"{digest}.json",
        )

    def _batches(self, job: _Job) -> _Batches | None:
        """Returns what to train on; None if no row has anything to predict."""
        examples = packing.tokenize_rows(
            job.drawn,
            self.tokenizer,
            max_tokens=self.row_tokens,
            max_targets=self.targets_per_row,
        )
        if not examples:
            return None
        return packing.batches(
            examples,
            rows=self.batch_rows,
            row_tokens=self.row_tokens,
            row_targets=self.targets_per_row,
            seed=job.seed,
        )

    def _keep(
        self,
        group: Sequence[tuple[_Job, _Batches]],
        *,
        fit: many.Fit,
        width: int,
        progress: Callable[[int], Any],
    ) -> None:
        """Trains several at once, scores them one by one and keeps the scores."""
        batches = {job.name: own for job, own in group}
        fitted = fit(self.training, batches, width=width, progress=progress)
        for job, _ in group:
            results.write_json(job.path, self._result(job, fitted[job.name]))

    def _result(self, job: _Job, fitted: many.Fitted | None) -> dict[str, Any]:
        """Scores a model on its benchmark; the base model where there is none."""
        params, final_loss = self.training.params, None
        if fitted is not None:
            last = fitted.losses[-(self.training.steps // 10 + 1) :]
            params, final_loss = fitted.params, float(last.mean())
        score = evaluate.evaluate(
            self.client(nnx.merge_state(params, self.training.frozen), version=0),
            self.tokenizer,
            job.task,
            max_new_tokens=self.max_new_tokens,
        )
        return {
            "dataset": job.digest,
            "rows": len(job.drawn),
            "dbs": 100.0 * score.accuracy,
            "final_loss": final_loss,
        }
