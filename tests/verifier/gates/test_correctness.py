"""Tests for datachef_jax/verifier/gates/correctness.py."""

import dataclasses
import json
import os
import pathlib
import re
import time

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from datachef_jax.scoring import answers
from datachef_jax.scoring.equivalence import Equivalence
from datachef_jax.tasks.mini import families
from datachef_jax.tasks.mini import faults
from datachef_jax.verifier.gates import correctness
from tests import blank
from tests.sandbox import small

_PLAIN = blank.task("anything")


def test_nothing_is_decided_where_nothing_is_asked():
    assert correctness.nothing(_PLAIN, [("q", "1 + 1 = 3")] * 2) == [None, None]


def test_the_first_that_can_tell_decides():
    ways = [None, None, True, False], [None, False, False, True]
    assert correctness.first(*ways) == [None, False, True, False]
    assert correctness.first([], []) == []


def _mini(family):
    return blank.task(family.name, contract=family.contract)


@pytest.mark.parametrize("family", families.FAMILIES.values(), ids=families.FAMILIES)
def test_mini_knows_right_answers_from_wrong_ones(family):
    task = _mini(family)
    examples = families.generate(family, "normal", 40, seed=5)
    contract = task.contract
    others = [examples[-1], *examples[:-1]]
    rows = [(e.question, answers.write(e.answer, contract)) for e in examples]
    mixed = [
        (e.question, answers.write(other.answer, contract))
        for e, other in zip(examples, others, strict=True)
    ]
    assert correctness.mini(task, rows) == [True] * len(rows)
    assert correctness.mini(task, mixed) == [
        e.answer == other.answer for e, other in zip(examples, others, strict=True)
    ]
    if contract != "plain":
        other_contract = faults.OTHER_CONTRACT[contract]
        rows = [(e.question, answers.write(e.answer, other_contract)) for e in examples]
    else:
        rows = [(e.question, f"The answer is {e.answer}.") for e in examples]
    assert correctness.mini(task, rows) == [False] * len(rows)


def test_mini_leaves_what_is_not_its_own():
    task = _mini(families.FAMILIES["gcd"])
    rows = [
        ("gcd of 4 6", r"\boxed{2}"),
        ("gcd of 4 6", r"It is \boxed{2.0}, I think."),
        ("What is the gcd of 4 and 6?", r"\boxed{2}"),
        ("sort up: 2 1", r"\boxed{1 2}"),
        ("gcd of 4 6", ""),
    ]
    assert correctness.mini(task, rows) == [True, False, None, None, False]
    by_value = dataclasses.replace(task, metric="math")
    assert correctness.mini(by_value, rows) == [True, True, None, None, False]
    assert correctness.mini(_PLAIN, rows) == [None] * 5


def test_references_decide_by_the_metric():
    task = blank.task("math", contract="boxed", metric="math")
    rows = [
        ("q", r"So \boxed{(x-1)(x+1)}."),
        ("q", r"\boxed{0.5}"),
        ("q", r"\boxed{x + 1}"),
        ("q", r"\boxed{9^{9^{9^9}}}"),
        ("q", "x + 1"),
        ("q", r"\boxed{x + 1}"),
        ("q", r"\boxed{words and words}"),
    ]
    references = [
        *("x^2-1", r"\frac{1}{2}", "x + 2", "x + 1", "x + 1", None, "other words"),
    ]
    with Equivalence(workers=1, seconds=3.0) as equivalence:
        found = correctness.referenced(task, rows, references, equivalence=equivalence)
        assert found == [True, True, False, None, False, None, None]
        exact = dataclasses.replace(task, metric="exact_match")
        found = correctness.referenced(exact, rows, references, equivalence=equivalence)
        assert found == [False, False, False, False, False, None, False]


def test_unit_tests_decide_programs():
    task = blank.task("code", contract="code")
    tests = "assert double(4) == 8\n"
    rows = [
        ("q", "Here:\n```python\ndef double(x):\n    return 2 * x\n```\n"),
        ("q", "def double(x):\n    return x + 2"),
        ("q", "Use multiplication."),
        ("q", "def double(x):\n    return 2 * x"),
        ("q", "import os\nos._exit(0)"),
    ]
    with small.started() as sandbox:
        found = correctness.tested(
            task, rows, [tests, tests, tests, None, tests], sandbox=sandbox
        )
    assert found == [True, False, False, None, False]


