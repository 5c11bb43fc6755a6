"""Tests for datachef_jax/verifier/baselines/perplexity.py."""

import math

import numpy as np
import pytest

from datachef_jax.verifier.baselines import perplexity
from tests.verifier.baselines.conftest import PAIRS


@pytest.fixture
def make(client, words):
    def make(max_tokens=256):
        return perplexity.Perplexity(
            client=client, tokenizer=words, max_tokens=max_tokens
        )

    return make


def _row(words, question, answer):
    """Returns a row's ids, and where its answer begins, written out by hand."""
    special = words._tokenizer.convert_tokens_to_ids
    start, end = special(["<|im_start|>", "<|im_end|>"])
    before = [start, *words.encode("user\n" + question), end, *words.encode("\n")]
    before += [start, *words.encode("assistant\n")]
    return before + words.encode(answer) + [end], len(before)


def _expected(logprobs, rows):
    """Returns each answer's mean surprise, token by token."""
    found = []
    for (ids, first), table in zip(rows, logprobs([ids for ids, _ in rows])):
        nats = [-table[t - 1, ids[t]] for t in range(first, len(ids))]
        found.append(sum(nats) / len(nats) if nats else math.nan)
    return np.array(found)


def test_equals_the_models_own_scores_in_float64(make, words, logprobs):
    rated = make().rate(PAIRS)
    expected = _expected(logprobs, [_row(words, *pair) for pair in PAIRS])
    np.testing.assert_allclose(rated.nll, expected, rtol=1e-5)
    assert expected.std() > 0.1  # a model without preferences would prove nothing
    assert rated.cut == 0
    score = math.prod(np.exp(expected)) ** (1 / len(PAIRS))
    assert make().measure(PAIRS) == pytest.approx(score, rel=1e-5)


def test_a_long_row_is_read_as_far_as_it_goes(make, words, logprobs):
    pairs = [*PAIRS[:2], ("ab", "z" * 60), ("q" * 60, "a")]
    rows = [_row(words, *pair) for pair in pairs]
    limit = len(rows[0][0])  # the first two rows fit exactly, or a question of 60 none
    rated = make(limit).rate(pairs)
    expected = _expected(logprobs, [(ids[:limit], first) for ids, first in rows])
    np.testing.assert_allclose(rated.nll, expected, rtol=1e-5)
    assert np.isnan(rated.nll).tolist() == [False, False, False, True]
    assert rated.cut == 2


def test_the_score_is_the_geometric_mean_of_what_was_read():
    def score(*nll):
        return perplexity.Surprise(nll=np.array(nll, np.float64), cut=0).score

    assert score(1.0, 3.0, math.nan) == pytest.approx(math.e**2)
    assert score(0.0) == 1.0
    assert math.isnan(score()) and math.isnan(score(math.nan))


def test_equal_rows_are_read_once(make, client):
    rated = make().rate(PAIRS[:2] * 5)
    assert len(client.asked) == 2
    assert (rated.nll == np.tile(rated.nll[:2], 5)).all()


def test_no_rows_have_no_perplexity(make, client):
    assert math.isnan(make().measure([])) and not client.asked


def test_a_limit_that_no_row_keeps_is_refused(make, words):
    least = len(_row(words, "", "")[0])
    assert make(least).rate([("", "")]).cut == 0
    with pytest.raises(ValueError, match=f"at least {least}, got {least - 1}"):
        make(least - 1)
