"""Tests for datachef_jax/serving/compiler.py."""

from concurrent import futures
import json
import time

import pytest

from datachef_jax.sampling import grammar
from datachef_jax.serving import compiler
from datachef_jax.serving import ticket

_ENDLESS = "[ab]*a[ab]{30}"


@pytest.fixture(scope="module")
def compile(pieces, words):
    """Returns a compiler of which only few callers can wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "_WAITING", 2)
        made = _make(pieces, words)
    yield made
    made.close()


def _make(pieces, words):
    return compiler.Compiler(pieces, end_id=words.end_id, seconds=1.0, memory=4 * 2**30)


def test_a_grammar_is_the_one_that_this_process_would_compile(compile, pieces, words):
    made = compile("regex", "[a-f]{2,5}")
    expected = grammar.compile_regex("[a-f]{2,5}", pieces, end_id=words.end_id)
    assert (made.classes == expected.classes).all()
    assert (made.next_state == expected.next_state).all()
    assert made.initial == expected.initial
    schema = {"type": "object", "properties": {"a": {"type": "null"}}}
    made = compile("json_schema", json.dumps(schema))
    expected = grammar.compile_json_schema(schema, pieces, end_id=words.end_id)
    assert (made.next_state == expected.next_state).all()


def test_the_same_text_is_the_same_object_until_it_is_forgotten(compile, monkeypatch):
    first = compile("regex", "one")
    assert compile("regex", "one") is first
    monkeypatch.setattr(compiler, "_KEPT", 2)
    compile("regex", "two"), compile("regex", "one"), compile("regex", "three")
    assert compile("regex", "one") is first
    compile("regex", "two"), compile("regex", "three")
    assert compile("regex", "one") is not first


def test_what_is_no_pattern_is_refused_and_the_process_stays(compile):
    compile("regex", "a")
    process = compile._process
    for kind, text, message in (
        ("regex", "(", "regex"),
        ("json_schema", '{"type": "none"}', "JSON schema"),
        ("json_schema", "{" * 9000, "property name"),
        ("regex", "a" * 10_001, "longer than 10000"),
    ):
        with pytest.raises(ValueError, match=message):
            compile(kind, text)
    assert compile._process is process


def test_endless_patterns_hold_up_neither_what_is_known_nor_too_many(compile):
    known = compile("regex", "known")
    with futures.ThreadPoolExecutor(4) as pool:
        start = time.monotonic()
        endless = [pool.submit(compile, "regex", _ENDLESS + "c" * i) for i in range(4)]
        time.sleep(0.2)
        assert compile("regex", "known") is known
        assert time.monotonic() - start < 1.0
        errors = [one.exception(60) for one in endless]
    assert sum(isinstance(error, ticket.QueueFull) for error in errors) == 2
    slow = [error for error in errors if isinstance(error, ValueError)]
    assert len(slow) == 2 and "takes more than 1 s" in str(slow[0])
    assert compile("regex", "after") is not None


def test_memory_is_bounded(pieces, words):
    made = compiler.Compiler(
        pieces, end_id=words.end_id, seconds=60.0, memory=600_000_000
    )
    try:
        with pytest.raises(ValueError, match="bytes to compile|memory|Memory"):
            made("regex", _ENDLESS)
    finally:
        made.close()
