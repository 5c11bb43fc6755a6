"""Tests for datachef_jax/sampling/automaton.py."""

import itertools
import re

import numpy as np
import pytest

from datachef_jax.sampling import automaton


def _after(letters, text):
    """Returns the state after some bytes, -1 if they are no beginning of a match."""
    state = letters.initial
    for letter in text:
        state = letters.steps[state, letter] if state >= 0 else -1
    return state


def _matches(letters, text):
    state = _after(letters, text.encode())
    return bool(state >= 0 and letters.accepting[state])


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "a|ab", "a*?b??", "(?:a|ab)(?:b|bcd)?", "(a??|b)*é", "a{2,3}|b"),
        *("^a+$", ".{0,3}", "[^a]*é?", "(?s).*", r"\$a\\$", "[$^]+", "[^$]b?"),
        *("(?i)AB?", r"\w+\$", r"a\n|\s{2}", "[é-ü€😀]{1,2}", r"[\]$a]*b", "a+😀?"),
    ],
)
def test_texts_are_accepted_that_fullmatch_accepts(pattern):
    letters = automaton.over_bytes(pattern)
    accepted = 0
    for length in range(5):
        for symbols in itertools.product("ab$\\é😀\n", repeat=length):
            text = "".join(symbols)
            matches = _matches(letters, text)
            accepted += matches
            assert matches == bool(re.fullmatch(pattern, text)), text
    assert accepted


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "a(",
            "a)|(b",
            "a)(b",
            "*a",
            "[a",
            r"(a)\1",
            "(?=a)b",
            "(?<!a)b",
            "[a&&b]",
            "a|b[a&&b]",
        ),
        *(r"\bab", "(a$|b)", "a^b", r"x\Az", "^a|^b", r"a\z", r"a\B"),
    ],
)
def test_what_is_no_pattern_is_refused_by_name(pattern):
    with pytest.raises(ValueError, match=re.escape(repr(pattern))):
        automaton.over_bytes(pattern)


def test_a_repetition_that_its_beginning_fits_into_is_built_in_no_time():
    letters = automaton.over_bytes(r"no: .{0,300}\.")
    assert len(letters.steps) < 10_000
    assert _matches(letters, f"no: {'é' * 300}.")
    assert not _matches(letters, f"no: {'é' * 301}.")


_PIECES = [b"a", b"b", b"ab", b"ba", b"bb", b"", None, b"c", "é".encode()]
_PIECES += ["é".encode()[:1], "é".encode()[1:], b"a\xc3", b"\xa9b", b"abab"]


@pytest.mark.parametrize(
    "pattern", ["a|ab", "(ab)*", "[aé]{2}b?", "(?:ab|é)+c", ".*", "bb?|ba*", "[^a]b"]
)
def test_a_token_can_come_if_some_continuation_matches(pattern):
    letters = automaton.over_bytes(pattern)
    tokens, kinds = automaton.over_tokens(letters, _PIECES)
    texts = {b"": tokens.initial}  # how to come to each state
    new = dict(texts)
    while new:
        reached = {
            text + piece: int(tokens.steps[state, kind])
            for text, state in new.items()
            for piece, kind in zip(_PIECES, kinds, strict=True)
            if tokens.steps[state, kind] >= 0
        }
        new = {t: s for t, s in reached.items() if s not in texts.values()}
        texts |= new
    assert set(texts.values()) == set(range(len(tokens.steps)))
    endings = [
        b"".join(some)
        for length in range(4)
        for some in itertools.product(
            [b"a", b"b", b"c", b"\xc3", b"\xa9"], repeat=length
        )
    ]

    def continues(text):
        found = False
        for ending in endings:
            try:
                found |= bool(re.fullmatch(pattern, (text + ending).decode()))
            except UnicodeDecodeError:
                continue
        return found

    for text, state in texts.items():
        exact = _after(letters, text)
        assert tokens.accepting[state] == letters.accepting[exact]
        for piece, kind in zip(_PIECES, kinds, strict=True):
            expected = bool(piece) and continues(text + piece)
            assert (tokens.steps[state, kind] >= 0) == expected, (text, piece)


def test_tokens_of_a_kind_do_the_same_and_kinds_differ():
    letters = automaton.over_bytes(r"\d+(,\d+)*")
    pieces = [None, b"1", b"23", b"4,5", b",", b",6", b"x", b"7,", b"", b"8,9,0", b",,"]
    tokens, kinds = automaton.over_tokens(letters, pieces)
    groups = {}
    for piece, kind in zip(pieces, kinds, strict=True):
        groups.setdefault(int(kind), set()).add(piece)
    assert groups.pop(0) == {None, b"", b"x", b",,"}
    assert (tokens.steps[:, 0] == -1).all()
    assert {frozenset(group) for group in groups.values()} == {
        *(frozenset({b"1", b"23"}), frozenset({b"4,5", b"8,9,0"})),
        *(frozenset({b","}), frozenset({b",6"}), frozenset({b"7,"})),
    }
    assert len(np.unique(tokens.steps, axis=1).T) == tokens.steps.shape[1]


def test_no_state_is_a_dead_end():
    letters = automaton.over_bytes("a(b|cde)")
    tokens, kinds = automaton.over_tokens(letters, [b"a", b"b", b"cd", b"acd"])
    after = tokens.steps[tokens.initial, kinds[0]]
    assert (tokens.steps[after, kinds] >= 0).tolist() == [False, True, False, False]
    assert tokens.steps[tokens.initial, kinds[3]] == -1
    with pytest.raises(ValueError, match="no sequence of the tokens"):
        automaton.over_tokens(letters, [b"a", b"cd", None])


def test_a_token_that_changes_no_state_is_not_forbidden():
    tokens, kinds = automaton.over_tokens(automaton.over_bytes("a*"), [b"a", b"", b"b"])
    allowed = tokens.steps[tokens.initial, kinds] >= 0
    assert allowed.tolist() == [True, False, False]
