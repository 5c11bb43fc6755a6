"""Tests for datachef_jax/verifier/interval.py."""

import numpy as np
import pytest
from scipy import stats

from datachef_jax.verifier import interval


def test_it_covers_the_mean_as_often_as_it_says():
    # 300 samples of 40 rows, each row 1 with probability 0.6: the 90 % interval
    # should hold 0.6 in some 270 of them; standard deviation 5.
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        low, high = interval.of_mean((rng.random(40) < 0.6).astype(float))
        held += low <= 0.6 <= high
    assert 250 <= held <= 290


def test_it_is_that_of_the_normal_distribution_for_many_rows():
    scores = np.random.default_rng(1).normal(0.5, 0.1, 2000)
    low, high = interval.of_mean(scores)
    half = 1.645 * scores.std() / np.sqrt(2000)
    assert low == pytest.approx(scores.mean() - half, abs=0.2 * half)
    assert high == pytest.approx(scores.mean() + half, abs=0.2 * half)


def test_it_is_that_of_scipy():
    scores = np.random.default_rng(2).random(60)
    low, high = interval.of_mean(scores)
    other = stats.bootstrap(
        (scores,),
        np.mean,
        n_resamples=20_000,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval
    # 1,000 resamples place an end to some 4 % of the interval.
    width = other.high - other.low
    assert low == pytest.approx(other.low, abs=0.1 * width)
    assert high == pytest.approx(other.high, abs=0.1 * width)


@pytest.mark.parametrize("scores", [[0.4], [1.0] * 9])
def test_equal_scores_have_a_point(scores):
    assert interval.of_mean(np.array(scores)) == (scores[0], scores[0])


def test_it_is_the_same_every_time():
    scores = np.array([0.0, 0.4, 1.0, 1.0, 0.3, 0.2])
    assert interval.of_mean(scores) == interval.of_mean(scores)
