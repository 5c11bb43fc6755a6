"""Tests for datachef_jax/verifier/gates.py."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
import pytest

from datachef_jax import types
from datachef_jax.verifier import contamination
from datachef_jax.verifier import gates

_SETTINGS = gates.GateSettings(
    max_chars=400,
    repetition_ngram=3,
    repetition_min_tokens=20,
    max_repetition=0.5,
    duplication_weight=1.0,
    contamination_weight=2.0,
    min_rows=4,
)
_INDEX = contamination.Contamination(
    (types.Example(question="compute 7 + 3 =", answer="10"),)
)


def _stopped_by(question, answer, contract="plain"):
    return gates.stopped_by(
        question, answer, contract=contract, index=_INDEX, settings=_SETTINGS
    )


@pytest.mark.parametrize(("question", "answer"), [("", "7"), ("q", " \n"), ("\t", "")])
def test_empty(question, answer):
    assert gates.empty(question, answer)
    assert not gates.empty("?", "0")


def test_too_long_counts_both_texts():
    assert not gates.too_long("a" * 6, "b" * 4, max_chars=10)
    assert gates.too_long("a" * 6, "b" * 5, max_chars=10)


@pytest.mark.parametrize(
    "answer",
    [
        "3 17 ...",
        "3 17…",
        "3, 17,",
        r"so \boxed{\frac{1}{2}",
        r"\boxed{1} no, \boxed{2",
        '{"answer": "3 17',
        '{"answer": [3, 17',
        "[[1, 2], [3",
        "```python\nprint(1)",
    ],
)
def test_truncated(answer):
    assert gates.truncated(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "3 17",
        "It is 7.",
        r"so \boxed{\frac{1}{2}}",
        r"\boxed{1} {",  # the box is closed, whatever stands behind it
        '{"answer": "a { in a string"}',
        r'{"answer": "a quote \" and a {"}',
        "[0, 1)",
        "[",  # the answer to a question about brackets
        "```python\nprint([)\n```",
        '{1, 2} and 5" more',
        r"\boxed{[0, 1)}",
    ],
)
def test_not_truncated(answer):
    assert not gates.truncated(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot answer that.",
        "I can't help with this request.",
        "I’m sorry, but I can’t assist with that.",
        "Sorry, I am unable to solve it",
        "I cannot.",
        "As an AI language model, I have no opinion.",
        "As an AI, I do not know.",
        "Well, as an AI I do not know.",
    ],
)
def test_refusal(answer):
    assert gates.refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "7",
        "The knight says: I cannot lie. So he is a knight.",
        "I cannot be older than Tom, so Tom is 9.",
        "As an AI researcher, Ada earned 30 dollars.",
        "No, the conclusion cannot be drawn.",
    ],
)
def test_not_refusal(answer):
    assert not gates.refusal(answer)


def test_repetitive_counts_repeated_runs_of_longer_texts():
    limits = dict(ngram=2, min_tokens=5)
    # Runs: ab ba ab ba ab: 2 of 5 are new, 3/5 are copies.
    assert gates.repetitive("a b a b a b", **limits, max_share=0.59)
    assert not gates.repetitive("a b a b a b", **limits, max_share=0.6)
    assert not gates.repetitive("a b a b", **limits, max_share=0.1)
    assert not gates.repetitive("a", ngram=2, min_tokens=0, max_share=0.0)


@pytest.mark.parametrize(
    ("answer", "contract", "breaks"),
    [
        ("The answer is 7.", "plain", False),
        ("The answer is 7.", "boxed", True),
        (r"\boxed{7}", "boxed", False),
        ("B", "letter", False),
        ("Because of B", "letter", True),
        ('{"answer": "7"}', "json", False),
        ("7", "json", True),
    ],
)
def test_breaks_contract(answer, contract, breaks):
    assert gates.breaks_contract(answer, contract) == breaks


@pytest.mark.parametrize(
    ("gate", "question", "answer"),
    [
        ("", "compute 7 + 4 =", r"\boxed{11}"),
        ("empty", "compute 7 + 4 =", ""),
        ("length", "compute 7 + 4 =" * 40, r"\boxed{11}"),
        ("truncated", "compute 7 + 4 =", r"\boxed{11"),
        ("refusal", "compute 7 + 4 =", "I cannot answer that."),
        ("repetition", "compute 7 + 4 =", "so it is 11 " * 9 + r"\boxed{11}"),
        ("contract", "compute 7 + 4 =", "11"),
        ("contamination", "compute 7 + 3 =", r"\boxed{10}"),
    ],
)
def test_each_gate_stops_its_own_rows(gate, question, answer):
    assert _stopped_by(question, answer, "boxed") == gate


def test_the_gates_in_order_are_all_the_gates():
    assert len(set(gates.ROW_GATES)) == len(gates.ROW_GATES) == 7


@given(st.text(), st.text(), st.sampled_from(["plain", "boxed", "letter", "json"]))
def test_any_text_passes_or_is_stopped_by_a_named_gate(question, answer, contract):
    assert _stopped_by(question, answer, contract) in ("", *gates.ROW_GATES)


def test_duplication():
    rows = [("q", "1"), ("Q ", "1"), ("q", "2"), ("q", "1")]  # two of four are copies
    assert gates.duplication(rows, weight=1.0) == 0.5
    assert gates.duplication(rows, weight=0.5) == 0.75
    assert gates.duplication(rows, weight=3.0) == 0.0
    assert gates.duplication(rows[1:3], weight=3.0) == 1.0


def test_cleanness():
    rows = [("compute 7 + 3 =", "9"), ("b", "1"), ("c", "1"), ("d", "1")]
    assert gates.cleanness(rows, index=_INDEX, weight=2.0) == 0.5
    assert gates.cleanness(rows, index=_INDEX, weight=5.0) == 0.0
    assert gates.cleanness(rows[1:], index=_INDEX, weight=5.0) == 1.0


def test_set_factors():
    rows = [("compute 7 + 3 =", "9"), ("b", "1"), ("b", "1")]
    factors = gates.set_factors(rows, index=_INDEX, settings=_SETTINGS)
    assert factors == pytest.approx(
        {"duplication": 2 / 3, "contamination": 1 / 3, "size": 3 / 4}
    )
    many = [(str(n), "1") for n in range(9)]
    factors = gates.set_factors(many, index=_INDEX, settings=_SETTINGS)
    assert factors == {"duplication": 1.0, "contamination": 1.0, "size": 1.0}


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_chars", 0), ("min_rows", 0), ("contamination_weight", -0.1)],
)
def test_settings_name_a_bad_field(field, value):
    with pytest.raises(ValueError, match=f"{field}.*{value}"):
        dataclasses.replace(_SETTINGS, **{field: value})
