"""Tests for datachef_jax/verifier/gates/references.py."""

import json

import pytest

from datachef_jax.scoring.equivalence import Equivalence
from datachef_jax.verifier.gates.references import References
from tests import blank
from tests.sandbox import small

_DOUBLE = {"question": "Double it.", "tests": "assert double(4) == 8\n"}
_ROOT = {"question": "Solve x^2 = 4.", "answer": "-2, 2"}
_SUM = {"question": "How much are 2 + 2 and 3?", "answer": "7"}


def _read(folder, *lines, sandbox):
    path = folder / "references.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    equivalence = Equivalence(workers=1, seconds=3.0)
    return References(path, equivalence=equivalence, sandbox=sandbox)


def test_answers_and_programs_are_decided_by_what_is_known_of_their_questions(
    tmp_path,
):
    lines = [json.dumps(one) for one in (_DOUBLE, _ROOT, _SUM)]
    with small.started() as sandbox:
        references = _read(tmp_path, *lines, sandbox=sandbox)
        sums = blank.task("math", contract="boxed", metric="math")
        rows = [
            ("how  much are 2+2 and 3?", r"It is \boxed{7.0}."),
            ("How much are 2 + 2 and 3?", r"It is \boxed{8}."),
            ("How much are 2 + 2 and 3?", "It is 7."),
            ("How much are 2 + 2 and 4?", r"It is \boxed{7}."),
        ]
        assert references.decide(sums, rows) == [True, False, False, None]
        code = blank.task("code", contract="code")
        programs = [
            ("Double it.", "def double(x):\n    return 2 * x"),
            ("Double it.", "def double(x):\n    return x + 2"),
            ("Halve it.", "def double(x):\n    return 2 * x"),
        ]
        assert references.decide(code, programs) == [True, False, None]
        assert references.decide(code, []) == []


def test_the_last_of_two_lines_counts(tmp_path):
    other = {**_SUM, "question": _SUM["question"].upper(), "answer": "8"}
    with small.started() as sandbox:
        references = _read(
            tmp_path, json.dumps(_SUM), json.dumps(other), sandbox=sandbox
        )
        task = blank.task("math", contract="boxed", metric="exact_match")
        rows = [(_SUM["question"], rf"\boxed{{{answer}}}") for answer in (7, 8)]
        assert references.decide(task, rows) == [False, True]


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "[]",
        "7",
        "{}",
        '{"question": "q"}',
        '{"answer": "a"}',
        '{"question": "q", "answer": 7}',
        '{"question": null, "answer": "a"}',
        '{"question": "q", "reference": "a"}',
        '{"question": "q", "answer": "a", "tests": "assert True"}',
        "",
    ],
)
def test_a_line_that_is_no_reference_is_named(tmp_path, line):
    with pytest.raises(ValueError, match=r"references.jsonl, line 2, is no reference"):
        lines = json.dumps(_SUM), line, json.dumps(_SUM)
        _read(tmp_path, *lines, sandbox=small.started())


def test_a_file_without_references_is_none(tmp_path):
    with pytest.raises(ValueError, match="references.jsonl has no references"):
        _read(tmp_path, sandbox=small.started())
