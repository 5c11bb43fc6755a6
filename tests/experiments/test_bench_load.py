"""Tests for experiments/bench_load.py, on a model of a few megabytes."""

import json

import pytest

from configs.bench import load
from experiments import build_bench
from experiments import checks
from experiments import environment
from tests.experiments.conftest import ROOT


@pytest.fixture
def config():
    """Returns the config with its sizes cut."""
    config = load.get_config()
    config.architecture.update(
        vocab_size=4096, hidden_size=256, intermediate_size=512, num_layers=2
    )
    config.max_file_bytes = 2 * 10**6
    return config


def test_both_programs_load_the_same_files_and_are_measured(config, tmp_path, capsys):
    experiment = build_bench.PROGRAMMES["bench_load"](config, tmp_path, ROOT)
    record = environment.Environment(tmp_path / "environment.json", root=ROOT)
    experiment.run(record)
    assert len(list((tmp_path / "weights").glob("*.safetensors"))) > 2
    out = capsys.readouterr().out
    assert "| ours |" in out and "| safetensors |" in out
    summary = json.loads((tmp_path / "summary.json").read_text())
    weights = 2 * 4096 * 256 + 2 * (2 * 256 * 3072 + 3 * 256 * 512)
    assert summary["stored_gib"] == pytest.approx(2 * weights / 2**30, rel=0.01)
    for name in ("ours", "safetensors"):
        assert summary[name]["seconds"] > 0.0
        # Not what the process that started it has taken.
        assert summary["stored_gib"] < summary[name]["peak_gib"] < 1.0


def test_a_dtype_that_files_do_not_have_is_refused(config, tmp_path):
    config.stored_dtype = "float31"
    with pytest.raises(checks.UserError, match="config.stored_dtype='float31'"):
        build_bench.PROGRAMMES["bench_load"](config, tmp_path, ROOT)
