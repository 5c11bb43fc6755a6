"""Tests for datachef_jax/training/rollouts.py."""

import dataclasses

import numpy as np
import pytest

from datachef_jax import types
from datachef_jax.training import rollouts
from tests import blank

_ROW = {"dialogs": [{"role": "user", "content": "what is 1+1? \u2028 \ud83c"}]}


def _execution(kind="ok", *, rows=0, malformed=0, calls=()):
    dataset = types.Dataset(rows=(_ROW,) * rows, malformed=malformed)
    return types.Execution(
        kind=kind, log="log", dataset=dataset, calls=calls, wall_seconds=1.5
    )


def _graded(grade, *, gate="", index=0):
    return types.GradedRow(index=index, gate=gate, grade=grade, score=0.4)


def _completion(length, *, finished=True):
    return blank.completion((5,) * length, ended="end" if finished else "length")


def test_statistics_on_a_hand_computed_step():
    executions = [
        _execution(rows=4, calls=(("load", 0, 9), ("keep", 9, 4))),
        _execution(rows=0),  # ran, left nothing
        _execution(malformed=3, calls=(("load", 0, 3),)),
        _execution("sandbox_error"),
    ]
    verdicts = [
        types.Verdict(
            outcome="scored",
            score=0.5,
            judge_score=0.8,
            rows=(_graded("E"), _graded("D"), _graded("", gate="empty"), _graded("")),
        ),
        types.Verdict(outcome="empty"),
        types.Verdict(outcome="format", score=0.9),
        types.Verdict(outcome="unscored"),
    ]
    completions = [_completion(n, finished=n < 9) for n in (2, 4, 9, 5)]
    got = rollouts.statistics(
        executions,
        verdicts,
        completions,
        np.float32([[0.5, -1.0], [-0.5, 7.0]]),
        np.array([[True, True], [True, False]]),
    )
    expected = {
        "reward/unscored": 0.25,
        "reward/mean": -1 / 3,
        "reward/std": np.std([0.5, -1.0, -0.5]),
        "reward/group_std": (0.75 + 0.0) / 2,
        "dvs/gated": 50 / 3,
        "dvs/judge": 80 / 3,
        "recipe/executable": 0.5,
        "recipe/rows": 1.0,
        "ended/ok": 0.75,
        "ended/sandbox_error": 0.25,
        "calls/load": 0.5,
        "calls/keep": 0.25,
        "grade/A": 0.0,
        "grade/B": 0.0,
        "grade/C": 0.0,
        "grade/D": 0.25,
        "grade/E": 0.25,
        "grade/gated": 0.25,
        "grade/unread": 0.25,
        "length/mean": 5.0,
        "length/max": 9.0,
        "length/cut": 0.25,
        "length/answers": 1.0,
    }
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-6), name


def test_what_has_no_value_is_left_out():
    got = rollouts.statistics(
        [_execution("timeout")] * 2,
        [types.Verdict(outcome="unscored")] * 2,
        [_completion(1)] * 2,
        np.zeros((1, 2), np.float32),
        np.zeros((1, 2), bool),
    )
    assert not {"reward/mean", "dvs/gated", "grade/E"} & got.keys()
    assert got["reward/unscored"] == 1.0 and got["ended/timeout"] == 1.0


def _record():
    verdict = types.Verdict(
        outcome="scored", score=0.5, rows=(_graded("D", index=1), _graded("E"))
    )
    execution = _execution(rows=2, calls=(("load", 0, 2),))
    return rollouts.record(
        blank.task("sort"),
        _completion(3),
        execution,
        verdict,
        prompt="<prompt>",
        text="a recipe",
        spoken=("a recipe",),
        reward=0.5,
        advantage=-1.0,
    )


def test_a_record_holds_the_drawn_rows_with_their_grades_and_no_times():
    record = _record()
    assert record.rows[0] == {
        "index": 1,
        "row": _ROW,
        "gate": "",
        "grade": "D",
        "score": 0.4,
    }
    assert record.task == "sort" and record.num_rows == 2 and record.tokens == 3
    assert not [name for name in dataclasses.asdict(record) if "seconds" in name]


def test_records_come_back_from_disk_whatever_their_text(tmp_path):
    unscored = dataclasses.replace(_record(), reward=None, log="\ud800\x00\n\x85")
    rollouts.write(tmp_path / "step_0000.jsonl", [_record(), unscored])
    assert rollouts.read(tmp_path / "step_0000.jsonl") == [_record(), unscored]
    assert [path.name for path in tmp_path.iterdir()] == ["step_0000.jsonl"]
