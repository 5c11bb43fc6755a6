"""Tests for experiments/table1.py; the path through it is `test_quickstart`'s."""

import dataclasses

import pytest

from experiments import jobs
from experiments import table1
from tests import blank
from tests.experiments.test_evaluation import _ROLLOUT

_TASK = blank.task("t", held_out="in_domain")


def _made(score: float, text: str, outcome: str = "scored"):
    return dataclasses.replace(_ROLLOUT, score=score, completion=text, outcome=outcome)


def _job(method: str, label: str = "", *, seed: int = 0, dvs: float | None = None):
    return jobs.Job(
        method=method, seed=seed, task="t", label=label, text="text", dvs=dvs
    )


def test_scores_come_into_the_right_rows():
    scores = {}
    for seed in (0, 1):
        found = {
            _job("base", seed=seed): 5.0,
            _job("expert", "expert", seed=seed, dvs=80.0): 50.0,
            _job("single", "mini/a", seed=seed, dvs=10.0): 10.0 + 30.0 * seed,
            _job("single", "mini/b", seed=seed, dvs=30.0): 20.0,
            _job("single", "mini/leak", seed=seed, dvs=0.0): 90.0,
            _job("untrained", "drawn", seed=seed): 5.0,
            _job("cold_start", "drawn", seed=seed, dvs=1.0): 15.0,
            _job("grpo", "drawn", seed=seed, dvs=2.0): 30.0,
            _job("grpo_oracle", "top 1", seed=seed, dvs=9.0): 40.0,
            _job("grpo_oracle", "top 2", seed=seed, dvs=8.0): 45.0,
        }
        scores |= {job: {"dbs": dbs} for job, dbs in found.items()}
    rollouts = {
        (method, seed, "t"): [_made(0.5, "a"), _made(0.7, "b")]
        for method in jobs.POLICIES
        for seed in (0, 1)
    }
    figures = table1.assemble(rollouts, scores, [_TASK], [0, 1])
    dbs = {method: tasks["t"]["dbs"] for method, tasks in figures.items()}
    dvs = {method: tasks["t"]["dvs"] for method, tasks in figures.items()}
    assert dbs["single_average"] == [40.0, 50.0]
    # mini/a: 25 on average, mini/b: 20; the leak does not count.
    assert dbs["single_best"] == [10.0, 40.0]
    assert dbs["grpo_oracle"] == [45.0, 45.0]
    assert dbs["base"] == [5.0, 5.0] and dbs["grpo"] == [30.0, 30.0]
    assert dvs["single_average"] == [40 / 3, 40 / 3] and dvs["expert"] == [80.0, 80.0]
    assert dvs["grpo"] == [60.0, 60.0]  # of all recipes, not of the one drawn
    assert dvs["base"] == dvs["grpo_oracle"] == [None, None]


class _Grader:
    """An evaluator whose hand-written recipes end as told."""

    def __init__(self, *endings: str):
        self.made = [
            dataclasses.replace(_ROLLOUT, execution=ending, log="why")
            for ending in endings
        ]

    def grade_texts(self, task, texts, *, seed):
        assert len(texts) == len(self.made)
        return self.made


def _table(evaluator, workdir):
    unused = dict.fromkeys(f.name for f in dataclasses.fields(table1.Table1))
    given = dict(workdir=workdir, tasks=[_TASK], evaluator=evaluator)
    by_hand = {"t": {"expert": "e", "mini/a": "s"}}
    return table1.Table1(**unused | given | {"by_hand": by_hand})


def test_a_hand_written_recipe_that_fails_is_our_fault(tmp_path):
    broken = _table(_Grader("ok", "runtime_error"), tmp_path)
    with pytest.raises(RuntimeError, match="'mini/a' of task t: runtime_error\nwhy"):
        broken._kept_by_hand(3)
    assert not list(tmp_path.rglob("*.jsonl"))  # it is tried again
    made = _table(_Grader("ok", "ok"), tmp_path)._kept_by_hand(3)
    assert [r.execution for r in made["hand-written", 3, "t"]] == ["ok", "ok"]
