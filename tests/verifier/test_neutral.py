"""Tests for datachef_jax/verifier/neutral.py."""

import time

from hypothesis import given
from hypothesis import strategies as st
import pytest

from datachef_jax.verifier import neutral


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u200bb\ufeffc", "abc"),  # zero width
        ("E\u202e1\u202c", "E1"),  # right to left
        ("x\U000e0041y", "xy"),  # tags, with which text can be smuggled
        ("a\x00b\x1bc", "abc"),
        ("one\r\ntwo\rthree\n\tfour", "one\ntwo\nthree\n\tfour"),
        ("\ud800 é 火", "? é 火"),
        ("a\ue000b", "ab"),  # private use
    ],
)
def test_visible(text, shown):
    assert neutral.visible(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**Great** answer, __really__", "Great answer, really"),
        ("## The *best* answer", "The *best* answer"),
        ("* one\n• two\n- three\n  + four", "one\ntwo\nthree\n  four"),
        ("- 5", "- 5"),
        ("-5 + 3", "-5 + 3"),
        ("2 ** 3 ** 2", "2 ** 3 ** 2"),
        ("a\n-----\nb", "a\n\nb"),
        ("[the source](https://a.org/x) says", "the source says"),
        ("#### 72", "72"),
        ("# of apples: 3", "of apples: 3"),
        ("```python\n# a comment\n**kw\n```\n# a head", 
         "```python\n# a comment\n**kw\n```\na head"),
    ],
)  # fmt: skip
def test_plain(text, shown):
    assert neutral.plain(text) == shown


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_encoded_and_stays_as_it_is_from_then_on(text):
    shown = neutral.visible(text)
    shown.encode("utf-8")
    assert neutral.visible(shown) == shown


def test_opening_marks_alone_take_linear_time():
    for unit in ("**a ", "[a", "[](", "__"):
        start = time.process_time()
        neutral.plain(unit * 50_000)
        # Quadratic time would be hours; this is no measurement.
        assert time.process_time() - start < 20
