"""Tests for experiments/table1.py; the path through it is `test_quickstart`'s."""

import dataclasses

from datachef_jax import types
from experiments import table1
from tests.experiments.test_evaluation import _ROLLOUT

_TASK = types.Task(
    name="t", domain="", instruction="", benchmark="", benchmark_description="",
    contract="plain", metric="exact_match", examples=(), sources=(),
    held_out="in_domain",
)  # fmt: skip


def _made(score: float, text: str, outcome: str = "scored"):
    return dataclasses.replace(
        _ROLLOUT, score=score, completion=text, outcome=outcome
    )


def _job(method: str, label: str = "", *, seed: int = 0, dvs: float | None = None):
    return table1.Job(
        method=method, seed=seed, task="t", label=label, text="text", dvs=dvs
    )


def test_one_of_the_valid_recipes_is_drawn_by_the_seed():
    made = [_made(0.0, "a"), _made(0.9, "b", "empty"), _made(0.2, "c"), _made(0.3, "d")]
    drawn = {table1.draw_valid(made, "grpo t", seed).completion for seed in range(30)}
    assert drawn == {"c", "d"}
    again = [table1.draw_valid(made, "grpo t", 3).completion for _ in range(3)]
    assert len(set(again)) == 1
    assert table1.draw_valid(made[:2], "grpo t", 0) is None


def test_the_best_graded_are_different_valid_and_in_order():
    made = [
        _made(0.2, "a"), _made(0.9, "b"), _made(0.9, "b"), _made(0.9, "c"),
        _made(1.0, "d", "format"), _made(0.0, "e"),
    ]  # fmt: skip
    texts = [r.completion for r in table1.best_graded(made, 3)]
    assert texts == ["b", "c", "a"]
    assert [r.completion for r in table1.best_graded(made, 1)] == ["b"]


def test_scores_come_into_the_right_rows():
    scores = {}
    for seed in (0, 1):
        found = {
            _job("base", seed=seed): 5.0,
            _job("expert", "expert", seed=seed, dvs=80.0): 50.0,
            _job("single", "mini/a", seed=seed, dvs=10.0): 10.0 + 30.0 * seed,
            _job("single", "mini/b", seed=seed, dvs=30.0): 20.0,
            _job("untrained", "drawn", seed=seed): 5.0,
            _job("cold_start", "drawn", seed=seed, dvs=1.0): 15.0,
            _job("grpo", "drawn", seed=seed, dvs=2.0): 30.0,
            _job("grpo_oracle", "top 1", seed=seed, dvs=9.0): 40.0,
            _job("grpo_oracle", "top 2", seed=seed, dvs=8.0): 45.0,
        }
        scores |= {job: {"dbs": dbs} for job, dbs in found.items()}
    rollouts = {
        (method, seed, "t"): [_made(0.5, "a"), _made(0.7, "b")]
        for method in table1.POLICIES
        for seed in (0, 1)
    }
    figures = table1.assemble(rollouts, scores, [_TASK], [0, 1])
    dbs = {method: tasks["t"]["dbs"] for method, tasks in figures.items()}
    dvs = {method: tasks["t"]["dvs"] for method, tasks in figures.items()}
    assert dbs["single_average"] == [15.0, 30.0]
    assert dbs["single_best"] == [10.0, 40.0]  # mini/a: 25 on average, mini/b: 20
    assert dbs["grpo_oracle"] == [45.0, 45.0]
    assert dbs["base"] == [5.0, 5.0] and dbs["grpo"] == [30.0, 30.0]
    assert dvs["single_average"] == [20.0, 20.0] and dvs["expert"] == [80.0, 80.0]
    assert dvs["grpo"] == [60.0, 60.0]  # of all recipes, not of the one drawn
    assert dvs["base"] == dvs["grpo_oracle"] == [None, None]
