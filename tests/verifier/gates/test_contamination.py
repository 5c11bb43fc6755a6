"""Tests for datachef_jax/verifier/gates/contamination.py."""

import json
import os
import pathlib
import time

import numpy as np
import pytest

from datachef_jax import types
from datachef_jax.tasks.mini import families
from datachef_jax.tasks.mini import faults
from datachef_jax.verifier.gates import contamination

_ROOT = pathlib.Path(__file__).resolve().parents[3]
_DATA = pathlib.Path(os.environ.get("DATACHEF_DATA", _ROOT.parent / "shared" / "data"))

_LONG = (
    "A farmer has 12 red hens and 7 grey geese; each hen lays 5 eggs a week, so how "
    "many eggs does he gather in March?"
)


def _index(*questions):
    return contamination.Contamination(
        tuple(types.Example(question=q, answer="1") for q in questions)
    )


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Sum:  12+3.5 = X_1", ("sum", ":", "12", "+", "3.5", "=", "x", "_", "1")),
        ("ＡＢ　１２", ("ab", "12")),
        ("成语填空3", ("成", "语", "填", "空", "3")),
        ("Ends at 7.", ("ends", "at", "7", ".")),
        (" \n\t", ()),
    ],
)
def test_normalise(text, tokens):
    assert contamination.normalise(text) == tokens


@pytest.mark.parametrize(
    "question",
    [
        "compute 7 + 3 =",
        "Compute  7+3=",
        "Q: compute 7 + 3 =",
        "compute 7 + 3 =  Answer:",
        "7 + 3 =",  # a whole benchmark question of its own
        "1. 7 + 3 = ?",
    ],
)
def test_finds_a_short_question_alone_or_contained(question):
    assert _index("compute 7 + 3 =", "7 + 3 =").holds(question)


@pytest.mark.parametrize(
    "question",
    [
        "compute 7 + 3 + 2 =",  # as tokens it does not contain "7 + 3 ="
        "17 + 3 =",
        "7 + 31 =",
        "2 * 7 + 3 =",  # contains it, but as a part of another sum
        "sort up: 3 17 40 55",
        "insert: A B C D E F",
        "what is a gcd?",
        "",
    ],
)
def test_lets_another_question_pass(question):
    index = _index("7 + 3 =", "sort up: 3 17 40", "insert: A B C D E", "gcd?")
    assert not index.holds(question)


def test_a_short_question_is_equal_but_never_contained():
    index = _index("2 + 2")
    assert index.holds("2+2")
    assert not index.holds("What is 2 + 2 times a hundred?")


def test_finds_thirteen_tokens_of_a_long_question_and_not_twelve():
    words = contamination.normalise(_LONG)
    for start in range(len(words) - 12):
        quote = " ".join(words[start : start + 13])
        assert _index(_LONG).holds(f"Elsewhere {quote} perhaps")
    for start in range(len(words) - 11):
        quote = " ".join(words[start : start + 12])
        assert not _index(_LONG).holds(f"Elsewhere {quote} perhaps")


def test_what_several_benchmark_questions_share_is_boilerplate():
    shared = "Give the smallest of the numbers that are written in this line:"
    benchmark = [f"{shared} {n} {n + 1} {n + 2}" for n in (10, 20, 30)]
    row = f"{shared} 10 11 99"
    assert not _index(*benchmark).holds(row)
    assert _index(*benchmark[:2]).holds(row)  # two may agree by chance
    assert _index(*benchmark).holds(benchmark[1])


def test_grids_of_few_digits_agree_by_chance():
    grid = "fill: 1 2 3 4 / 3 4 1 2 / 2 1 4 3 / 4 3 2 1"
    other = "fill: 0 2 3 4 / 3 4 1 2 / 2 1 4 3 / 4 3 2 1"
    assert not _index(grid).holds(other)
    assert _index(grid).holds(f"{grid} Go.")


def test_overlapping_questions_are_all_found():
    index = _index("b c d e", "x a b c d y", "c d e f")
    assert index.holds("x a b c d y")
    # The run falls back from "x a b c d" to "b c d" without reading anything twice.
    tokens = contamination.normalise("x a b c d e f")
    assert set(index._contained.spans(tokens)) == {(2, 6), (3, 7)}


def test_an_empty_benchmark_and_empty_questions_hold_nothing():
    assert not _index().holds("anything at all, you know")
    assert not _index("", "  ").holds("")


def test_time_is_linear_in_the_row():
    index = _index(*("a " * n + "b" for n in range(4, 200)))

    def seconds(words):
        times = []
        for _ in range(3):
            start = time.process_time()
            index.holds("a " * words)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(32_000) < 80 * seconds(2_000)  # linear: 16, quadratic: 256


def test_it_says_how():
    others = ("What is a fact?", "Sum up 1 and 2.", "What is it?")
    index = _index(_LONG, "compute 7 + 3 =", *others)
    words = contamination.normalise(_LONG)
    reworded = (
        "In March, how many eggs will Bruno collect? Bruno, who is a farmer, owns 7 "
        "grey geese and 12 red hens, and each hen lays 5 eggs a week."
    )
    for question, how in (
        (_LONG.upper(), "equal"),
        ("Please: compute 7 + 3 = ?", "contained"),
        (f"One asks: {' '.join(words[4:19])} then", "quoted"),
        (reworded, "reworded"),
        (reworded.replace("7", "8"), ""),
        ("What is a hen?", ""),
    ):
        assert index.how(question) == how, question
        assert index.holds(question) == (how != "")


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_formulaic_benchmark_spares_the_other_questions_of_its_family(name):
    family = families.FAMILIES[name]
    benchmark = families.generate(family, "normal", 150, seed=1)
    asked = {example.question for example in benchmark}
    index = contamination.Contamination(benchmark)
    for level in ("normal", "easier", "harder"):
        others = families.generate(family, level, 300, seed=5, exclude=asked)
        held = [e.question for e in others if index.holds(e.question)]
        assert len(others) > 100 and not held
    leaked = faults.leaked(benchmark, family.contract, np.random.default_rng(0))
    assert all(index.holds(cell.question) for cell in leaked)


def _gsm8k(name):
    path = _DATA / "gsm8k" / name
    if not path.exists():
        pytest.skip(f"{path} is missing; DATACHEF_DATA names the folder of real data")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_on_gsm8k_it_catches_the_copies_and_spares_the_training_split():
    index = _index(*(row["question"] for row in _gsm8k("test.jsonl")))
    leaked = _gsm8k("example_model_solutions.jsonl")
    copies = [index.holds(row["question"]) for row in leaked]
    assert sum(copies) >= 0.99 * len(copies)
    clean = [index.holds(row["question"]) for row in _gsm8k("train.jsonl")]
    assert sum(clean) < 0.01 * len(clean)