@pytest.mark.parametrize(
    "answer, right",
    [
        ("48 / 2 = 24", True),
        ("48 / 2 = 25", False),
        ("She sold 48/2 = <<48/2=24>>24 clips.\n#### 24", True),
        ("She sold 48/2 = <<48/2=25>>25 clips.\n#### 25", False),
        ("First 2 + 2 = 4, then 4 * 3 = 13.", False),
        ("First 2 + 2 = 4, then some.", True),
        ("5 - 8 = -3", True),
        ("2 + 3 * 4 = 14", True),
        ("(2 + 3) * 4 = 20", True),
        ("That is (2 + 3 = 5).", True),
        ("That is (2 + 3 = 6).", False),
        ("8 - 4 - 2 = 2", True),
        ("16 / 4 / 2 = 2", True),
        ("2 * -3 = -6", True),
        ("200 - 16 = 180 + 4 = 184", True),
        ("200 - 16 = 180 + 4 = 185", False),
        ("0.1 + 0.2 = 0.3", True),  # exact, not as floats
        ("2 \u00d7 3 \u2212 1 = 5", True),
        ("2 x $3 = $6.00.", True),
        ("6 \u00f7 3 = 2", True),
        ("1,200 + 34 = 1,234", True),
        ("10 / 3 = 3.33", True),
        ("20 / 3 = 6.66", True),  # cut off
        ("20 / 3 = 6.67", True),
        ("20 / 3 = 6.68", False),
        ("20 / 3 = 8", False),
        ("1.87 * 9 = 16.830000000000002", True),
        ("50 / 200 = 25%", True),
        ("50 / 200 * 100 = 25%", True),
        ("50 / 200 = 24%", False),
        ("1 / 80 = 1.2%", True),
        ("3 * 1 / 80 = 2.5%", False),
        ("$2.50 - $2.24 = 26 cents", True),
        ("3/4 = 45 minutes", None),
        ("6 / 1/2 = 12", None),
        ("2 apples + 3 = 6", None),
        ("3 eggs + 20 / 5 = 7", None),
        ("x + 3 = 6", None),
        ("2x + 3 = 6", None),
        ("2 + 3x = 6", None),
        ("2 * 2 = 5S", None),
        ("S = 847 / 7 = 121", True),
        ("7 * 2S = 4S", None),
        ("5 = 6", None),
        ("1 / 0 = 1", None),
        ("2 + 2 == 5", None),
        ("2 + 2 <= 5", None),
        ("1 1/2 + 1 = 9", None),
        ("2 + (3 = 6", None),
        ("17 / 3 = 5 times", None),
        ("17 / 3 = 4 times", False),
        ("48 / 2 = 24.5", False),
        ("2 + = 6", None),
        ("<<>> = <<=>>", None),
        ("2 + 2 = " + "9" * 200, None),
        ("1 + " * 60 + "1 = 3", None),
        ("at 6:00+48 = 6:48 PM", None),
        ("$2,430 \u2013 ($1,250 + $850) = $330", True),
        ("no numbers", None),
        ("", None),
    ],
)
def test_stated_arithmetic_has_to_hold(answer, right):
    assert correctness.arithmetic(_PLAIN, [("1 + 1 = 3", answer)]) == [right]


@settings(max_examples=200, deadline=None)
@given(
    numbers=st.lists(st.integers(1, 999), min_size=2, max_size=6),
    signs=st.lists(st.sampled_from("+-*"), min_size=5, max_size=5),
    error=st.integers(-3, 3),
)
def test_sums_are_right_as_python_says(numbers, signs, error):
    side = str(numbers[0])
    for sign, number in zip(signs, numbers[1:], strict=False):
        side += f" {sign} {number}"
    text = f"He has {side} = {eval(side) + error} now."
    assert correctness.arithmetic(_PLAIN, [("", text)]) == [error == 0]


_PIECES = [
    *("=", " = ", "+", "-", "*", "/", "(", ")", "<<", ">>", "%", "$", ".", ",", " x "),
    *("1", "2.5", "1,000", "0", " ", "\n", "a", "\u0663", "\ud800", "#### "),
]


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.lists(st.sampled_from(_PIECES)).map("".join))
def test_no_text_makes_it_raise(text):
    row = (text, text)
    assert correctness.arithmetic(_PLAIN, [row])[0] in (True, False, None)
    task = _mini(families.FAMILIES["chain_sum"])
    assert correctness.mini(task, [row])[0] in (True, False, None)


@pytest.mark.parametrize(
    "text",
    [
        "=" * 50_000,
        "1=" * 25_000,
        "1 + 1 = " * 6_000,
        "<<" * 25_000,
        "(" * 50_000 + " = 1",
        "- " * 25_000 + "1 = 1",
        (" 1" * 40 + "a=") * 600,
        "1*" * 25_000 + "1 = 1",
    ],
    ids=range(8),
)
def test_huge_texts_take_linear_time(text):
    start = time.process_time()
    correctness.arithmetic(_PLAIN, [("", text)])
    assert time.process_time() - start < 4.0


def test_gsm8k_states_arithmetic_that_holds():
    path = pathlib.Path(os.environ.get("DATACHEF_DATA", "")) / "gsm8k" / "train.jsonl"
    if not path.is_file():
        pytest.skip("no gsm8k/train.jsonl: set DATACHEF_DATA to the folder it is in")
    lines = path.read_text().splitlines()[::4]
    read = [json.loads(line)["answer"] for line in lines]
    bare = [re.sub("<<.*?>>", "", answer) for answer in read]
    for texts, least in ((read, 0.97), (bare, 0.8)):
        found = correctness.arithmetic(_PLAIN, [("", text) for text in texts])
        assert 1 - found.count(None) / len(found) > least
        # Most of these are errors indeed, such as "14*20=140".
        assert found.count(False) / len(found) < 0.005
    # An error in any statement is found, where all statements are marks.
    wrong = [re.sub(r"=(\d+)>>", r"=1\1>>", answer, count=1) for answer in read]
    changed = [i for i in range(len(read)) if wrong[i] != read[i]]
    found = correctness.arithmetic(_PLAIN, [("", wrong[i]) for i in changed])
    assert len(changed) > 1700 and found.count(False) / len(found) > 0.98
