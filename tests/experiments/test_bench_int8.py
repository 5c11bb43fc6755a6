"""Tests for experiments/bench_int8.py, on a random policy."""

import json

from flax import nnx
import jax
import pytest

from configs.bench import int8
from datachef_jax.parallel import sharding
from experiments import build_bench
from experiments import checks
from experiments import environment
from tests.experiments.conftest import ROOT


@pytest.fixture
def config():
    """Returns the config with its sizes cut."""
    config = int8.get_config()
    config.policy.checkpoint = "random"
    config.architecture.update(hidden_size=64, intermediate_size=64, num_layers=1)
    config.pool.benchmark_size = 4
    config.prompts, config.group_size, config.max_new_tokens = 2, 2, 8
    config.rows, config.page_size = 4, 128
    config.variants = config.variants[2:3]
    return config


@pytest.mark.slow
def test_what_changes_and_what_is_saved_is_told(config, tmp_path, capsys):
    mesh = sharding.make_mesh(data=1, model=1, devices=jax.devices()[:1])
    with jax.set_mesh(mesh), nnx.logical_axis_rules(sharding.AXIS_RULES):  # as run.py
        experiment = build_bench.PROGRAMMES["bench_int8"](config, tmp_path, ROOT)
        record = environment.Environment(tmp_path / "environment.json", root=ROOT)
        experiment.run(record)
    assert "| float32 | int8 | int8 |" in capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert 4 <= summary["tokens"] <= 4 * 8
    same, narrow = summary["variants"]
    assert same["mean_change"] == same["max_change"] == 0.0
    assert 0.0 < narrow["mean_change"] < narrow["max_change"] < 0.5
    # Keys and values of two heads; as int8 with a float32 scale for each token.
    assert same["page_bytes"] == 2 * 2 * 128 * 32 * 4
    assert narrow["page_bytes"] == 2 * 2 * 128 * (32 + 4)
    heads, norms = (4 + 2 + 2 + 4) * 32, 3 * 64 + 2 * 32
    matrices = 2048 * 64 + heads * 64 + 3 * 64 * 64
    scales = 2048 + (4 + 2 + 2) * 32 + 64 + 3 * 64
    assert same["weights_bytes"] == 4 * (matrices + norms)
    assert narrow["weights_bytes"] == matrices + 4 * (scales + norms)


def test_an_unknown_way_to_store_is_refused(config, tmp_path):
    config.variants = (dict(dtype="float32", weights="int3", pages="same"),)
    with pytest.raises(checks.UserError, match="variants.0.*'int3' are none of"):
        build_bench.PROGRAMMES["bench_int8"](config, tmp_path, ROOT)
