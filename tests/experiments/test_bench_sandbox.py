"""Tests for experiments/bench_sandbox.py, at a hundredth of its size."""

import json

import pytest

from configs.bench import sandbox as config_file
from experiments import bench_sandbox
from experiments import build
from experiments import checks
from experiments import environment
from tests.experiments.conftest import ROOT


def _config():
    config = config_file.get_config()
    config.rounds, config.mixed, config.hostile_share = 1, 12, 0.4
    config.runs.update(empty=4, json=2, pandas=2, datasets=2)
    config.sandbox.update(cpu_seconds=1.0, wall_seconds=5.0)
    return config


def test_both_programs_run_every_script_and_the_honest_do_not_notice(tmp_path, capsys):
    made = build.experiment(_config(), tmp_path, root=ROOT)
    record = environment.Environment(tmp_path / "environment.json", root=ROOT)
    made.run(record)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary["throughput"]) == set(bench_sandbox.SCRIPTS)
    for programs in summary["throughput"].values():
        for figures in programs.values():
            assert figures["a_second"] > 0 and figures["cpu_seconds"] > 0
    for stages in summary["stages"].values():
        assert stages["script"] > 0 and stages["trainer"] > 0
        assert set(stages) == {"script", "zygote", "supervisor", "trainer"}
    mixed = summary["mixed"]
    assert mixed["honest_ok"] == mixed["honest"] > 0
    assert set(mixed["outputs"].values()) == {1}
    assert mixed["honest"] + sum(mixed["hostile"].values()) == 12
    assert "ok" not in mixed["hostile"]
    assert len(summary["layers"]) == 5
    assert capsys.readouterr().out.startswith("| script | sandbox, a second |")


def test_an_unknown_script_is_refused(tmp_path):
    config = _config()
    config.runs.update(torch=3)
    with pytest.raises(checks.UserError, match="config.runs='torch': must be of"):
        build.experiment(config, tmp_path, root=ROOT)
