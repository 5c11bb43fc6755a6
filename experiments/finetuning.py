"""Downstream: fine-tunes the base model on a recipe's rows and scores its benchmark."""

from collections.abc import Callable, Sequence
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from flax import nnx
import optax

from datachef_jax import types
from datachef_jax.benchmarks import evaluate
from datachef_jax.finetune import packing
from datachef_jax.finetune import sft
from datachef_jax.recipes import dataset
from datachef_jax.serving.client import Client
from datachef_jax.text.tokenizer import ChatTokenizer
from experiments import results


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetuner:
    """How a dataset becomes a benchmark score.

    Attributes:
      graphdef: Of the base model.
      params: Those of its weights that learn; every fine-tune starts from them.
      frozen: All others.
      tokenizer: The base model's.
      client: Of the model with weights, which answers benchmark questions.
      max_new_tokens: Longest answer.
      optimizer: One object for all fine-tunes, so that the step compiles once.
      steps: Updates of a fine-tune.
      batch_rows: Packed rows of a batch.
      row_tokens: Length of a packed row.
      targets_per_row: Tokens to be predicted in a packed row, at most.
      max_rows: Larger datasets are cut down to so many rows, drawn at random.
      sync_every: See `sft.fit`.
      folder: Where scores are kept, one file for each seed, task and dataset.
    """

    graphdef: nnx.GraphDef
    params: nnx.State
    frozen: nnx.State
    tokenizer: ChatTokenizer
    client: Callable[..., Client]
    max_new_tokens: int
    optimizer: optax.GradientTransformation
    steps: int
    batch_rows: int
    row_tokens: int
    targets_per_row: int
    max_rows: int
    sync_every: int
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
            they add up to `steps` however the score was come by.

        Returns:
          `dbs` (percent), `dataset` (the rows' hash), `rows` (after the draw) and
          `final_loss` (nats per target, mean of the last tenth of the updates;
          None without training).
        """
        content = json.dumps([row["dialogs"] for row in rows], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16] if rows else "base"
        drawn = [rows[i] for i in dataset.draw(len(rows), self.max_rows, seed)]
        path = self.folder / f"seed{seed}" / task.name / f"{digest}.json"
        if path.exists():
            progress(self.steps)
        return results.once(
            path,
            lambda: {
                "dataset": digest,
                "rows": len(drawn),
                **self._measure(task, drawn, seed=seed, progress=progress),
            },
        )

    def _measure(
        self,
        task: types.Task,
        rows: Sequence[types.Row],
        *,
        seed: int,
        progress: Callable[[int], Any],
    ) -> dict[str, Any]:
        examples = packing.tokenize_rows(
            rows,
            self.tokenizer,
            max_tokens=self.row_tokens,
            max_targets=self.targets_per_row,
        )
        params, final_loss = self.params, None
        if examples:
            batches = packing.batches(
                examples,
                rows=self.batch_rows,
                row_tokens=self.row_tokens,
                row_targets=self.targets_per_row,
                seed=seed,
            )
            state, losses = sft.fit(
                self.graphdef,
                sft.start(self.params, self.optimizer),
                batches,
                steps=self.steps,
                optimizer=self.optimizer,
                sync_every=self.sync_every,
                on_step=lambda step, state, loss: progress(1),
                frozen=self.frozen,
            )
            last = losses[-(self.steps // 10 + 1) :]
            params, final_loss = state.params, float(last.mean())
        else:
            progress(self.steps)
        score = evaluate.evaluate(
            self.client(nnx.merge_state(params, self.frozen), version=0),
            self.tokenizer,
            task,
            max_new_tokens=self.max_new_tokens,
        )
        return {"dbs": 100.0 * score.accuracy, "final_loss": final_loss}
