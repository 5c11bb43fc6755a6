"""Tests for experiments/agreement.py: figures worked out by hand."""

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from datachef_jax.verifier.judges import grade as grades
from experiments import agreement
from experiments.agreement import Opinions


def _opinions(*rows):
    """Returns opinions from the probabilities of A, B, C, D, E of each row."""
    probabilities = np.array(rows, np.float64)
    scores = probabilities @ np.array([0.0, 0.0, 0.0, 0.4, 1.0])
    return Opinions(probabilities=probabilities, scores=scores)


_UNREAD = (0, 0, 0, 0, 0)


def test_accuracy_and_kappa_by_hand():
    # Given A A C C, reference A C C E: 2 of 4 agree. By chance: A 1/2 x 1/4, C 1/2 x
    # 1/2, E 0 x 1/4: 3/8. Kappa is (1/2 - 3/8) / (1 - 3/8) = 1/5.
    given = agreement.of_letters("AACC")
    reference = agreement.of_letters("ACCE")
    assert agreement.accuracy(given, reference) == 0.5
    assert agreement.kappa(given, reference) == pytest.approx(0.2)


def test_who_agrees_on_everything_has_a_kappa_of_one_unless_chance_has_too():
    some = agreement.of_letters("ABCDE")
    assert agreement.kappa(some, some) == 1.0
    same = agreement.of_letters("EEE")
    assert agreement.kappa(same, same) is None


def test_an_unreadable_verdict_agrees_with_nothing_not_even_itself():
    given = _opinions(_UNREAD, (1, 0, 0, 0, 0))
    assert given.letters().tolist() == [-1, 0]
    assert agreement.accuracy(given, agreement.of_letters("AA")) == 0.5
    assert agreement.accuracy(given, given) == 0.5


def test_the_calibration_error_against_labels_by_hand():
    # Two bins. Up to 0.5: 0.4 and 0.5, the second right: gap |0.9 - 1| of 2 rows.
    # Above: 0.9 and 0.7, both wrong: gap 1.6. The mean over 4 rows is 1.7 / 4.
    given = _opinions(
        (0.4, 0.3, 0.3, 0, 0),
        (0.5, 0.2, 0.3, 0, 0),
        (0, 0, 0, 0.1, 0.9),
        (0.7, 0, 0, 0.3, 0),
    )
    labels = agreement.of_letters("BADC")
    error = agreement.calibration_error(given, labels, bins=2)
    assert error == pytest.approx(1.7 / 4)
    # In a single bin gaps of both signs cancel, as they should: 2.5 against 1.
    assert agreement.calibration_error(given, labels, bins=1) == pytest.approx(1.5 / 4)


def test_only_the_own_letter_is_compared_with_the_judges_probability_of_it():
    given = _opinions((0.2, 0.8, 0, 0, 0))
    judge = _opinions((0.5, 0.3, 0.2, 0, 0))
    error = agreement.calibration_error(given, judge, bins=10)
    assert error == pytest.approx(0.8 - 0.3)


def test_what_cannot_be_read_is_no_part_of_the_calibration():
    given = _opinions(_UNREAD, (0.6, 0.4, 0, 0, 0))
    error = agreement.calibration_error(given, agreement.of_letters("EA"), bins=5)
    assert error == pytest.approx(0.4)
    nothing = _opinions(_UNREAD)
    assert agreement.calibration_error(nothing, nothing, bins=5) == 0.0


@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 20))
def test_a_judges_own_probabilities_are_calibrated_to_it(seed, rows, bins):
    judge = _opinions(*np.random.default_rng(seed).dirichlet(np.full(5, 0.3), rows))
    assert agreement.calibration_error(judge, judge, bins=bins) < 1e-12
    assert agreement.score_error(judge, judge) == 0.0
    assert agreement.accuracy(judge, judge) == 1.0


