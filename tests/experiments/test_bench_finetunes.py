"""Tests for experiments/bench_finetunes.py, at a thousandth of its size."""

import dataclasses
import json

import optax
import pytest

from configs.bench import finetunes as config_file
from experiments import build_finetunes
from experiments import checks
from experiments import environment
from tests.experiments.conftest import ROOT


def _config():
    config = config_file.get_config()
    config.base.checkpoint = "random"
    config.architecture = dict(
        hidden_size=16,
        intermediate_size=32,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        rope_theta=10_000.0,
        rms_norm_eps=1e-6,
        tie_embeddings=True,
        max_positions=128,
    )
    config.finetune.optimizer = "adamw"
    config.variants = (
        dict(fit="one_by_one", width=1),
        dict(fit="in_threads", width=2),
        dict(fit="in_one_program", width=2),
    )
    config.datasets, config.rounds, config.steps = 3, 2, 3
    config.examples.examples = 20
    return config


def _build(config, folder):
    return build_finetunes.PROGRAMMES["bench_finetunes"](config, folder, ROOT)


def _run(made, folder):
    made.run(environment.Environment(folder / "environment.json", root=ROOT))


def test_all_ways_are_measured_and_agree(tmp_path, capsys):
    made = _build(_config(), tmp_path)
    _run(made, tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary) == ["one_by_one, 1", "in_threads, 2", "in_one_program, 2"]
    for figures in summary.values():
        assert figures["seconds"] > 0 and figures["cpu_seconds"] > 0
    assert summary["in_threads, 2"]["difference"] == 0.0
    assert summary["in_one_program, 2"]["difference"] < 1e-4
    assert capsys.readouterr().out.startswith("| way, width | s a fine-tune |")


@pytest.mark.slow
def test_a_way_that_trains_otherwise_is_no_result(tmp_path):
    made = _build(_config(), tmp_path)
    honest = made.variants[1].fit

    def slower(training, batches, **settings):
        halved = optax.chain(training.optimizer, optax.scale(0.5))
        training = dataclasses.replace(training, optimizer=halved)
        return honest(training, batches, **settings)

    variants = [
        made.variants[0],
        dataclasses.replace(made.variants[1], fit=slower),
    ]
    made = dataclasses.replace(made, variants=variants, tolerance=1e-6)
    with pytest.raises(RuntimeError, match="slower, 2: a loss differs by"):
        _run(made, tmp_path)
    assert not (tmp_path / "summary.json").exists()


def test_what_cannot_be_is_refused(tmp_path):
    config = _config()
    config.variants = (dict(fit="by_magic", width=1),)
    with pytest.raises(checks.UserError, match=r"variants\[0\].fit='by_magic'"):
        _build(config, tmp_path)
    config = _config()
    config.examples.shortest = 8
    with pytest.raises(checks.UserError, match="targets=8 < shortest=8"):
        _build(config, tmp_path)
    config = _config()
    config.examples.longest = 97
    with pytest.raises(checks.UserError, match="examples.longest=97: is above"):
        _build(config, tmp_path)
    config = _config()
    config.steps = 301
    with pytest.raises(checks.UserError, match="config.steps=301: is above"):
        _build(config, tmp_path)
