"""Tests for datachef_jax/verifier/judges/grade.py."""

import numpy as np
import pytest

from datachef_jax.verifier.judges import grade as grades


def _grade(*probabilities):
    return grades.expected(np.array(probabilities), mass=0.75, seed=0)


def test_the_score_is_expected():
    found = _grade(0.1, 0.2, 0.3, 0.25, 0.15)
    assert found.score == pytest.approx(0.4 * 0.25 + 0.15)
    assert found.mass == 0.75


def test_what_is_known_to_be_right_is_not_wrong():
    found = grades.known_right(_grade(0.1, 0.0, 0.5, 0.2, 0.2), seed=0)
    assert found.probabilities == pytest.approx((0.2, 0.0, 0.0, 0.4, 0.4))
    assert found.score == pytest.approx(0.4 * 0.4 + 0.4)
    drawn = {
        grades.known_right(_grade(0.1, 0.0, 0.5, 0.2, 0.2), seed=seed).letter
        for seed in range(100)
    }
    assert drawn == {"A", "D", "E"}


def test_who_was_sure_that_it_is_wrong_has_said_nothing_else():
    found = grades.known_right(_grade(0.0, 0.0, 1.0, 0.0, 0.0), seed=0)
    assert (found.letter, found.score, found.mass) == ("", 0.0, 0.75)
    nothing = grades.known_right(grades.unreadable(0.2), seed=0)
    assert (nothing.letter, nothing.mass) == ("", 0.2)
