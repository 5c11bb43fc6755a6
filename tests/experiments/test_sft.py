"""Tests for experiments/sft.py, on a tiny checkpoint in the real file format."""

import json
import os
import signal

from flax import nnx
import jax
import numpy as np
import pytest

from configs import cold_start_qwen3
from datachef_jax.models.qwen3 import lora
from datachef_jax.models.qwen3 import weights
from datachef_jax.parallel import sharding
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.training import checkpoint
from datachef_jax.training import preemption
from experiments import checks
from experiments import environment
from experiments import results
from experiments import sft
from tests import tiny


@pytest.fixture
def config(tokenizer_folder, tmp_path):
    """Returns the config of the cold start with a tiny model and its sizes cut."""
    config = cold_start_qwen3.get_config("0.6b")
    vocab = ChatTokenizer.load(tokenizer_folder).vocab_size
    weights.save(tiny.random_model(vocab), tmp_path / "base", stored_dtype="bfloat16")
    dialogs = [
        {"dialogs": [
            {"role": "user", "content": f"What is {i} + {i}?"},
            {"role": "assistant", "content": str(2 * i)},
        ]}
        for i in range(40)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(d) + "\n" for d in dialogs))
    config.tokenizer = str(tokenizer_folder)
    config.policy.update(checkpoint=str(tmp_path / "base"), dtype="float32")
    config.sft.update(
        files=(str(tmp_path / "rows.jsonl"),),
        steps=20,
        batch_rows=4,
        row_tokens=64,
        row_targets=32,
        stored_dtype="float32",
    )
    config.optimizer.update(learning_rate=3e-3, warmup_steps=2)
    config.checkpoint.update(every_steps=8)
    return config


@pytest.fixture(autouse=True)
def one_device():
    with jax.set_mesh(sharding.make_mesh(data=1, model=1, devices=jax.devices()[:1])):
        yield


def _run(config, workdir):
    experiment = sft.build(config, workdir, workdir)
    record = environment.Environment(workdir / "environment.json", root=workdir)
    experiment.run(record)
    return experiment


def test_it_learns_and_leaves_a_checkpoint_with_its_tokenizer(config, tmp_path):
    workdir = tmp_path / "run"
    _run(config, workdir)
    figures = results.read_json(workdir / "summary.json")
    assert figures["updates"] == 20
    assert figures["loss/last"] < figures["loss/first"] - 0.5
    losses = [row["loss"] for row in results.read_jsonl(workdir / "losses.jsonl")]
    assert len(losses) == 20 and np.mean(losses[:2]) == figures["loss/first"]
    assert checkpoint.steps(workdir / "checkpoints") == [8, 16, 20]
    made = weights.load(workdir / "checkpoint", tiny.COMPUTE)
    tokenizer = ChatTokenizer.load(workdir / "checkpoint")
    assert made.config.vocab_size == tokenizer.vocab_size


def _stopping(experiment, at: int):
    """Has a SIGTERM come before batch number `at`."""
    made = experiment.batches

    class Batches:
        def __init__(self):
            self.inner, self.count = made(), 0

        def __iter__(self):
            return self

        def __next__(self):
            self.count += 1
            if self.count == at:
                os.kill(os.getpid(), signal.SIGTERM)
            return next(self.inner)

        def __getattr__(self, name):
            return getattr(self.inner, name)

    object.__setattr__(experiment, "batches", Batches)


def test_a_run_that_was_told_to_stop_ends_like_one_that_was_not(config, tmp_path):
    _run(config, tmp_path / "whole")
    workdir = tmp_path / "stopped"
    experiment = sft.build(config, workdir, workdir)
    record = environment.Environment(workdir / "environment.json", root=workdir)
    _stopping(experiment, at=11)
    with pytest.raises(preemption.Preempted):
        experiment.run(record)
    assert checkpoint.steps(workdir / "checkpoints") == [8, 11]
    _run(config, workdir)
    for name in ("summary.json", "losses.jsonl", "checkpoint/model.safetensors"):
        same = (tmp_path / "whole" / name).read_bytes()
        assert (workdir / name).read_bytes() == same, name


def test_with_adapters_only_they_learn_and_the_export_has_them_merged(config, tmp_path):
    config.policy.lora.update(rank=4, targets=("q_proj", "v_proj", "down_proj"))
    workdir = tmp_path / "run"
    experiment = _run(config, workdir)
    figures = results.read_json(workdir / "summary.json")
    assert figures["loss/last"] < figures["loss/first"]
    base = weights.load(tmp_path / "base", tiny.COMPUTE)
    merged = weights.load(workdir / "checkpoint", tiny.COMPUTE)
    for path, array in nnx.to_flat_state(nnx.state(merged, nnx.Param)):
        same = bool((array[...] == base_of(base, path)).all())
        targeted = path[-1] == "weights" and path[-2] in ("query", "value", "down")
        assert same != targeted, path
    again = lora.merge(lora.load(base, workdir / "adapters"))
    expected = merged.layers.mlp.down.weights[...]
    np.testing.assert_allclose(again.layers.mlp.down.weights[...], expected, atol=1e-6)
    # Checkpoints hold the adapters and nothing of the model beside them.
    learned, _ = experiment.model.learned_and_frozen()
    state = sft.sft.start(learned, experiment.optimizer)
    restored = checkpoint.restore_latest(workdir / "checkpoints", state)
    assert restored.step == 20


def base_of(model, path):
    """Returns the parameter at a path."""
    return dict(nnx.to_flat_state(nnx.state(model, nnx.Param)))[path][...]


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "have nothing to learn"),
        ('{"dialogs": []}\n', "rows.jsonl"),
        ("{\n", "rows.jsonl.*line 1|rows.jsonl:1"),
    ],
)
def test_files_without_whole_rows_are_refused(content, said, config, tmp_path):
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(checks.UserError, match=said):
        sft.build(config, tmp_path / "run", tmp_path)
