"""Tests for datachef_jax/verifier/gates/language.py."""

from hypothesis import given
from hypothesis import strategies as st
import pytest

from datachef_jax.verifier.gates import language

_ENGLISH = (
    "A train leaves the station at nine in the morning and travels at sixty miles an"
    " hour. When does it arrive if the other town is ninety miles away?"
)
_FRENCH = (
    "Un train quitte la gare à neuf heures du matin et roule à soixante kilomètres à"
    " l'heure. Quand arrive-t-il si l'autre ville est à quatre-vingt-dix kilomètres?"
)
_CHINESE = (
    "火车早上九点从车站出发，每小时行驶六十公里。"
    "如果另一座城市在九十公里之外，它什么时候到达？"
)
_SURE = dict(min_probability=0.9)


def test_a_benchmark_uses_the_languages_of_its_texts():
    assert language.used([_ENGLISH, _CHINESE], **_SURE) == {"en", "zh"}
    assert language.used(["sort up: 3 1 2", "gcd of 12 18"], **_SURE) == frozenset()
    assert language.used([_ENGLISH] * 30 + [_FRENCH], **_SURE) == {"en"}  # 3 %: chance


@pytest.mark.parametrize(
    ("text", "known", "foreign"),
    [
        (_ENGLISH, {"en"}, False),
        (_FRENCH, {"en"}, True),
        (_CHINESE, {"en"}, True),
        (_CHINESE, {"en", "zh"}, False),
        (_FRENCH, set(), False),  # nobody knows what to expect
        (_FRENCH[:40], {"en"}, False),  # too short to be sure
        ("3 + 4 = 7, 12 / 4 = 3; " * 20, {"en"}, False),
        (r"\boxed{\frac{1}{2}}", {"en"}, False),
    ],
)
def test_foreign(text, known, foreign):
    assert language.foreign(text, known=frozenset(known), **_SURE) == foreign


@given(st.text(st.characters(codec=None), min_size=60, max_size=200))
def test_any_text_is_foreign_or_not(text):
    assert language.foreign(text, known=frozenset({"en"}), **_SURE) in (True, False)
