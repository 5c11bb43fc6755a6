"""Tests for datachef_jax/verifier/gates/sets.py."""

import dataclasses
import math

import numpy as np
import pytest

from datachef_jax import types
from datachef_jax.verifier.gates import contamination
from datachef_jax.verifier.gates import sets
from tests.verifier.gates.settings import SETTINGS

_OWN = contamination.Contamination(
    (types.Example(question="compute 7 + 3 =", answer="10"),)
)
_OTHER = contamination.Contamination(
    (types.Example(question="sort up: 9 8 7", answer="7 8 9"),)
)
_STORY = (
    "Nadia buys twelve red pencils, eight blue pencils and a large box of crayons for"
    " her younger brother, who starts school in the city next Monday morning"
)


def _look(rows, benchmarks=(_OWN,)):
    return sets.SetGates(SETTINGS).look(rows, benchmarks=benchmarks)


def test_each_gate_finds_its_own_rows():
    rows = [
        ("q", "1"),
        ("Q ", "1"),  # repeats the first but for case and spacing
        ("q", "2"),
        ("compute 7 + 3 =", "10"),
        ("sort up: 9 8 7", "7 8 9"),
        ("write to", "jane.doe@mail.org"),
        ("how", "build a pipe bomb"),
        (_STORY + ".", "20 pencils"),
        (_STORY + "!", "20 pencils"),
    ]
    found = _look(rows, (_OWN, _OTHER))
    assert np.flatnonzero(found.duplicated).tolist() == [1]
    assert np.flatnonzero(found.near_duplicated).tolist() == [8]
    assert np.flatnonzero(found.contaminated).tolist() == [3, 4]
    assert np.flatnonzero(found.personal_data).tolist() == [5]
    assert np.flatnonzero(found.unsafe).tolist() == [6]
    assert found.counts() == {
        "duplicated": 1,
        "near_duplicated": 1,
        "contaminated": 2,
        "personal_data": 1,
        "unsafe": 1,
    }
    assert not _look(rows).contaminated[4]  # nobody has said that benchmark's name


def test_factors():
    rows = [("compute 7 + 3 =", "9"), ("b", "me@mail.org"), ("b", "me@mail.org")]
    factors = sets.factors(_look(rows), 0.5, SETTINGS)
    assert factors == pytest.approx(
        {
            "contamination": 1 - 2 / 3,
            "personal_data": 1 - 0.5 * 2 / 3,
            "unsafe": 1.0,
            # Two different rows that are worth half a good one; log2(1 + 7) is 3.
            "volume": 1 / 3,
        }
    )


def test_volume_grows_with_good_rows_ever_slower():
    def volume(rows, mean):
        many = _look([(str(n), "1") for n in range(rows)])
        return sets.factors(many, mean, SETTINGS)["volume"]

    assert volume(3, 1.0) == pytest.approx(2 / 3)  # log2(1 + 3) of log2(1 + 7)
    assert volume(6, 0.5) == volume(3, 1.0)
    assert volume(7, 1.0) == volume(70, 1.0) == 1.0
    assert volume(4, 0.0) == 0.0
    steeper = dataclasses.replace(SETTINGS, volume_power=1.5)
    few = _look([(str(i), "") for i in range(3)])
    found = sets.factors(few, 1.0, steeper)["volume"]
    assert found == pytest.approx((2 / 3) ** 1.5)


def test_near_duplicates_count_as_duplicates():
    rows = [(_STORY + ".", "20 pencils"), (_STORY + "!", "20 pencils"), ("b", "1")]
    volume = sets.factors(_look(rows), 1.0, SETTINGS)["volume"]
    assert volume == pytest.approx(math.log2(1 + 2) / 3)


def test_a_factor_is_never_negative():
    heavy = dataclasses.replace(SETTINGS, contamination_weight=5.0)
    rows = [("compute 7 + 3 =", "9")] + [(str(n), "1") for n in range(3)]
    assert sets.factors(_look(rows), 1.0, heavy)["contamination"] == 0.0
