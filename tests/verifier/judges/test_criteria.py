"""Tests for datachef_jax/verifier/judges/criteria.py."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.verifier import rubric
from datachef_jax.verifier.judges.criteria import CriteriaJudge
from datachef_jax.verifier.judges.prompting import Prompter
from tests import engines

_STYLE = rubric.RubricStyle(name="full", max_chars=40)
_ROWS = [("sort up: 3 1", "1 3"), ("sort up: 3 2", "2 3"), ("x", "y")]
_LONGEST = 1400


@pytest.fixture(scope="module")
def client(model, chat_tokenizer):
    """Returns a client of an engine that reads."""
    graphdef, params = nnx.split(model, nnx.Param)
    return engines.client(
        graphdef,
        params,
        end_id=chat_tokenizer.end_id,
        rows=0,
        group=1,
        max_prompt=_LONGEST,
        max_new_tokens=0,
        page_size=64,
        candidates=2,
    )


@pytest.fixture(scope="module")
def make(client, chat_tokenizer):
    """Returns a function of min_mass that makes judges, all with one engine."""
    prompter = Prompter(
        tokenizer=chat_tokenizer, style=_STYLE, max_prompt_tokens=_LONGEST
    )
    return lambda min_mass: CriteriaJudge(client, prompter, min_mass=min_mass)


def _grade(judge, items, progress=lambda count: None):
    return judge.grade(items, range(len(items)), progress=progress)


@pytest.fixture(scope="module")
def items(task):
    return [(task, *row) for row in _ROWS]


def test_the_grade_follows_from_forward_passes(make, items, model, chat_tokenizer):
    forward = jax.jit(lambda model, *rows: model.logits(model(*rows)))
    steps = jnp.arange(_LONGEST)[None]
    replies = [chat_tokenizer.encode(reply)[0] for reply in "YN"]
    for item, grade in zip(items, _grade(make(1e-9), items), strict=True):
        passes, masses = [], []
        for letter in "ABCD":
            chat = rubric.check(*item, grade=letter, style=_STYLE)
            prompt = chat_tokenizer.chat(chat, generation_prompt=True)
            tokens = jnp.array([prompt + [0] * (_LONGEST - len(prompt))])
            logits = forward(model, tokens, steps, (steps < len(prompt)).astype(int))
            likely = np.array(jax.nn.softmax(logits[0, len(prompt) - 1]))[replies]
            passes.append(likely[0] / likely.sum())
            masses.append(likely.sum())
        a, b, c, d = passes
        expected = [
            1 - a, a * (1 - b), a * b * (1 - c), a * b * c * (1 - d), a * b * c * d
        ]  # fmt: skip
        np.testing.assert_allclose(grade.probabilities, expected, rtol=1e-4)
        np.testing.assert_allclose(grade.mass, min(masses), rtol=1e-4)
        np.testing.assert_allclose(
            grade.score, 0.4 * expected[3] + expected[4], rtol=1e-4
        )


def test_copies_are_read_once_and_all_counted(make, items):
    counts = []
    grades = _grade(make(1e-9), items[:2] * 3, counts.append)
    assert counts == [3, 3]
    assert len({grade.score for grade in grades}) == 2
    assert grades[0].score == _grade(make(1e-9), items[:1])[0].score


def test_a_judge_that_says_neither_is_unreadable(make, items):
    grades = _grade(make(0.9), items)
    assert all((g.letter, g.score) == ("", 0.0) and 0 < g.mass < 0.9 for g in grades)


def test_a_compact_prompt_has_no_checks(client, chat_tokenizer, style):
    prompter = Prompter(tokenizer=chat_tokenizer, style=style, max_prompt_tokens=64)
    with pytest.raises(ValueError, match="'full', got 'compact'"):
        CriteriaJudge(client, prompter, min_mass=0.5)
