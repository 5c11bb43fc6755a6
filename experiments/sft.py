"""Supervised fine-tuning of a checkpoint on dialogs in files, whole or by adapters.

The cold start of a real policy: the dialogs are prompts and recipes that larger models
wrote and that were kept by rejection (paper, section 3.4).
"""

from collections.abc import Callable, Sequence
import dataclasses
import pathlib
import shutil
from typing import Any

from flax import nnx
import jax
import ml_collections as mlc
import numpy as np
import optax
import tqdm

from datachef_jax.finetune import optimizer as optimizers
from datachef_jax.finetune import packing
from datachef_jax.finetune import sft
from datachef_jax.models.qwen3 import lora
from datachef_jax.models.qwen3 import weights
from datachef_jax.recipes import dataset
from datachef_jax.training import checkpoint
from datachef_jax.training import preemption
from experiments import checks
from experiments import environment
from experiments import models
from experiments import parts
from experiments import results
from experiments import workdirs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sft:
    """The parts of the experiment.

    Attributes:
      workdir: Gets `checkpoints/` while it trains, `losses.jsonl`, then `checkpoint/`
        in Hugging Face's format (`adapters/` in PEFT's beside it, if there are any) and
        `summary.json`.
      model: To start from.
      optimizer: Made for `steps`.
      batches: Makes the stream of batches, from its beginning.
      steps: Updates in total.
      sync_every: See `finetune.sft.fit`.
      every_steps: Updates between checkpoints; there is one after the last, too.
      keep: Checkpoints to keep.
      export: Writes the trained model into a folder.
    """

    workdir: pathlib.Path
    model: models.Model
    optimizer: optax.GradientTransformation
    batches: Callable[[], Any]
    steps: int
    sync_every: int
    every_steps: int
    keep: int
    export: Callable[[nnx.State, pathlib.Path], None]

    def run(self, record: environment.Environment) -> None:
        """Trains from the latest checkpoint on; exports; writes `summary.json`.

        Keys: `loss/first` and `loss/last`, in nats a target, means over a tenth of the
        updates; `updates`.
        """
        with record.stage("training"):
            params, losses = self._train()
        with record.stage("export"):
            self.export(params, self.workdir)
        tenth = max(len(losses) // 10, 1)
        figures = {
            "updates": len(losses),
            "loss/first": float(np.mean(losses[:tenth])),
            "loss/last": float(np.mean(losses[-tenth:])),
        }
        for name, value in figures.items():
            print(f"{name:<12} {value:.4f}")
        results.write_json(self.workdir / "summary.json", figures)

    def _train(self) -> tuple[nnx.State, list[float]]:
        """Returns all weights after the last update, and the loss of every update."""
        learned, frozen = self.model.learned_and_frozen()
        state, batches = sft.start(learned, self.optimizer), self.batches()
        folder = workdirs.shared(self.workdir) / "checkpoints"
        restored = checkpoint.restore_latest(folder, state)
        losses: list[float] = []
        if restored.arrays is not None:
            state = restored.arrays
            batches.set_state(restored.position["batches"])
            losses = list(restored.position["losses"])
            tqdm.tqdm.write(f"going on after {restored.step} updates")
        notice, pending = preemption.Notice(), []
        with (
            tqdm.tqdm(
                total=self.steps, initial=restored.step, desc="train", unit="update"
            ) as bar,
            notice.listening(),
            checkpoint.Saver(folder, keep=self.keep) as saver,
        ):

            def save(step: int, state: sft.SftState) -> None:
                losses.extend(float(loss) for loss in jax.device_get(pending))
                pending.clear()
                rows = [{"step": i + 1, "loss": loss} for i, loss in enumerate(losses)]
                results.write_jsonl(self.workdir / "losses.jsonl", rows)
                position = {"batches": batches.get_state(), "losses": losses}
                saver.save(step, state, position)
                bar.set_postfix(loss=f"{losses[-1]:.4f}")

            def on_step(step: int, state: sft.SftState, loss: jax.Array) -> None:
                pending.append(loss)
                bar.update()
                if step % self.every_steps == 0 or step == self.steps:
                    save(step, state)
                try:
                    notice()
                except preemption.Preempted:
                    if pending:
                        save(step, state)
                    raise

            state, _ = sft.fit(
                self.model.graphdef,
                state,
                batches,
                steps=self.steps,
                optimizer=self.optimizer,
                sync_every=self.sync_every,
                on_step=on_step,
                frozen=frozen,
            )
        return nnx.merge_state(state.params, frozen), losses


def build(config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path) -> Sft:
    """Builds the experiment behind `configs/cold_start_qwen3.py`."""
    section = config.sft
    tokenizer = parts.tokenizer(config.tokenizer, root)
    model = models.load(config, "policy", tokenizer, root)
    examples: list[packing.TokenExample] = []
    for name in section.files:
        with checks.blame("config.sft.files", name):
            examples += packing.tokenize_rows(
                dataset.read_file(root / name),
                tokenizer,
                max_tokens=section.row_tokens,
                max_targets=section.row_targets,
            )
    checks.require(
        bool(examples), "config.sft.files", section.files, "have nothing to learn"
    )
    with checks.blame("config.optimizer", config.optimizer.to_dict()):
        optimizer = optimizers.adamw(**config.optimizer, steps=section.steps)

    def batches() -> Any:
        return packing.batches(
            examples,
            rows=section.batch_rows,
            row_tokens=section.row_tokens,
            row_targets=section.row_targets,
            seed=config.seed,
        )

    def export(params: nnx.State, folder: pathlib.Path) -> None:
        trained = nnx.merge(model.graphdef, params)
        if trained.lora is not None:
            base = config.policy.checkpoint
            lora.save(trained, folder / "adapters", base=base)
        out = folder / "checkpoint"
        weights.save(lora.merge(trained), out, stored_dtype=section.stored_dtype)
        _copy_tokenizer(root / config.tokenizer, out)

    return Sft(
        workdir=workdir,
        model=model,
        optimizer=optimizer,
        batches=batches,
        steps=section.steps,
        sync_every=section.sync_every,
        every_steps=config.checkpoint.every_steps,
        keep=config.checkpoint.keep,
        export=export,
    )


PROGRAMMES = {"sft": build}


def _copy_tokenizer(source: pathlib.Path, folder: pathlib.Path) -> None:
    """Puts the tokenizer's files beside the weights, as checkpoints have them."""
    if jax.process_index():
        return
    names: Sequence[str] = (
        "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
        "special_tokens_map.json", "vocab.json", "merges.txt", "added_tokens.json",
    )  # fmt: skip
    for name in names:
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
