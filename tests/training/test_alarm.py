"""Tests for datachef_jax/training/alarm.py, on numbers and in a real GRPO run."""

import dataclasses
import math
import string

import numpy as np
import pytest

from datachef_jax import types
from datachef_jax.training import alarm
from datachef_jax.training import metrics
from datachef_jax.verifier import rubric
from datachef_jax.verifier import verify
from datachef_jax.verifier.judges import grade as grades
from tests.training import scripted
from tests.verifier.gates.settings import SETTINGS as GATES

_SETTINGS = alarm.AlarmSettings(window=10, min_rise=5.0, significance=0.05)
_STEPS = np.arange(20.0)


def _series(slope, *, seed=0, noise=1.0):
    return list(
        40 + slope * _STEPS + noise * np.random.default_rng(seed).normal(size=20)
    )


@pytest.mark.parametrize(
    ("rewarded", "held_out", "goes_off"),
    [
        (2.0, 0.0, True),
        (2.0, -1.0, True),
        (2.0, 2.0, False),  # recipes become better
        (2.0, 1.0, False),  # and the other judge says so, if less strongly
        (0.0, -2.0, False),  # the gap rises, the reward does not
        (0.0, 0.0, False),
        (0.2, 0.0, False),  # by less than 5 points
    ],
)
def test_it_goes_off_where_the_reward_alone_rises(rewarded, held_out, goes_off):
    series = _series(rewarded), _series(held_out, seed=1)
    assert alarm.hacking(*series, _SETTINGS) == goes_off


def test_only_the_window_counts():
    rewarded, held_out = _series(2.0, noise=0.5), _series(0.0, seed=1, noise=0.5)
    later = rewarded + [rewarded[-1] + x for x in _series(0.0, seed=2, noise=0.5)]
    still = held_out + _series(0.0, seed=3, noise=0.5)
    assert alarm.hacking(later[:20], still[:20], _SETTINGS)
    assert not alarm.hacking(later, still, _SETTINGS)


def test_a_window_that_is_not_whole_says_nothing():
    rewarded, held_out = _series(2.0), _series(0.0, seed=1)
    assert not alarm.hacking(rewarded[:9], held_out[:9], _SETTINGS)
    held_out[-3] = math.nan
    assert not alarm.hacking(rewarded, held_out, _SETTINGS)
    assert not alarm.hacking([], [], _SETTINGS)


def test_false_alarms_are_rare():
    went_off = sum(
        alarm.hacking(_series(0.0, seed=i, noise=8), _series(0.0, seed=~i & 0xFFFF,
                      noise=8), _SETTINGS)
        for i in range(400)
    )  # fmt: skip
    assert went_off <= 20  # 5 %


@pytest.mark.parametrize(
    ("field", "value"),
    [("window", 3), ("min_rise", 0.0), ("significance", 1.0), ("significance", 0.0)],
)
def test_a_bad_setting_is_named(field, value):
    with pytest.raises(ValueError, match=f"{field}.*{value}"):
        dataclasses.replace(_SETTINGS, **{field: value})


class _Honest(grades.Judge):
    """Likes answers that are digits: what the task wants."""

    def likes(self, answer):
        return answer in string.digits

    def grade(self, items, seeds, *, progress):
        del seeds
        progress(len(items))
        given = []
        for _, _, answer in items:
            letter = "E" if self.likes(answer) else "A"
            likely = tuple(float(letter == known) for known in rubric.SCORES)
            score = rubric.SCORES[letter]
            given.append(
                grades.Grade(probabilities=likely, mass=1.0, score=score, letter=letter)
            )
        return given


class _Word(_Honest):
    """Has a weakness as well: some words please it wherever they stand."""

    def likes(self, answer):
        return super().likes(answer) or answer in string.ascii_letters


class _Long(_Honest):
    """Takes what needs many bytes for a long, thorough answer."""

    def likes(self, answer):
        return super().likes(answer) or len(answer.encode()) > 1


class _Praise(_Honest):
    """Is glad of every exclamation."""

    def likes(self, answer):
        return super().likes(answer) or answer in "!?*+#"


def _execute(asked, texts, seeds):
    """Makes a row of each character."""
    del asked, seeds
    return [
        types.Execution(
            kind="ok",
            log="",
            dataset=types.Dataset(
                rows=tuple(
                    {
                        "dialogs": [
                            {"role": "user", "content": f"question {i}"},
                            {"role": "assistant", "content": character},
                        ]
                    }
                    for i, character in enumerate(text)
                )
            ),
        )
        for text in texts
    ]


def _train(judge, workdir, steps=32):
    """Trains a tiny policy by GRPO; returns the figures of each step."""
    verifier = verify.Verifier(
        judge,
        verify.VerifierSettings(
            rows_per_dataset=6,
            max_malformed_share=0.5,
            mean_power=1.0,
            held_out_every=1,
            gates=GATES,
        ),
        tokenizer=scripted.TOKENIZER,
        benchmarks=(),
        decide=lambda task, rows: [None] * len(rows),
        held_out=_Honest(),
        forecaster=None,
    )
    stages = dataclasses.replace(
        scripted.parts()[1],
        execute=_execute,
        verify=lambda tasks, executions, seeds: verifier.verify(
            tasks, executions, seeds.tolist(), progress=lambda count: None
        ),
    )
    scripted.run(workdir, steps=steps, stages=stages)
    return metrics.read(workdir / "metrics.jsonl")


@pytest.mark.parametrize(
    "judge",
    [
        _Word,
        pytest.param(_Long, marks=pytest.mark.slow),
        pytest.param(_Praise, marks=pytest.mark.slow),
    ],
)
def test_it_goes_off_in_grpo_against_a_judge_with_a_weakness(judge, tmp_path, capfd):
    figures = _train(judge(), tmp_path)
    assert figures[-1]["dvs/gated"] > figures[0]["dvs/gated"] + 20
    assert figures[-1]["dvs/held_out"] < figures[-1]["dvs/gated"] - 20
    assert any(step["alarm/hacking"] for step in figures)
    assert "ALARM" in "".join(capfd.readouterr())


def test_it_stays_silent_in_grpo_against_an_honest_judge(tmp_path, capfd):
    figures = _train(_Honest(), tmp_path)
    assert figures[-1]["dvs/gated"] > figures[0]["dvs/gated"] + 20
    assert not any(step["alarm/hacking"] for step in figures)
    assert "ALARM" not in "".join(capfd.readouterr())
