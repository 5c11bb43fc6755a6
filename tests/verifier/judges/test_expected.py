"""Tests for datachef_jax/verifier/judges/expected.py."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.text import tokenizer
from datachef_jax.verifier import rubric
from datachef_jax.verifier.judges import expected

_ROWS = (
    ("sort up: 3 1 2", '{"answer": "1 2 3"}'),
    ("sort up: 5 4 2", '{"answer": "2 4 5"}'),
    ("sort down: 5 4 2 and say why, in as many words as it takes", "no"),
    ("sort up: 6 1 2", "1 2 6"),
    ("x", "y"),
    ("sort up: 6 1 3", "1 3 6 of course, as everybody knows who can count to six"),
)


def _ignore(count):
    del count


@pytest.fixture(scope="module")
def judge(make_judge):
    return make_judge(min_mass=1e-6)


@pytest.fixture(scope="module")
def items(task):
    return [(task, question, answer) for question, answer in _ROWS]


def _grade(judge, items, seeds=None):
    return judge.grade(items, seeds or range(len(items)), progress=_ignore)


def test_probabilities_equal_a_forward_pass(judge, items, model, chat_tokenizer, style):
    candidates = [chat_tokenizer.encode(letter)[0] for letter in "ABCDE"]
    forward = jax.jit(lambda model, *rows: model.logits(model(*rows)))
    steps = jnp.arange(256)[None]
    for item, grade in zip(items, _grade(judge, items), strict=True):
        chat = rubric.messages(*item, style=style)
        prompt = chat_tokenizer.chat(chat, generation_prompt=True)
        tokens = jnp.array([prompt + [0] * (256 - len(prompt))])
        logits = forward(model, tokens, steps, (steps < len(prompt)).astype(int))
        likely = np.array(jax.nn.softmax(logits[0, len(prompt) - 1]))[candidates]
        expected = likely / likely.sum()
        np.testing.assert_allclose(grade.mass, likely.sum(), rtol=1e-4)
        np.testing.assert_allclose(grade.probabilities, expected, rtol=1e-4)
        np.testing.assert_allclose(
            grade.score, 0.4 * expected[3] + expected[4], rtol=1e-4
        )


def test_company_order_and_copies_change_no_bit(judge, items):
    alone = [_grade(judge, [item], [i])[0] for i, item in enumerate(items)]
    assert _grade(judge, items) == alone
    order = [4, 2, 2, 0, 5, 1, 3, 0]
    assert _grade(judge, [items[i] for i in order], order) == [alone[i] for i in order]


def test_copies_are_read_once_and_all_counted(make_judge, items):
    judge = make_judge(min_mass=1e-6)
    counts = []
    grades = judge.grade(items[:2] * 5, range(10), progress=counts.append)
    assert counts == [5, 5]
    assert len({grade.score for grade in grades}) == 2


def test_what_was_read_before_is_not_read_again(judge, items, monkeypatch):
    first = _grade(judge, items)
    asked = []
    score = judge._client.score
    monkeypatch.setattr(
        judge._client, "score", lambda prompts, *a, **k: asked.append(len(prompts))
        or score(prompts, *a, **k),
    )  # fmt: skip
    counts = []
    other = (items[0][0], "never seen", "before")
    again = judge.grade([*items, other], range(len(items) + 1), progress=counts.append)
    assert again[:-1] == first
    assert asked == [1] and sum(counts) == len(items) + 1
    for said in ("instruction", "benchmark", "benchmark_description"):
        other = dataclasses.replace(items[0][0], **{said: "Something else."})
        _grade(judge, [(other, *items[0][1:])])
    assert asked == [1, 1, 1, 1]  # the same row of other tasks


def test_what_is_remembered_is_bounded(make_judge, items, monkeypatch):
    monkeypatch.setattr(expected, "_REMEMBERED", 2)
    judge = make_judge(min_mass=1e-6)
    first = _grade(judge, items)
    assert len(judge._known) == 2
    assert _grade(judge, items) == first


def test_letters_are_drawn_by_the_seed_from_the_probabilities(judge, items):
    grades = _grade(judge, items[:1] * 2000)
    assert grades == _grade(judge, items[:1] * 2000)
    shares = [np.mean([g.letter == letter for g in grades]) for letter in "ABCDE"]
    np.testing.assert_allclose(shares, grades[0].probabilities, atol=0.05)


def test_a_judge_that_gives_no_grade_is_unreadable(make_judge, items):
    for grade in _grade(make_judge(min_mass=0.9), items):
        assert (grade.letter, grade.score, sum(grade.probabilities)) == ("", 0.0, 0.0)
        assert 0.0 < grade.mass < 0.9


def test_a_judge_of_nans_is_unreadable(make_judge, items, model):
    broken = jax.tree.map(lambda x: x * jnp.nan, nnx.state(model, nnx.Param))
    # In an engine of its own: what it leaves in the pages is no number.
    grades = _grade(make_judge(min_mass=0.0, params=broken, alone=True), items)
    assert all(grade.letter == "" for grade in grades)


def test_a_row_of_many_tokens_is_cut_to_fit(judge, items, task):
    rare = (task, "\U0001f9ee" * 60, "\ud800 \U0001f9ee" * 30)  # 4 bytes, 4 tokens each
    grade = _grade(judge, [items[0], rare])
    assert grade[1].letter
    assert grade[0] == _grade(judge, items[:1])[0]


def test_a_task_that_leaves_no_room_is_named(judge, task):
    wordy = dataclasses.replace(task, name="wordy", instruction="z" * 400)
    with pytest.raises(ValueError, match="task wordy.*max_prompt_tokens is 256"):
        _grade(judge, [(wordy, "q", "a")])


def test_no_rows_are_no_work(judge):
    assert judge.grade([], [], progress=_ignore) == []


def test_a_tokenizer_that_splits_grades_is_refused(make_judge, chat_tokenizer):
    class Stammering(tokenizer.ChatTokenizer):
        """Says everything twice."""

        def __init__(self):
            pass

        def encode(self, text):
            return chat_tokenizer.encode(text) * 2

    with pytest.raises(ValueError, match="grade 'A' must be one token"):
        make_judge(min_mass=0.5, tokenizer=Stammering())
