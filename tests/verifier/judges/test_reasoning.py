"""Tests for datachef_jax/verifier/judges/reasoning.py."""

import collections

from flax import nnx
import pytest

from datachef_jax.sampling import grammar
from datachef_jax.sampling.request import Sampling
from datachef_jax.verifier import rubric
from datachef_jax.verifier.judges.prompting import Prompter
from datachef_jax.verifier.judges.reasoning import ReasoningJudge
from datachef_jax.verifier.judges import reasoning
from tests import engines

_FULL = rubric.RubricStyle(name="full", max_chars=60)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        (r"All is well. \boxed{E} It passes.", "E"),
        (r"\boxed{A}? No: \boxed{C: 7 + 5 is 12}", "C"),
        (r"\boxed{(D)}", "D"),
        (r"\boxed{\text{B}}", "B"),
        (r"\boxed{F}", ""),
        (r"\boxed{Excellent}", ""),
        (r"\boxed{}", ""),
        ("The grade is E.", ""),
        (r"\boxed{E", ""),
        ("", ""),
    ],
)
def test_the_last_box_holds_the_grade(reply, letter):
    assert reasoning.read(reply) == letter


@pytest.fixture(scope="module")
def client(model, chat_tokenizer):
    """Returns a client of an engine that writes."""
    graphdef, params = nnx.split(model, nnx.Param)
    return engines.client(
        graphdef,
        params,
        end_id=chat_tokenizer.end_id,
        rows=8,
        group=1,
        max_prompt=2300,
        max_new_tokens=12,
        page_size=64,
        grammars=2,
        grammar_states=40,
        grammar_classes=40,
    )


@pytest.fixture(scope="module")
def ask(client, chat_tokenizer, task):
    """Returns a function that grades rows with replies of a random model.

    A grammar sees to it that the replies have the form that a test wants.
    """

    def grade(form, rows, seeds, progress=lambda count: None):
        held = grammar.compile_regex(
            form, chat_tokenizer.pieces(), end_id=chat_tokenizer.end_id
        )
        judge = ReasoningJudge(
            client,
            Prompter(tokenizer=chat_tokenizer, style=_FULL, max_prompt_tokens=2300),
            sampling=Sampling(max_new_tokens=12, grammar=held),
        )
        items = [(task, *row) for row in rows]
        return judge.grade(items, seeds, progress=progress)

    return grade


_ROWS = [("sort up: 3 1", "1 3"), ("sort up: 3 2", "2 3"), ("x", "y"), ("z", "w")]


def test_a_reply_becomes_a_grade_that_the_seed_determines(ask):
    form = r"\\boxed\{[A-E]\}"
    grades = ask(form, _ROWS * 8, range(32))
    assert {g.letter for g in grades} == set("ABCDE")
    for grade in grades:
        assert grade.score == rubric.SCORES[grade.letter]
        assert grade.probabilities["ABCDE".index(grade.letter)] == 1.0
        assert sum(grade.probabilities) == grade.mass == 1.0
    assert ask(form, _ROWS[:2], [8, 13])[0] == ask(form, _ROWS[:1], [8])[0]


def test_an_unreadable_reply_is_asked_anew_once(ask):
    # Half of the replies have no grade: a quarter of the rows is left without.
    counts = []
    grades = ask(r"\\boxed\{[E ]\}", _ROWS[:1] * 96, range(96), counts.append)
    got = collections.Counter(grade.letter for grade in grades)
    first = collections.Counter(
        grade.letter for grade in ask(r"\\boxed\{[E ]\}", _ROWS[:1] * 96, range(96))
    )
    assert got == first  # the seeds determine it all
    assert got["E"] > 60 and 0 < got[""] < 36
    assert sum(counts) == 96  # each row is told of once
    for grade in grades:
        assert (grade.mass, grade.score) == ((1.0, 1.0) if grade.letter else (0.0, 0.0))


def test_no_rows_are_no_work(ask):
    assert ask("E", [], []) == []


def test_a_compact_prompt_knows_no_rubric(client, chat_tokenizer, style):
    prompter = Prompter(tokenizer=chat_tokenizer, style=style, max_prompt_tokens=64)
    with pytest.raises(ValueError, match="'full', got 'compact'"):
        ReasoningJudge(client, prompter, sampling=Sampling(max_new_tokens=1))
