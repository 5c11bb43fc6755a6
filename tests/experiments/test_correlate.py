"""Tests for experiments/{correlate,correlate_table,dataset_metrics}.py."""

import json
import math

import jax
import pytest

from configs.mini import correlate as config_file
from datachef_jax import types
from datachef_jax.parallel import sharding
from datachef_jax.verifier import proxy
from experiments import build
from experiments import build_correlate
from experiments import checks
from experiments import correlate
from experiments import correlate_table
from experiments import dataset_metrics
from experiments import environment
from experiments import verifiers
from tests.experiments.conftest import ROOT


def _row(gate="", score=1.0):
    grade = "" if gate else "E"
    return types.GradedRow(index=0, gate=gate, grade=grade, score=score)


def test_figures_of_a_verdict_worked_out_by_hand():
    verdict = types.Verdict(
        outcome="scored",
        score=0.3,
        gates_score=0.4,
        judge_score=0.7,
        held_out_score=0.2,
        rows=(_row(), _row("contract", 0.0), _row(), _row()),
    )
    assert dataset_metrics.of_verdict(verdict) == pytest.approx(
        {
            "gates": 0.4,
            "judge": 0.7,
            "gates + judge": 0.3,
            "gates + student": 0.2,
        }
    )
    nothing = dataset_metrics.of_verdict(types.Verdict(outcome="empty"))
    assert set(nothing.values()) == {0.0}
    ours = dataset_metrics.of_verdict(types.Verdict(outcome="unscored"))
    assert all(math.isnan(value) for value in ours.values())


def test_baselines_have_no_figure_without_rows():
    measures = {"rows": len}
    assert dataset_metrics.of_rows([("q", "a")] * 3, measures) == {"rows": 3.0}
    assert math.isnan(dataset_metrics.of_rows([], measures)["rows"])


def test_the_proxy_orders_a_task_that_it_has_not_seen():
    # Score = 10 x quality + what the task adds, which the proxy cannot know.
    qualities = [i / 7 for i in range(8)]
    tasks = [name for name in ("a", "b", "c") for _ in qualities]
    described = [{"quality": q, "noise": (7 * i) % 3} for i, q in enumerate(qualities)]
    scores = [
        10 * q + 30 * "abc".index(task)
        for task, q in zip(tasks, qualities * 3, strict=True)
    ]
    said = dataset_metrics.of_proxy(
        described * 3,
        scores,
        tasks,
        proxy.ProxySettings(kernel="matern", prior_std=1.0, unfamiliar_share=0.05),
    )
    for start in (0, 8, 16):
        means = said["mean"][start : start + 8]
        assert means == sorted(means)
    assert len(said["std"]) == len(said["unfamiliar"]) == 24


def _dataset(task, name, kind, dbs, metric, execution="ok"):
    metrics = {"gates + judge": metric, "other": None if metric is None else -metric}
    return dict(
        task=task, name=name, kind=kind, dbs=dbs, metrics=metrics, execution=execution
    )


_MADE = [
    _dataset("t", "a", "by hand", [10.0, 12.0], 0.1),
    _dataset("t", "b", "by hand", [30.0, 32.0], 0.3),
    _dataset("t", "c", "single source", [50.0, 52.0], 0.5),
    _dataset("t", "d", "policy", [70.0, 72.0], 0.7),
    _dataset("t", "e", "policy", [0.0, 2.0], 0.0, execution="timeout"),
    _dataset("t", "f", "adversarial", [0.0, 0.0], 0.35),
    _dataset("t", "g", "adversarial", [0.0, 0.0], 0.05),
]


def test_the_subsets():
    found = correlate_table.subsets(_MADE)
    names = {subset: "".join(o["name"] for o in own) for subset, own in found.items()}
    assert names == {"all": "abcdefg", "honest": "abcd", "better half": "cd"}


def test_figures_table_and_picture():
    figures = correlate_table.figures(_MADE, held_out=["t"], seed=0)
    honest = figures["metrics"]["honest, held out tasks"]
    assert honest["gates + judge"]["tasks"]["t"]["pearson"] == pytest.approx(1.0)
    assert honest["other"]["tasks"]["t"]["pearson"] == pytest.approx(-1.0)
    assert honest["other"]["regret"] == pytest.approx(60.0)
    assert figures["adversarial"]["t"] == {
        "median_honest": 0.4,
        "scores": {"f": 0.35, "g": 0.05},
    }
    assert figures["span"]["t"] == [0.0, 71.0]
    assert figures["seeds"]["t"] > 0.99
    text = correlate_table.render(figures)
    assert "| gates + judge | 1.00 | 1.00 (" in text
    assert "| t | 0.400 | 0.350 | f |" in text
    json.dumps(figures, allow_nan=False)
    alone = correlate_table.figures(_MADE, held_out=[], seed=0)
    assert not [name for name in alone["metrics"] if "held out" in name]
    json.dumps(alone, allow_nan=False)
    drawn = correlate_table.draw(_MADE)
    assert "<svg" in drawn and "gates + judge" in drawn


def test_questions_that_a_pool_does_not_have_are_refused():
    config = config_file.get_config()
    asked = build_correlate.asked(config, [])
    config.correlate.questions = "hard"
    with pytest.raises(checks.UserError, match="correlate.questions='hard': must be"):
        build_correlate.asked(config, [])
    config.correlate.questions = "unseen"
    config.pool.kind = "real_math"
    with pytest.raises(checks.UserError, match="questions='unseen': the pool 'real_"):
        build_correlate.asked(config, [])
    assert asked == []


@pytest.mark.slow
def test_the_whole_experiment_in_small_and_again(tmp_path, capsys, monkeypatch):
    config = config_file.get_config()
    config.pool.benchmark_size = 8
    config.correlate.update(tasks=("gcd", "chain_sum"), samples=(40,), seeds=1)
    config.correlate.policy_recipes = 1
    config.evaluation.recipes = 2
    config.sampling.max_new_tokens = 64
    config.verifier.rows_per_dataset = 16
    config.reward_model.rows = 100
    config.finetune.update(steps=2, warmup_steps=1, sync_every=2)
    whole = correlate.by_hand
    monkeypatch.setattr(correlate, "by_hand", lambda *asked: whole(*asked)[::12])
    mesh = sharding.make_mesh(data=1, model=1, devices=jax.devices()[:1])
    with jax.set_mesh(mesh):
        for _ in range(2):
            made = build.experiment(config, tmp_path, root=ROOT)
            made.run(environment.Environment(tmp_path / "environment.json", root=ROOT))
    _, first, second = capsys.readouterr().out.split("Datasets: all, all")
    assert first == second  # nothing is done twice, and nothing comes out otherwise
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["held_out"] == ["chain_sum"]
    lines = (tmp_path / "datasets.jsonl").read_text().splitlines()
    assert len(lines) == sum(summary["datasets"].values()) > 6
    assert all(len(json.loads(line)["dbs"]) == 1 for line in lines)
    config.proxy.results = str(tmp_path / "results.jsonl")
    assert verifiers.forecaster(config, ROOT) is not None
