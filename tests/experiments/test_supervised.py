"""Tests for experiments/supervised.py."""

import jax
import numpy as np
import pytest

from datachef_jax.finetune import optimizer as optimizers
from datachef_jax.finetune import packing
from datachef_jax.models.qwen3 import weights
from datachef_jax.parallel import sharding
from experiments import results
from experiments import supervised
from tests import tiny

_STEPS = (110, 20, 10)


def _examples():
    rng = np.random.default_rng(0)
    return [
        packing.TokenExample((1, 2, int(last)), (False, True, True))
        for last in rng.integers(3, 9, size=40)
    ]


def _killed():
    raise KeyboardInterrupt


def _train(workdir, *, killed_in: int | None = None) -> dict[str, float]:
    stages = [
        supervised.Stage(
            name=f"stage {index}",
            examples=_killed if index == killed_in else _examples,
            steps=steps,
            rows=2,
            row_tokens=8,
            row_targets=8,
        )
        for index, steps in enumerate(_STEPS)
    ]
    optimizer = optimizers.muon(
        1e-2,
        warmup_steps=5,
        steps=sum(_STEPS),
        b1=0.9,
        b2=0.99,
        weight_decay=0.0,
        max_grad_norm=1.0,
    )
    devices = jax.devices()[:1]
    with jax.set_mesh(sharding.make_mesh(data=1, model=1, devices=devices)):
        return supervised.train(
            tiny.random_model(260),
            stages,
            optimizer=optimizer,
            seed=0,
            workdir=workdir,
            evaluate=lambda model: {"size": float(model.embedding[...].size)},
        )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Returns the folder of a training and its figures."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    return workdir, _train(workdir)


def test_the_loss_falls_and_every_hundred_steps_are_logged(uninterrupted):
    workdir, figures = uninterrupted
    losses = results.read_jsonl(workdir / "losses.jsonl")
    assert [record["step"] for record in losses] == [100, 110, 130, 140]
    assert figures == {
        "loss/first": losses[0]["loss"], "loss/last": losses[-1]["loss"],
        "size": 260.0 * 16,
    }  # fmt: skip
    assert figures["loss/last"] < 0.7 * figures["loss/first"]


def test_a_killed_training_goes_on_after_its_last_stage(uninterrupted, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, killed_in=2)
    # What is finished is not done again, so its examples are not asked for.
    assert _train(tmp_path, killed_in=1) == uninterrupted[1]
    for name in ("losses.jsonl", "checkpoint/model.safetensors"):
        assert (tmp_path / name).read_bytes() == (uninterrupted[0] / name).read_bytes()


def test_what_is_saved_is_what_was_trained(uninterrupted):
    saved = weights.load(uninterrupted[0] / "checkpoint", tiny.COMPUTE)
    fresh = tiny.random_model(260)
    assert not np.allclose(saved.embedding[...], fresh.embedding[...], atol=1e-2)
