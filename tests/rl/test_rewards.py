"""Tests for datachef_jax/rl/rewards.py."""

import numpy as np
import pytest

from datachef_jax import types
from datachef_jax.rl import rewards


def test_every_outcome_has_the_reward_of_equation_2():
    verdicts = [
        types.Verdict(outcome="scored", score=0.75, judge_score=0.9),
        types.Verdict(outcome="empty", score=0.5),
        types.Verdict(outcome="format", score=0.5),
        types.Verdict(outcome="unscored", score=0.5),
        types.Verdict(outcome="scored", score=0.0),
    ]
    got, valid = rewards.rewards(verdicts, lambda_empty=1.0, lambda_format=0.25)
    np.testing.assert_array_equal(got, np.float32([0.75, -1.0, -0.25, 0.0, 0.0]))
    np.testing.assert_array_equal(valid, [True, True, True, False, True])


def test_an_unknown_outcome_is_refused():
    verdicts = [types.Verdict(outcome="scored"), types.Verdict(outcome="lost")]
    with pytest.raises(ValueError, match="verdict 1 has the unknown outcome 'lost'"):
        rewards.rewards(verdicts, lambda_empty=1.0, lambda_format=0.5)
