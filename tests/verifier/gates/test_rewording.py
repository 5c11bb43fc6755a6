"""Tests for datachef_jax/verifier/gates/rewording.py."""

import math

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from datachef_jax.verifier.gates import rewording

_HENS = (
    "Ada keeps 12 red hens and three grey geese on her farm. Each hen lays 5 eggs a "
    "week. How many eggs does Ada collect during March?"
)
_OTHERS = (
    "A baker sells 40 loaves every morning. Half of them are rye. How much flour, at "
    "250 grams a loaf, goes into his rye bread?",
    "Two trains leave Paris at noon. One drives 90 kilometers an hour, the other 120. "
    "When are they 500 kilometers apart?",
    "Tom and Ann share a pizza of 8 slices. Tom eats twice as many as Ann, and 2 are "
    "left. How many did Ann eat?",
    "A tank holds 600 liters. A pipe fills 15 liters a minute while a hole loses 3. "
    "After which time is the tank full?",
)
_NOUNS = "arrow ember island oyster umbra elm".split()


def _index():
    return rewording.Rewording([_HENS, *_OTHERS])


@pytest.mark.parametrize(
    "text",
    [
        _HENS,
        # Another name, other words, another order, a number in digits.
        "How many eggs will Otto gather during March? Otto owns 3 grey geese and 12 "
        "red hens on his farm, and each hen produces 5 eggs a week.",
        _HENS.upper(),
        f"Q: {_HENS} Answer in at most 9 words.",
        f"{_OTHERS[0].replace('40', '41')}\n\n{_HENS}\nA: 265",  # one of the lines
        _HENS + " zork" * 300,  # words that mean nothing hide nothing
    ],
)
def test_finds_a_question_in_other_words(text):
    assert _index().holds(text)


@pytest.mark.parametrize(
    "text",
    [
        _HENS.replace("12", "13"),
        _HENS.replace("three", "four"),
        _HENS.replace("three", "no"),  # a number is missing
        "Ada has 12, 3 and 5.",  # the numbers alone
        "How many eggs does Ada have?",
        "12 3 5 " + " ".join(_OTHERS),  # every word but those of the question
        "",
        " \n\n ",
    ],
)
def test_lets_another_question_pass(text):
    assert not _index().holds(text)


def test_an_overlap_by_hand():
    # Four questions: a word of one of them weighs log 5, of two log 5/2. "sun" to
    # "dew" are in the first alone, "rain" in two; 7 is in the first alone.
    own = "sun moon star cloud wind fog dew rain 7"
    index = rewording.Rewording([own, "rain 1", "x 2", "y 3"])
    one, two, new = math.log(5), math.log(5 / 2), math.log(5)
    row = "rain dew fog wind cloud star moon, 7 and 8 zork"  # not "sun"; 8 is new
    shared = 6 * one + two + 2 * one
    expected = (
        2 * shared / ((7 * one + two + 2 * one) + (6 * one + two + 2 * (one + new)))
    )
    np.testing.assert_allclose(index.overlaps(row), [expected, 0, 0, 0])
    np.testing.assert_allclose(index.overlaps(own), [1, 0, 0, 0])


def test_a_number_that_stands_twice_must_stand_twice():
    question = (
        "the sun and moon and star and cloud and wind saw 7 days and 7 nights pass"
    )
    index = rewording.Rewording([question, "x 1", "y 2", "z 3"])
    assert index.holds(question)
    assert index.holds(question.replace("7 days", "seven days"))
    assert not index.holds(question.replace("7 days", "days"))


def test_numbers_are_read_as_values():
    def numbers(text):
        return rewording._read(text)[1]

    assert numbers("$1,000.50 or 2.0") == {("1000.5", 0), ("2", 0)}
    assert numbers("three 3 １２ one") == {("3", 0), ("3", 1), ("12", 0)}
    assert numbers("10 100") == {("10", 0), ("100", 0)}


def test_names_are_no_evidence():
    words = "sun moon star cloud wind fog dew rain".split()
    index = rewording.Rewording([f"{' '.join(words)} Ada Bert", "x", "y", "z"])
    assert index.overlaps(" ".join(words))[0] == pytest.approx(1.0)


def test_numbers_without_words_are_too_little():
    numbers = "11 22 33 44 55 66 77 88"
    elsewhere = "sun moon star cloud wind fog dew rain"
    index = rewording.Rewording([f"sort {numbers}", elsewhere, "x", "y"])
    # By weight nearly all is shared, and the words of the row are known.
    assert not index.holds(f"sort {numbers} among {elsewhere}")


def test_a_benchmark_of_patterns_says_nothing():
    patterns = [[f"{letter}{word}" for word in _NOUNS] for letter in "bcdfghklmn"]
    made = [
        " ".join([*pattern, pattern[i] + "s"])
        for i in range(len(_NOUNS))
        for pattern in patterns
    ]
    index = rewording.Rewording(made[:40])  # each pattern four times
    assert not any(map(index.holds, made))
    # With only three of each they are questions like any others.
    index = rewording.Rewording(made[:30])
    assert all(map(index.holds, made))


def test_copies_within_the_benchmark_count_once():
    assert rewording.Rewording([_HENS] * 9 + list(_OTHERS)).holds(_HENS)


def test_an_empty_benchmark_holds_nothing():
    for index in (rewording.Rewording([]), rewording.Rewording(["", " ", "?!"])):
        assert not index.holds(_HENS) and not index.holds("")


@hypothesis.given(st.text(), st.lists(st.text(), max_size=4))
def test_any_text_gets_overlaps_between_0_and_1(text, benchmark):
    overlaps = rewording.Rewording([_HENS, *benchmark]).overlaps(f"{_HENS} {text}")
    assert ((overlaps >= 0) & (overlaps <= 1 + 1e-9)).all()
    _index().holds(text)
