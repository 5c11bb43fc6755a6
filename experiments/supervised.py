"""Trains a mini model on a corpus, in stages, and saves it as a checkpoint folder.

The programme behind `configs/mini/{tokenizer,base,policy,judge}.py`: how the models
that this repository ships were made.
"""

from collections.abc import Callable, Sequence
import dataclasses
import json
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

from datachef_jax.finetune import packing
from datachef_jax.finetune import sft
from datachef_jax.models.qwen3 import model as qwen3
from datachef_jax.models.qwen3 import weights

_STORED_DTYPE = jnp.bfloat16  # halves what the repository ships
_SYNC_EVERY = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the training with its own examples and batch shape.

    Attributes:
      name: For the progress bar and the log.
      examples: Makes the examples.
      steps: Updates.
      rows: Rows of a batch.
      row_tokens: Length of a row.
      row_targets: Most targets of a row.
    """

    name: str
    examples: Callable[[], Sequence[packing.TokenExample]]
    steps: int
    rows: int
    row_tokens: int
    row_targets: int


def _train(
    model: qwen3.Qwen3,
    stage: Stage,
    state: sft.SftState,
    *,
    optimizer: optax.GradientTransformation,
    seed: int,
    log: Callable[[dict], None],
) -> sft.SftState:
    """Trains one stage, from the updates that `state` counts."""
    graphdef = nnx.graphdef(model)
    before = int(state.step)
    batches = packing.batches(
        stage.examples(),
        rows=stage.rows,
        row_tokens=stage.row_tokens,
        row_targets=stage.row_targets,
        seed=seed,
    )
    bar = tqdm.tqdm(total=stage.steps, desc=stage.name, unit="step", mininterval=5)
    recent: list[jax.Array] = []

    def on_step(step: int, _: sft.SftState, loss: jax.Array) -> None:
        bar.update()
        recent.append(loss)
        if len(recent) == 100 or step == before + stage.steps:
            mean = float(np.mean(jax.device_get(recent)))
            log({"stage": stage.name, "step": step, "loss": mean})
            bar.set_postfix(loss=f"{mean:.4f}")
            recent.clear()

    state, _ = sft.fit(
        graphdef,
        state,
        batches,
        steps=before + stage.steps,
        optimizer=optimizer,
        sync_every=_SYNC_EVERY,
        on_step=on_step,
    )
    bar.close()
    return state


def train(
    model: qwen3.Qwen3,
    stages: Sequence[Stage],
    *,
    optimizer: optax.GradientTransformation,
    seed: int,
    workdir: pathlib.Path,
    evaluate: Callable[[qwen3.Qwen3], dict[str, float]],
) -> dict[str, float]:
    """Trains a model stage by stage and saves it after each.

    Args:
      model: To start from.
      stages: In order; the optimizer's schedule runs over all of them.
      optimizer: Made for the sum of the stages' steps.
      seed: Of the batches' order.
      workdir: Gets `losses.jsonl`, `evaluation.jsonl` and `checkpoint/`.
      evaluate: Measures the model after each stage.

    Returns:
      Mean loss over the first and the last hundred steps, in nats a target, and what
      `evaluate` says of the last model.
    """
    workdir.mkdir(parents=True, exist_ok=True)

    losses: list[float] = []

    def log(record: dict) -> None:
        losses.append(record["loss"])
        with open(workdir / "losses.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    state = sft.start(nnx.state(model, nnx.Param), optimizer)
    for index, stage in enumerate(stages):
        state = _train(
            model, stage, state, optimizer=optimizer, seed=seed + index, log=log
        )
        nnx.update(model, jax.tree.map(jnp.copy, state.params))
        weights.save(model, workdir / "checkpoint", stored_dtype=_STORED_DTYPE)
        scores = evaluate(model)
        print(stage.name, json.dumps(scores), flush=True)
        with open(workdir / "evaluation.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage.name, **scores}) + "\n")
    return {"loss/first": losses[0], "loss/last": losses[-1], **scores}
