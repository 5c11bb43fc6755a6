"""Tests for datachef_jax/verifier/gates/variety.py."""

import numpy as np
import pytest

from datachef_jax.verifier.gates import variety

_COIN = ["yes", "no"] * 50  # two of them differ with probability 50 / 99


def _boxed(*answers):
    return [rf"So it is \boxed{{{answer}}}." for answer in answers]


def test_one_answer_to_all_is_worth_nothing():
    assert variety.factor(_boxed(*["yes"] * 40), _COIN, "boxed") == 0.0
    assert variety.factor(_boxed("yes", "Yes", " yes "), _COIN, "boxed") == 0.0


def test_what_is_missing_in_variety_is_missing_in_the_factor():
    # 1 of 10 differs: 2 * 9 of 90 ordered pairs, 0.2; four fifths of 50 / 99 is wanted.
    drawn = _boxed(*["yes"] * 9, "no")
    expected = 0.2 / (0.8 * 50 / 99)
    assert variety.factor(drawn, _COIN, "boxed") == pytest.approx(expected)


def test_answers_as_the_benchmark_has_them_cost_nothing():
    rng = np.random.default_rng(0)
    for shares in ([0.5, 0.5], [0.7, 0.3], [0.4, 0.3, 0.2, 0.1]):
        names = "abcd"[: len(shares)]
        benchmark = list(rng.choice(list(names), size=200, p=shares))
        for _ in range(50):
            drawn = list(rng.choice(list(names), size=100, p=shares))
            assert variety.factor(drawn, benchmark, "plain") > 0.9
    prose = [f"Answer {n} in words." for n in range(40)]
    assert variety.factor(prose, prose, "plain") == 1.0


def test_where_nothing_can_be_said_nothing_is():
    assert variety.factor([], _COIN, "boxed") == 1.0
    assert variety.factor(_boxed("yes"), _COIN, "boxed") == 1.0
    assert variety.factor(["yes"] * 9, _COIN, "boxed") == 1.0  # none can be read
    assert variety.factor(_boxed("yes", "yes"), ["yes"] * 9, "boxed") == 1.0
    assert variety.factor(_boxed("yes", "yes"), [], "boxed") == 1.0
