"""Tests for experiments/correlation.py."""

import math

import numpy as np
import pytest

from experiments import correlation


def _array(*values):
    return np.array(values, float)


def test_agreement_is_that_worked_out_by_hand():
    # Means 2.5 and 4; products of deviations 1.5*3 + .5*1 + .5*1 + 1.5*3 = 10;
    # squares 5 and 20: 10 / sqrt(100) = 1. With the last two scores exchanged the
    # products are 4.5 + .5 + 1.5 + 1.5 = 8, the ranks' 5 - 6 * 2 / (4 * 15) = 0.8.
    metric = _array(1, 2, 3, 4)
    perfect = correlation.agreement(metric, _array(1, 3, 5, 7))
    assert (perfect.pearson, perfect.spearman) == pytest.approx((1.0, 1.0))
    assert (perfect.datasets, perfect.regret) == (4, 0.0)
    exchanged = correlation.agreement(metric, _array(1, 3, 7, 5))
    assert (exchanged.pearson, exchanged.spearman) == pytest.approx((0.8, 0.8))
    assert exchanged.regret == 2.0  # it chooses the last, which has 5 instead of 7


def test_what_is_not_known_is_left_out():
    metric = _array(1, 2, math.nan, 3, 4, 9)
    score = _array(1, 3, 50, 5, 7, math.nan)
    found = correlation.agreement(metric, score)
    assert (found.datasets, found.regret) == (4, 0.0)
    assert found.pearson == pytest.approx(1.0)


def test_where_there_is_nothing_to_correlate_there_is_none():
    constant = correlation.agreement(_array(1, 1, 1, 1), _array(1, 2, 3, 4))
    assert (constant.pearson, constant.spearman) == (None, None)
    assert constant.regret == 1.5  # any of the four may be chosen
    few = correlation.agreement(_array(1, 2, 3), _array(1, 2, 3))
    assert few.pearson is None and few.regret == 0.0
    nothing = correlation.agreement(_array(), _array())
    assert (nothing.datasets, nothing.pearson, nothing.regret) == (0, None, None)


def test_figures_over_tasks():
    metric = _array(1, 2, 3, 4, 5, 6)
    pairs = {
        "up": (metric, _array(1, 2, 3, 4, 5, 7)),
        "down": (metric, _array(7, 5, 4, 3, 2, 1)),
    }
    figures = correlation.over_tasks(pairs, seed=0)
    assert figures["tasks"]["up"]["spearman"] == pytest.approx(1.0)
    assert figures["tasks"]["down"]["spearman"] == pytest.approx(-1.0)
    assert figures["spearman"]["mean"] == pytest.approx(0.0)
    assert figures["regret"] == pytest.approx((0 + 6) / 2)
    assert figures["pearson"]["low"] <= figures["pearson"]["mean"]
    assert figures["pearson"]["mean"] <= figures["pearson"]["high"]


def test_the_interval_covers_the_correlation_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(60):
        metric = rng.normal(size=40)
        score = 0.6 * metric + 0.8 * rng.normal(size=40)  # Pearson 0.6
        low, high = correlation.interval([(metric, score)], ranks=False, seed=seed)
        held += low <= 0.6 <= high
    assert 46 <= held <= 60  # 54 expected, standard deviation 2.3


def test_the_better_half():
    assert correlation.better_half(_array(4, 1, 3, 2)) == [0, 2]
    assert correlation.better_half(_array()) == []
