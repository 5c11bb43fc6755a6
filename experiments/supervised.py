"""Trains a mini model on a corpus, in stages, and saves it as a checkpoint folder.

The programme behind `configs/mini/{tokenizer,base,policy,judge}.py`: how the models
that this repository ships were made.
"""

from collections.abc import Callable, Sequence
import dataclasses
import json
import pathlib
import shutil

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from orbax.checkpoint import v1 as ocp
import tqdm

from datachef_jax.finetune import packing
from datachef_jax.finetune import sft
from datachef_jax.models.qwen3 import model as qwen3
from datachef_jax.models.qwen3 import weights
from experiments import results

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

    A training that was killed goes on after the last stage that it finished, to the
    same end.

    Args:
      model: To start from.
      stages: In order; the optimizer's schedule runs over all of them.
      optimizer: Made for the sum of the stages' steps.
      seed: Of the batches' order.
      workdir: Gets `losses.jsonl`, `checkpoint/`, and `stages/` with the figures and
        the state of each.
      evaluate: Measures the model after each stage.

    Returns:
      Mean loss over the first and the last hundred steps, in nats a target, and what
      `evaluate` says of the last model.
    """
    folder = workdir / "stages"
    state = sft.start(nnx.state(model, nnx.Param), optimizer)
    done = [path for i in range(len(stages)) if (path := _facts(folder, i)).exists()]
    finished = [results.read_json(path) for path in done]
    if finished:
        state = _restore(folder / str(len(finished)), state)
    losses = [record for facts in finished for record in facts["losses"]]

    def log(record: dict) -> None:
        losses.append(record)
        results.write_jsonl(workdir / "losses.jsonl", losses)

    for index, stage in list(enumerate(stages))[len(finished) :]:
        before = len(losses)
        state = _train(
            model, stage, state, optimizer=optimizer, seed=seed + index, log=log
        )
        nnx.update(model, jax.tree.map(jnp.copy, state.params))
        weights.save(model, workdir / "checkpoint", stored_dtype=_STORED_DTYPE)
        scores = evaluate(model)
        print(stage.name, json.dumps(scores), flush=True)
        ocp.save(folder / str(index + 1), _by_path(state), overwrite=True)
        facts = {"stage": stage.name, "scores": scores, "losses": losses[before:]}
        results.write_json(_facts(folder, index), facts)
        finished.append(facts)
        shutil.rmtree(folder / str(index), ignore_errors=True)
    return {
        "loss/first": losses[0]["loss"],
        "loss/last": losses[-1]["loss"],
        **finished[-1]["scores"],
    }


def _facts(folder: pathlib.Path, index: int) -> pathlib.Path:
    return folder / f"{index + 1}.json"


def _by_path(state: sft.SftState) -> dict[str, jax.Array]:
    """Returns the arrays by their path, which Orbax keeps whatever holds them."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _restore(path: pathlib.Path, like: sft.SftState) -> sft.SftState:
    names = _by_path(like)
    loaded = ocp.load(path, names)
    return jax.tree.structure(like).unflatten(loaded[name] for name in names)
