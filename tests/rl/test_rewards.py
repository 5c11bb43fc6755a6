"""Tests for datachef_jax/rl/rewards.py."""

import functools

import numpy as np
import pytest

from datachef_jax import types
from datachef_jax.rl import rewards
from tests import blank


_LONGEST = 10
_PENALTIES = dict(
    worth=rewards.mean,
    lambda_empty=1.0,
    lambda_format=0.25,
    lambda_unverified=0.125,
    lambda_overlong=0.5,
    overlong_tokens=4,
    max_new_tokens=_LONGEST,
)


def _rewards(verdicts, completions, verifications=None, **changes):
    executions = [
        types.Execution(
            kind="ok", log="", dataset=types.Dataset(rows=()), verification=v
        )
        for v in verifications or [""] * len(verdicts)
    ]
    return rewards.rewards(verdicts, completions, executions, **_PENALTIES | changes)


def _completions(*lengths):
    return [
        blank.completion((1,) * n, ended="end" if n < _LONGEST else "length")
        for n in lengths
    ]


def test_every_outcome_has_the_reward_of_equation_2():
    verdicts = [
        types.Verdict(outcome="scored", score=0.75, judge_score=0.9),
        types.Verdict(outcome="empty", score=0.5),
        types.Verdict(outcome="format", score=0.5),
        types.Verdict(outcome="unscored", score=0.5),
        types.Verdict(outcome="scored", score=0.0),
    ]
    got, valid = _rewards(verdicts, _completions(1, 2, 3, 4, 6))
    np.testing.assert_array_equal(got, np.float32([0.75, -1.0, -0.25, 0.0, 0.0]))
    np.testing.assert_array_equal(valid, [True, True, True, False, True])


def test_doubt_costs_what_the_interval_says():
    verdict = types.Verdict(outcome="scored", score=0.75, interval=(0.5, 0.875))
    got, _ = _rewards([verdict], _completions(1), worth=rewards.lower_bound)
    np.testing.assert_array_equal(got, np.float32([0.5]))


def test_a_forecast_counts_as_much_as_its_weight():
    expected = types.Forecast(
        mean=0.0, std=1.0, bound=0.25, unfamiliar=False, results=9
    )
    verdict = types.Verdict(outcome="scored", score=0.75, forecast=expected)
    for weight, reward in ((0.0, 0.75), (0.5, 0.5), (1.0, 0.25)):
        worth = functools.partial(
            rewards.with_forecast, worth=rewards.mean, weight=weight
        )
        got, _ = _rewards([verdict], _completions(1), worth=worth)
        np.testing.assert_array_equal(got, np.float32([reward]))


def test_a_recipe_whose_own_checks_fail_costs_something():
    endings = ["ok", "", "sandbox_error", "runtime_error", "timeout"]
    verdicts = [types.Verdict(outcome="scored", score=0.5)] * 5
    got, valid = _rewards(verdicts, _completions(*[1] * 5), endings)
    np.testing.assert_array_equal(got, np.float32([0.5, 0.5, 0.5, 0.375, 0.375]))
    assert valid.all()
    free, _ = _rewards(verdicts, _completions(*[1] * 5), endings, lambda_unverified=0.0)
    np.testing.assert_array_equal(free, np.full(5, 0.5, np.float32))


def test_an_unknown_outcome_is_refused():
    verdicts = [types.Verdict(outcome="scored"), types.Verdict(outcome="lost")]
    with pytest.raises(ValueError, match="verdict 1 has the unknown outcome 'lost'"):
        _rewards(verdicts, _completions(1, 1))


def test_the_last_tokens_cost_more_and_more():
    verdicts = [types.Verdict(outcome="scored", score=1.0)] * 4
    got, _ = _rewards(verdicts, _completions(6, 7, 9, 10))
    np.testing.assert_allclose(got, [1.0, 0.875, 0.625, 0.5])
    lost = [types.Verdict(outcome="unscored")] * 4  # our fault costs nothing
    np.testing.assert_array_equal(_rewards(lost, _completions(6, 7, 9, 10))[0], 0.0)
    free, _ = _rewards(verdicts, _completions(6, 7, 9, 10), overlong_tokens=0)
    np.testing.assert_array_equal(free, np.ones(4))
