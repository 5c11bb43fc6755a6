"""Tests for datachef_jax/sampling/grammar.py."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import outlines_core
import pytest

from datachef_jax.sampling import grammar
from datachef_jax.sampling import logits
from datachef_jax.text import tokenizer
from tests import tiny

_SHIPPED = "configs/mini/checkpoints/tokenizer"
_PATTERNS = [
    r"(yes|no), because [a-z ]{3,12}\.",
    r"a|ab|abc",
    r"-?[0-9]{1,4}(\.[0-9]+)?",
    r"[α-ωé€😀]{1,6}!?",
    "[\n-\U0010fffd]{1,20}",
    r"[a-zà-ÿ]+(\n- [a-zà-ÿ]+)*",
]
_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "count": {"type": ["integer", "null"]},
        "kind": {"enum": ["ü", "b", 3, None]},
        "items": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        "day": {"type": "string", "format": "date"},
    },
    "required": ["name", "kind"],
}


@functools.cache
def _tokenizer(name):
    if name == "bytes":
        return tiny.byte_tokenizer()
    return tokenizer.ChatTokenizer.load(_SHIPPED)


@pytest.fixture(params=["bytes", "shipped"])
def tokens(request):
    return _tokenizer(request.param)


def _compile(tokens, pattern):
    return grammar.compile_regex(pattern, tokens.pieces(), end_id=tokens.end_id)


def _registry(tokens, **changes):
    sizes = dict(slots=2, states=400, classes=300, vocab_size=tokens.vocab_size + 5)
    return grammar.Grammars(**(sizes | changes))


_allowed, _advance = jax.jit(grammar.allowed), jax.jit(grammar.advance)


@jax.jit
def _step(table, which, state, scores, seeds, position):
    rows = len(which)
    settings = logits.Settings(
        temperature=jnp.ones(rows),
        top_k=jnp.zeros(rows, jnp.int32),
        top_p=jnp.ones(rows),
        min_p=jnp.zeros(rows),
    )
    possible = grammar.allowed(table, which, state)
    positions = jnp.full(rows, position)
    drawn = logits.sample(scores, possible, settings, seeds, positions)
    return drawn.tokens, grammar.advance(table, which, state, drawn.tokens)


def _complete(tokens, registry, compiled, *, rows=32, steps=80, which=None):
    """Samples from random scores; the end becomes likelier with every token."""
    slot = registry.acquire(compiled)
    which = np.full(rows, slot, np.int32) if which is None else which
    state = np.where(which == slot, compiled.initial, 0).astype(np.int32)
    rng = np.random.default_rng(0)
    drawn = []
    for position in range(steps):
        scores = rng.normal(size=(rows, tokens.vocab_size + 5)).astype(np.float32)
        scores[:, tokens.end_id] += position / 4
        seeds = np.arange(rows, dtype=np.uint32)
        token, state = _step(registry.table, which, state, scores, seeds, position)
        drawn.append(np.asarray(token))
    registry.release(slot)
    return [_until_end(tokens, row.tolist()) for row in np.array(drawn).T]


def _until_end(tokens, ids):
    """Returns the ids before the end token, None if there is none."""
    return ids[: ids.index(tokens.end_id)] if tokens.end_id in ids else None


@pytest.mark.parametrize("pattern", _PATTERNS)
def test_all_that_ends_matches_the_pattern(tokens, pattern):
    done = _complete(tokens, _registry(tokens), _compile(tokens, pattern))
    texts = [tokens.decode(ids) for ids in done if ids is not None]
    assert len(texts) >= 30 and len(set(texts)) > (2 if pattern == "a|ab|abc" else 9)
    for text in texts:
        assert re.fullmatch(pattern, text), text


def test_all_that_ends_is_json_of_the_schema(tokens):
    compiled = grammar.compile_json_schema(
        _SCHEMA, tokens.pieces(), end_id=tokens.end_id
    )
    done = _complete(tokens, _registry(tokens), compiled, steps=300)
    values = [json.loads(tokens.decode(ids)) for ids in done if ids is not None]
    assert len(values) >= 30
    assert {key for value in values for key in value} == set(_SCHEMA["properties"])
    for value in values:
        jsonschema.validate(value, _SCHEMA)


@pytest.mark.parametrize("pattern", _PATTERNS)
def test_the_mask_is_that_of_the_library_in_every_state(tokens, pattern):
    compiled = _compile(tokens, pattern)
    pieces = {}
    for i, piece in enumerate(tokens.pieces()):
        if piece is not None:
            pieces.setdefault(piece, []).append(i)
    vocabulary = outlines_core.Vocabulary(tokens.end_id, pieces)
    # Only before the end of the text does it know all ways to go on: see `automaton`.
    index = outlines_core.Index(rf"(?:{pattern})\z", vocabulary)
    pairs = [(compiled.initial, index.get_initial_state())]
    seen = set(pairs)
    for state, theirs in pairs:
        moves = compiled.next_state[state, compiled.classes]
        (possible,) = np.nonzero(moves >= 0)
        assert set(possible) == set(index.get_allowed_tokens(theirs))
        assert (moves[tokens.end_id] >= 0) == index.is_final_state(theirs)
        for token in possible[possible != tokens.end_id]:
            pair = (int(moves[token]), index.get_next_state(theirs, int(token)))
            if pair not in seen:
                seen.add(pair)
                pairs.append(pair)
    assert {state for state, _ in pairs} == set(range(len(compiled.next_state)))


def test_the_device_masks_and_advances_as_the_grammar_says(tokens):
    registry, compiled = _registry(tokens), _compile(tokens, _PATTERNS[0])
    slot = registry.acquire(compiled)
    states, vocab = len(compiled.next_state), tokens.vocab_size
    state = np.arange(states, dtype=np.int32)
    which = np.full(states, slot, np.int32)
    expected = compiled.next_state[:, compiled.classes]
    possible = np.asarray(_allowed(registry.table, which, state))
    np.testing.assert_array_equal(possible[:, :vocab], expected >= 0)
    assert not possible[:, vocab:].any()  # rows of the model without a token
    for token in (0, tokens.end_id, *tokens.encode("yes b.")):
        drawn = np.full(states, token, np.int32)
        after = _advance(registry.table, which, state, drawn)
        moves = expected[:, token]
        np.testing.assert_array_equal(after, np.where(moves < 0, state, moves))


def test_rows_without_a_grammar_may_draw_anything():
    tokens = _tokenizer("bytes")
    registry, compiled = _registry(tokens), _compile(tokens, _PATTERNS[2])
    slot = registry.acquire(compiled)
    for which in (np.zeros(3, np.int32), np.array([0, slot, 0], np.int32)):
        state = np.where(which == slot, compiled.initial, 0).astype(np.int32)
        possible = _allowed(registry.table, which, state)
        assert possible[which == 0].all()
        assert np.asarray(possible[which == slot]).sum(-1).tolist() == (
            [11] if slot in which else []  # the digits and the sign
        )
        after = _advance(registry.table, which, state, np.int32([7, 8, 9]))
        np.testing.assert_array_equal(after[which == 0], 0)


def test_a_row_is_held_to_its_own_grammar_whatever_is_beside_it():
    tokens = _tokenizer("shipped")
    registry, compiled = _registry(tokens), _compile(tokens, _PATTERNS[0])
    alone = _complete(tokens, registry, compiled, rows=6, steps=40)
    other = registry.acquire(_compile(tokens, _PATTERNS[1]))
    slot = registry.acquire(compiled)
    which = np.array([slot, 0, slot, slot, other, 0], np.int32)
    mixed = _complete(tokens, registry, compiled, rows=6, steps=40, which=which)
    assert [mixed[i] for i in (0, 2, 3)] == [alone[i] for i in (0, 2, 3)]
    assert mixed[1] != alone[1]


def test_another_grammar_compiles_nothing():
    tokens = _tokenizer("bytes")
    registry = _registry(tokens)
    _complete(tokens, registry, _compile(tokens, _PATTERNS[0]), steps=1)
    compiled = _step._cache_size()
    for pattern in _PATTERNS[1:4]:
        _complete(tokens, registry, _compile(tokens, pattern), steps=1)
    assert _step._cache_size() == compiled


def test_special_tokens_are_forbidden_and_the_end_only_ends(tokens):
    compiled = _compile(tokens, r"(?s).*<\|im_end\|>|x")
    moves = compiled.next_state[:, compiled.classes]
    for special in (tokens.pad_id, 1):
        assert (moves[:, special] == -1).all() and compiled.classes[special] == 0
    ends = moves[:, tokens.end_id]
    (accepting,) = np.nonzero(ends >= 0)
    assert 0 < len(accepting) < len(ends)
    np.testing.assert_array_equal(ends[accepting], accepting)
    assert moves[compiled.initial, tokens.end_id] == -1


def test_bad_patterns_and_schemas_are_refused_by_name():
    tokens = _tokenizer("bytes")
    with pytest.raises(ValueError, match=r"regex 'a\('"):
        _compile(tokens, "a(")
    with pytest.raises(ValueError, match="JSON schema.*minimum"):
        grammar.compile_json_schema({"type": "integer", "minimum": 3}, [b"1"], end_id=0)
    with pytest.raises(ValueError, match="regex 'ab'.*no sequence of the tokens"):
        grammar.compile_regex("ab", [b"a", b"b"], end_id=1)


def test_what_16_bits_cannot_number_is_refused_with_numbers(monkeypatch):
    # Truly, it takes the library a minute to count to 32767.
    monkeypatch.setattr(grammar, "_MOST_STATES", 41)
    assert grammar.compile_regex("a{40}", [b"a", None], end_id=1)
    with pytest.raises(ValueError, match="has 42 states and 3 classes.*more than 41"):
        grammar.compile_regex("a{41}", [b"a", None], end_id=1)


def test_a_slot_is_kept_while_in_use_and_then_until_it_is_needed():
    tokens = _tokenizer("bytes")
    registry = _registry(tokens)
    one, two, three, four = [_compile(tokens, pattern) for pattern in "abcd"]
    assert registry.acquire(None) == 0
    registry.release(0)
    first, second = registry.acquire(one), registry.acquire(two)
    assert {first, second} == {1, 2} and registry.acquire(one) == first
    registry.release(first)
    with pytest.raises(ValueError, match="all 2 slots"):
        registry.acquire(three)
    registry.release(second)
    registry.release(first)  # now unused, but for a shorter time than the second
    assert registry.acquire(three) == second
    assert registry.acquire(one) == first  # still there
    registry.release(first)
    assert registry.acquire(four) == first
    letters = [
        np.asarray(_allowed(registry.table, np.int32([slot]), np.int32([g.initial])))
        for slot, g in ((second, three), (first, four))
    ]
    assert [tokens.decode(np.flatnonzero(row).tolist()) for row in letters] == [
        "c",
        "d",
    ]


def test_a_released_slot_shows_nothing_of_what_was_in_it():
    tokens = _tokenizer("bytes")
    registry = _registry(tokens, slots=1)
    registry.release(registry.acquire(_compile(tokens, "(?s).{9}")))
    before = registry.table
    small = grammar.compile_regex("b", tokens.pieces()[:200], end_id=tokens.end_id)
    which, state = np.int32([registry.acquire(small)]), np.int32([small.initial])
    possible = np.asarray(_allowed(registry.table, which, state))
    assert tokens.decode(np.flatnonzero(possible[0]).tolist()) == "b"
    # A table that a running loop was given stays what it was.
    assert np.asarray(_allowed(before, which, np.int32([0]))).sum() > 1


def test_a_grammar_that_does_not_fit_is_refused_with_numbers():
    tokens = _tokenizer("bytes")
    compiled = _compile(tokens, "[ab]c{5}")
    states, classes = compiled.next_state.shape
    assert (states, classes) == (7, 4)
    for changes in ({"states": 6}, {"classes": 3}, {"vocab_size": 258}):
        with pytest.raises(ValueError, match="7 states, 4 classes of tokens and 259"):
            _registry(tokens, **changes).acquire(compiled)
    fits = _registry(tokens, states=7, classes=4, vocab_size=259)
    assert fits.acquire(compiled) == 1


def test_the_table_is_small_for_the_vocabulary_of_qwen3():
    registry = grammar.Grammars(slots=8, states=512, classes=512, vocab_size=151_936)
    assert sum(leaf.nbytes for leaf in registry.table) < 8e6
    rng = np.random.default_rng(0)
    words = [
        bytes(rng.integers(97, 123, n).tolist()) for n in rng.integers(1, 9, 150_000)
    ]
    compiled = grammar.compile_regex("[a-m]{2,40}", [*words, None], end_id=150_000)
    which = np.int32([registry.acquire(compiled)])
    possible = _allowed(registry.table, which, np.int32([compiled.initial]))
    expected = [i for i, word in enumerate(words) if max(word) <= ord("m")]
    assert np.flatnonzero(possible[0]).tolist() == expected
