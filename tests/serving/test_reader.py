"""Tests for datachef_jax/serving/reader.py."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies
import pytest

from datachef_jax.serving import reader
from tests import tiny

_WORDS = tiny.byte_tokenizer()
_PIECES = _WORDS.pieces()
_TOKENS = strategies.lists(strategies.integers(0, len(_PIECES) + 2), max_size=40)


def _stream(tokens, stops, cuts):
    """Returns all that is told, in turns that end at these counts of tokens."""
    read = reader.Reader(_PIECES, stops)
    told = []
    for cut in [*sorted(cuts), len(tokens)]:
        read.read(tokens[:cut])
        told.append(read.tell())
    read.end()
    return "".join(told) + read.rest(), read


@settings(max_examples=200, deadline=None)
@given(_TOKENS, strategies.lists(strategies.integers(0, 40), max_size=6))
def test_a_text_is_what_the_tokenizer_decodes_however_it_is_cut(tokens, cuts):
    text, _ = _stream(tokens, (), cuts)
    assert text == _WORDS.decode([t for t in tokens if t < len(_PIECES)])


@settings(max_examples=300, deadline=None)
@given(
    strategies.text("abü€", max_size=20),
    strategies.lists(strategies.text("abü€", min_size=1, max_size=4), max_size=3),
    strategies.lists(strategies.integers(0, 60), max_size=6),
)
def test_a_text_ends_before_the_first_stop_string_to_be_complete(text, stops, cuts):
    tokens = _WORDS.encode(text)
    told, read = _stream(tokens, stops, cuts)
    # The first end of any, in characters; then the earliest begin of those that are
    # there by then.
    ends = [text.find(s) + len(s) for s in stops if s in text]
    assert read.stopped == bool(ends)
    if not ends:
        assert told == text
        return
    seen = text[: min(ends)]
    assert told == text[: min(seen.find(s) for s in stops if s in seen)]
    assert read.count == len(seen.encode())


def test_half_a_character_waits_and_is_replaced_only_at_the_end():
    read = reader.Reader(_PIECES, ())
    tokens = _WORDS.encode("a€")
    assert len(tokens) == 4
    told = []
    for i in range(4):
        read.read(tokens[: i + 1])
        told.append(read.tell())
    assert told == ["a", "", "", "€"]
    broken = reader.Reader(_PIECES, ())
    broken.read(tokens[:3])
    assert broken.tell() == "a"
    broken.end()
    assert broken.rest() == "\ufffd"


@pytest.mark.parametrize(
    "text, told", [("one sto", "one "), ("one st.", "one st."), ("one stop x", "one ")]
)
def test_what_may_become_a_stop_string_waits(text, told):
    read = reader.Reader(_PIECES, ("stop",))
    read.read(_WORDS.encode(text))
    assert read.tell() == told
    read.end()
    assert read.text == ("one " if "stop" in text else text)


def test_other_tokens_do_not_follow():
    read = reader.Reader(_PIECES, ())
    read.read([5, 6, 7])
    assert read.follows([5, 6]) and read.follows([5, 6, 7, 8]) and read.follows([])
    assert not read.follows([5, 9])
