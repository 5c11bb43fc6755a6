"""Tests for datachef_jax/verifier/gates/rows.py and the gates of one line."""

from hypothesis import given
from hypothesis import strategies as st
import pytest

from datachef_jax import types
from datachef_jax.verifier.gates import empty
from datachef_jax.verifier.gates import length
from datachef_jax.verifier.gates import rows
from tests.verifier.gates.settings import SETTINGS

_EXAMPLES = (
    types.Example(
        question="Tom has seven apples and gives three of them to his sister Ann, who"
        " eats one at once. How many apples does Tom still have after that?",
        answer="4",
    ),
)
_GERMAN = (
    "Thomas hat sieben Äpfel und gibt seiner Schwester Anna drei davon, von denen sie"
    " sofort einen isst. Wie viele Äpfel hat Thomas danach noch übrig?"
)


def _words(question, answer):
    return len(question.split()) + len(answer.split())


def _gates(contract):
    return rows.of_benchmark(_EXAMPLES, contract, SETTINGS, count_tokens=_words)


@pytest.mark.parametrize(("question", "answer"), [("", "7"), ("q", " \n"), ("\t", "")])
def test_empty(question, answer):
    assert empty.stops(question, answer)
    assert not empty.stops("?", "0")


def test_length_counts_both_texts():
    assert not length.too_many_characters("a" * 6, "b" * 4, max_chars=10)
    assert length.too_many_characters("a" * 6, "b" * 5, max_chars=10)
    tokens = dict(count=_words, max_tokens=4)
    assert not length.too_many_tokens("a b c", "d", **tokens)
    assert length.too_many_tokens("a b c", "d e", **tokens)


@pytest.mark.parametrize(
    ("gate", "question", "answer"),
    [
        ("", "compute 7 + 4 =", r"\boxed{11}"),
        ("empty", "compute 7 + 4 =", ""),
        ("length", "compute 7 + 4 =" * 40, r"\boxed{11}"),
        ("context", "1 " * 100, r"\boxed{11}"),
        ("truncated", "compute 7 + 4 =", r"\boxed{11"),
        ("refusal", "compute 7 + 4 =", "I cannot answer that."),
        ("repetition", "compute 7 + 4 =", "so it is 11 " * 9 + r"\boxed{11}"),
        ("repetition", "so it is 11 " * 9, r"\boxed{11}"),
        ("language", _GERMAN, r"\boxed{4}"),
        ("contract", "compute 7 + 4 =", "11"),
    ],
)
def test_each_gate_stops_its_own_rows(gate, question, answer):
    assert rows.stopped_by(_gates("boxed"), question, answer) == gate


def test_the_gates_are_in_order_and_the_last_two_look_further():
    assert tuple(_gates("plain")) == rows.ROW_GATES[:-2]
    assert rows.ROW_GATES[-2:] == ("contamination", "incorrect")


@given(st.text(), st.text(), st.sampled_from(["plain", "boxed", "letter", "json"]))
def test_any_text_passes_or_is_stopped_by_a_named_gate(question, answer, contract):
    stopped = rows.stopped_by(_gates(contract), question, answer)
    assert stopped in ("", *rows.ROW_GATES)