def test_against_drawn_letters_the_error_is_what_it_is_against_the_probabilities():
    """The many letters that a judge draws have its probabilities as their mean."""
    rng = np.random.default_rng(0)
    given = _opinions(*rng.dirichlet(np.ones(5), 20))
    judge = _opinions(*rng.dirichlet(np.ones(5), 20))
    draws = 5000
    letters = [
        rng.choice(list(grades.LETTERS), size=draws, p=p) for p in judge.probabilities
    ]
    drawn = agreement.of_letters(np.concatenate(letters).tolist())
    often = given[np.repeat(np.arange(20), draws)]
    exact = agreement.calibration_error(given, judge, bins=4)
    sampled = agreement.calibration_error(often, drawn, bins=4)
    assert sampled == pytest.approx(exact, abs=0.01)


def test_scores_by_hand():
    given, reference = agreement.of_letters("EDA"), agreement.of_letters("EAC")
    assert given.scores.tolist() == [1.0, 0.4, 0.0]
    assert agreement.score_error(given, reference) == pytest.approx(0.4 / 3)
    # Deviations (8, -1, -7) / 15 and (2, -1, -1) / 3: 24 / sqrt(114 x 6).
    r = 24 / np.sqrt(114 * 6)
    assert agreement.score_correlation(given, reference) == pytest.approx(r)
    assert agreement.score_correlation(given, agreement.of_letters("AAA")) is None


def test_figures_are_of_each_group_and_of_each_grade_of_the_reference():
    given, reference = agreement.of_letters("AACCE"), agreement.of_letters("ACCEE")
    found = agreement.by_group(given, reference, ["x", "y", "x", "y", "x"], bins=10)
    assert list(found) == ["all", "x", "y"]
    assert [found[name]["rows"] for name in found] == [5, 3, 2]
    assert [found[name]["accuracy"] for name in found] == [0.6, 1.0, 0.0]
    assert found["all"]["by_grade"] == {
        "A": {"rows": 1, "accuracy": 1.0},
        "C": {"rows": 2, "accuracy": 0.5},
        "E": {"rows": 2, "accuracy": 0.5},
    }


def test_a_judges_grades_become_opinions():
    given = [
        grades.expected(np.array([0.1, 0.0, 0.2, 0.5, 0.2]), mass=1.0, seed=0),
        grades.unreadable(0.0),
    ]
    opinions = agreement.of_grades(given)
    assert opinions.letters().tolist() == [3, -1]
    assert opinions.scores.tolist() == [pytest.approx(0.4), 0.0]
    assert len(agreement.of_grades([])) == 0


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"probabilities\[1\] sum to 0.5"):
        _opinions((1, 0, 0, 0, 0), (0.5, 0, 0, 0, 0))
    some = agreement.of_letters("AB")
    with pytest.raises(ValueError, match="2 opinions against 1"):
        agreement.figures(some, agreement.of_letters("A"), bins=5)
    with pytest.raises(ValueError, match="0 opinions against 0"):
        agreement.figures(some[[]], some[[]], bins=5)


def test_pairs_with_labels_are_left_out_where_nobody_knows_them():
    student, judge = agreement.of_letters("EC"), agreement.of_letters("EE")
    given = dict(groups=["x", "y"], bins=5)
    found = agreement.compare(student, judge, labels=["C", "C"], **given)
    accuracies = {pair: found[pair]["all"]["accuracy"] for pair in found}
    assert accuracies == {
        "student against judge": 0.5,
        "student against label": 0.5,
        "judge against label": 0.0,
    }
    unknown = agreement.compare(student, judge, labels=["", ""], **given)
    assert unknown == {"student against judge": found["student against judge"]}


def test_the_page_shows_every_group_and_what_has_no_value():
    student, judge = agreement.of_letters("EC"), agreement.of_letters("EE")
    found = agreement.compare(
        student, judge, labels=["", ""], groups=["x", "y"], bins=5
    )
    summary = {"weights": {"student": 7}, **found}
    lines = agreement.page(summary, {"student": 12.6}).split("\n")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert ["all", "2", "accuracy", "0.500"] in cells
    assert ["", "", "score r", "–"] in cells  # the judge's scores do not vary
    assert ["x", "1", "accuracy", "1.000"] in cells
    assert ["", "", "kappa", "–"] in cells
    assert ["y", "1", "accuracy", "0.000"] in cells
    assert lines[-1] == "student: 7 weights, 13 rows a CPU-second"
