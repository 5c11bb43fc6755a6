"""Tests for datachef_jax/serving/client.py."""

import numpy as np
import pytest

from datachef_jax.serving import client
from tests.models.qwen3 import tiny as tiny_qwen3

_TEXTS = (
    "a prompt of more than one page, which another begins like",
    "a prompt of more than one page, which another begins like, too",
    "short",
    "x",
    "a prompt of more than one page, which another begins like",
)


@pytest.fixture(scope="module")
def prompts(words):
    return [words.encode(text) for text in _TEXTS]


@pytest.fixture(scope="module")
def direct(make_engine, models):
    return client.Direct(make_engine(), models[2], version=0)


@pytest.fixture(scope="module")
def expected(models, prompts):
    """Returns what a forward pass says, in float64 from its scores on."""
    _, config, params, _ = models
    model = tiny_qwen3.make(config)
    tokens = np.zeros((len(prompts), 64), np.int32)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    scores = np.asarray(tiny_qwen3.logits(model, tokens), np.float64)
    largest = scores.max(-1, keepdims=True)
    logprobs = scores - largest - np.log(np.exp(scores - largest).sum(-1))[..., None]
    return [
        np.array([logprobs[i, t - 1, prompt[t]] for t in range(1, len(prompt))])
        for i, prompt in enumerate(prompts)
    ]


def test_prompt_logprobs_are_those_of_a_forward_pass(direct, prompts, expected):
    got = direct.prompt_logprobs(prompts)
    assert [len(row) for row in got] == [len(prompt) - 1 for prompt in prompts]
    for row, wanted in zip(got, expected, strict=True):
        np.testing.assert_allclose(row, wanted, atol=1e-4)


def test_prompt_logprobs_keep_the_order_and_tell_of_each(direct, prompts):
    told = []
    got = direct.prompt_logprobs(prompts, ready=told.append)
    assert sorted(told) == list(range(len(prompts)))
    back = direct.prompt_logprobs(prompts[::-1])[::-1]
    assert all((a == b).all() for a, b in zip(got, back, strict=True))
    assert direct.prompt_logprobs([]) == []


def test_prompt_logprobs_through_a_scheduler_are_the_same(start, direct, prompts):
    scheduled = start().client("model", priority=0)
    for a, b in zip(
        scheduled.prompt_logprobs(prompts), direct.prompt_logprobs(prompts), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_prompt_that_does_not_fit_is_named(direct, prompts):
    with pytest.raises(ValueError, match="prompt 1: the prompt has 0 tokens"):
        direct.prompt_logprobs([prompts[0], []])
    with pytest.raises(ValueError, match="prompt 2: the prompt has 200 tokens"):
        direct.prompt_logprobs([prompts[0], prompts[1], [5] * 200])
