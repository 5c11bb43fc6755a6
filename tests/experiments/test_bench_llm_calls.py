"""Tests for experiments/bench_llm_calls.py, with four small recipes."""

import json

import pytest

from configs.bench import llm_calls as config_file
from experiments import build
from experiments import checks
from experiments import environment
from tests.experiments.conftest import ROOT


def _config():
    config = config_file.get_config()
    config.recipes, config.calls, config.flooding = 4, 5, 1
    config.sandbox.update(llm_calls=200, cpu_seconds=1.0, wall_seconds=20.0)
    config.generator.rows = 16
    config.architecture.num_layers = 1
    return config


@pytest.mark.slow(minutes=2)
def test_recipes_share_the_engine_and_do_not_notice_those_that_flood(tmp_path, capsys):
    made = build.experiment(_config(), tmp_path, root=ROOT)
    record = environment.Environment(tmp_path / "environment.json", root=ROOT)
    made.run(record)
    ways = json.loads((tmp_path / "summary.json").read_text())["ways"]
    assert len(ways) == 4
    for name, way in ways.items():
        assert way["same"] == 4 == way["endings"]["ok"], name
        assert 0 < way["together"] <= 16 and way["calls_a_second"] > 0
    assert ways["all at once"]["together"] > ways["one after the other"]["together"]
    floods = sum(ways["all at once, beside floods"]["endings"].values()) - 4
    assert floods == 3
    assert "| all at once, beside floods |" in capsys.readouterr().out


def test_more_calls_than_a_recipe_may_make_are_refused(tmp_path):
    config = _config()
    config.calls = 201
    with pytest.raises(checks.UserError, match="config.calls=201: is above"):
        build.experiment(config, tmp_path, root=ROOT)
    config = _config()
    config.generator.checkpoint = "http://localhost:1/x"
    with pytest.raises(checks.UserError, match="lives elsewhere"):
        build.experiment(config, tmp_path, root=ROOT)
