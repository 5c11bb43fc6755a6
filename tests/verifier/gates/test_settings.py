"""Tests for datachef_jax/verifier/gates/settings.py."""

import dataclasses
import math

import pytest

from tests.verifier.gates.settings import SETTINGS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_chars", 0),
        ("max_tokens", 0),
        ("enough_rows", 0),
        ("volume_power", 0.0),
        ("volume_power", float("inf")),
        ("contamination_weight", -0.1),
        ("contamination_weight", math.nan),
        ("max_repetition", 1.5),
        ("min_language", -0.5),
        ("near_duplicate", 2.0),
    ],
)
def test_a_bad_field_is_named(field, value):
    with pytest.raises(ValueError, match=f"{field}.*{value}"):
        dataclasses.replace(SETTINGS, **{field: value})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"unsafe": 0.0}, r"flag_weights must name.*got \['unsafe'\]"),
        ({"unsafe": 0.0, "personal_data": -1.0}, r"flag_weights\.personal_data.*-1"),
    ],
)
def test_a_bad_weight_is_named(weights, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, flag_weights=weights)
