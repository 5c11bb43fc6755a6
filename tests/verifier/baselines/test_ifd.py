"""Tests for datachef_jax/verifier/baselines/ifd.py."""

import math

import numpy as np
import pytest

from datachef_jax.sampling.request import Part
from datachef_jax.sampling.request import Scores
from datachef_jax.serving import client as clients
from datachef_jax.verifier.baselines import ifd
from tests.verifier.baselines.conftest import PAIRS


def _ids(words, text):
    """Returns the ids of a text whose ChatML markers are markers."""
    return words._tokenizer.encode(text, add_special_tokens=False)


def _mean(table, ids, first):
    return -np.mean([table[t - 1, ids[t]] for t in range(first, len(ids))])


def _expected(words, logprobs, pairs, limit):
    """Returns nll(answer | question) / nll(answer) of rows without markers."""
    turn = "<|im_start|>assistant\n"
    ratios = []
    for question, answer in pairs:
        before = _ids(words, f"<|im_start|>user\n{question}<|im_end|>\n{turn}")
        body = _ids(words, f"{answer}<|im_end|>")[: limit - len(before)]
        free = _ids(words, turn)
        given_table, free_table = logprobs([before + body, free + body])
        given = _mean(given_table, before + body, len(before))
        ratios.append(given / _mean(free_table, free + body, len(free)))
    return np.array(ratios)


@pytest.mark.parametrize("limit", [256, 40])
def test_equals_the_models_own_scores_in_float64(client, words, logprobs, limit):
    # The second limit cuts the answer of the last row alone.
    pairs = [*PAIRS[:4], ("go on", "one two three four")]
    measure = ifd.Ifd(client=client, tokenizer=words, max_tokens=limit)
    rated = measure.rate(pairs)
    expected = _expected(words, logprobs, pairs, limit)
    np.testing.assert_allclose(rated.ratio, expected, rtol=1e-5)
    assert expected.min() < 1.0 < expected.max()  # some questions help, some mislead
    assert rated.excluded == (expected > 1.0).sum()
    assert rated.cut == (limit < 256)
    assert measure.measure(pairs) == pytest.approx(expected[expected <= 1].mean())


def test_rows_above_one_are_left_out():
    ratio = np.array([0.5, 0.7, 1.2, math.nan, math.inf, 1.0])
    rated = ifd.Difficulty(ratio=ratio, cut=0)
    assert rated.excluded == 2
    assert rated.score == pytest.approx((0.5 + 0.7 + 1.0) / 3)
    assert math.isnan(ifd.Difficulty(ratio=ratio[2:5], cut=0).score)


def test_a_question_that_is_no_longer_there_gives_no_ratio(client, words):
    measure = ifd.Ifd(client=client, tokenizer=words, max_tokens=50)
    rated = measure.rate([("q" * 60, "a"), PAIRS[1]])
    assert np.isnan(rated.ratio).tolist() == [True, False] and rated.cut == 1
    assert rated.score == rated.ratio[1] < 1.0


class _Sure(clients.Client):
    """Is certain of every token, unless the prompt holds the token `doubt`."""

    def __init__(self, doubt):
        self.doubt = doubt

    def serve(self, requests):
        for i, request in enumerate(requests):
            nats = -1.0 if self.doubt in request.prompt else 0.0
            scores = Scores(prompt=(nats,) * (len(request.prompt) - 1))
            yield i, Part(request=i, sample=None, scores=scores, last=True)


def test_certain_answers_are_neither_helped_nor_hurt(words):
    (doubt,) = words.encode("?")
    measure = ifd.Ifd(client=_Sure(doubt), tokenizer=words, max_tokens=256)
    rated = measure.rate([("sure", "yes"), ("sure?", "yes"), ("a", "really?")])
    assert rated.ratio.tolist() == [1.0, math.inf, 1.0]
    assert rated.score == 1.0 and rated.excluded == 1
    assert math.isnan(measure.measure([]))


def test_a_limit_that_no_row_keeps_is_refused(client, words):
    with pytest.raises(ValueError, match="max_tokens must be at least .*, got 5"):
        ifd.Ifd(client=client, tokenizer=words, max_tokens=5)
