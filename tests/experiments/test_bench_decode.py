"""Tests for experiments/bench_decode.py, on a model of one layer."""

import json

from flax import nnx
import jax
import pytest

from configs.bench import decode
from datachef_jax.parallel import sharding
from datachef_jax.sampling import sizing
from experiments import bench_floor
from experiments import build_bench
from experiments import checks
from experiments import environment
from tests.experiments.conftest import ROOT


@pytest.fixture
def config():
    """Returns the config with its sizes cut."""
    config = decode.get_config("mini")
    config.architectures[0].update(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_layers=1, num_heads=2,
        num_kv_heads=1, head_dim=16,
    )  # fmt: skip
    config.rows, config.rounds, config.repeats = (4,), 4, 3
    config.prompt_tokens = config.page_size = config.read_tokens = 16
    config.copy_bytes = 2**20
    return config


def _run(config, folder):
    mesh = sharding.make_mesh(data=1, model=1, devices=jax.devices()[:1])
    with jax.set_mesh(mesh), nnx.logical_axis_rules(sharding.AXIS_RULES):  # as run.py
        experiment = build_bench.PROGRAMMES["bench_decode"](config, folder, ROOT)
        experiment.run(environment.Environment(folder / "environment.json", root=ROOT))
    return experiment, json.loads((folder / "summary.json").read_text())


def test_a_round_and_the_bytes_that_it_reads_are_told(config, tmp_path, capsys):
    experiment, summary = _run(config, tmp_path)
    assert "| 30m | 4 |" in capsys.readouterr().out
    figures = summary["decoding"]["30m"]["4"]
    weights, token = bench_floor.step_bytes(experiment.models["30m"], itemsize=4)
    context = (figures["bytes"] - weights) / token
    # Of four rows of 16 tokens the first have drawn up to 5 more while the others were
    # read; the timed rounds of the median draw between 0 and 12.
    assert 4 * 16 <= context <= 4 * (16 + 5 + 12)
    reached = figures["bytes"] / figures["seconds"]
    assert figures["share"] == pytest.approx(reached / summary["bandwidth"])
    assert figures["tokens_per_second"] == pytest.approx(4 / figures["seconds"])


def test_what_does_not_fit_is_said(config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sizing, "free_bytes", lambda: 0)
    _, summary = _run(config, tmp_path)
    assert "free memory" in summary["decoding"]["30m"]["4"]["not_measured"]
    assert "free memory" in capsys.readouterr().out


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("dtype", "float31", r"config\.dtype='float31'"),
        ("page_size", 7, r"config\.page_size=7: must be a power of two"),
        (
            "architectures",
            ({"name": "x", "published": "9b"},),
            r"config\.architectures\[0\]\.published='9b'",
        ),
    ],
)
def test_faults_are_named(config, tmp_path, field, value, message):
    del config[field]
    config[field] = value
    with pytest.raises(checks.UserError, match=message):
        build_bench.PROGRAMMES["bench_decode"](config, tmp_path, ROOT)


def test_the_published_sizes_are_found(tmp_path):
    made = build_bench.PROGRAMMES["bench_decode"](decode.get_config(), tmp_path, ROOT)
    assert [made.models[name].num_layers for name in ("0.6b", "1.7b", "8b")] == [
        28,
        28,
        36,
    ]
