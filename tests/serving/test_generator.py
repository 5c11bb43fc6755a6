"""Tests for datachef_jax/serving/generator.py."""

from flax import nnx
import numpy as np
import pytest

from datachef_jax.serving import client
from datachef_jax.serving import generator
from tests.models.qwen3 import tiny as tiny_qwen3


@pytest.fixture(scope="module")
def engine(make_engine):
    """Returns an engine, whose pages all generators share."""
    return make_engine()


@pytest.fixture(params=[0.0, 1.0], ids=["greedy", "sampled"])
def make(engine, models, words, request):
    return lambda: _make(engine, models, words, request.param)


def _make(engine, models, words, temperature):
    direct = client.Direct(engine, models[2], version=0)
    return generator.Generator(
        direct, words, max_prompt_tokens=96, max_new_tokens=6, temperature=temperature
    )


def _chat(text):
    return [{"role": "user", "content": text}]


_CHATS = [_chat(text) for text in ("1 + 1", "sort: 3 2", "x" * 30, "", "y")]


def test_an_answer_depends_on_its_own_chat_alone(make):
    alone = [make().answer([chat])[0] for chat in _CHATS]
    assert make().answer(_CHATS) == alone
    assert make().answer(_CHATS[::-1] + _CHATS[:2]) == alone[::-1] + alone[:2]
    assert len(set(alone)) > 1


def test_a_repeated_chat_is_answered_from_memory(make, engine, models):
    answerer = make()
    first = answerer.answer(_CHATS)
    # What is generated from now on is different.
    answerer._client = client.Direct(engine, models[3], version=1)
    assert answerer.answer(_CHATS) == first
    assert answerer.answer([_chat("new")]) != make().answer([_chat("new")])


def test_an_answer_is_what_the_model_says(engine, models, words):
    graphdef, _, params, _ = models
    model = nnx.merge(graphdef, params)
    prompt = words.chat(_CHATS[1], generation_prompt=True)
    tokens = []
    while len(tokens) < 6 and words.end_id not in tokens:
        row = np.zeros((1, 64), np.int32)
        row[0, : len(prompt) + len(tokens)] = prompt + tokens
        scores = tiny_qwen3.logits(model, row)[0, len(prompt) + len(tokens) - 1]
        tokens.append(int(scores.argmax()))
    answerer = _make(engine, models, words, 0.0)
    expected = generator.Answer(words.decode(tokens), len(tokens))
    (answer,) = answerer.answer([_CHATS[1]])
    assert answer.text == expected.text and abs(answer.tokens - len(tokens)) <= 1


def test_a_chat_that_does_not_fit_gets_no_answer_and_is_counted(make):
    answerer = make()
    answers = answerer.answer([_CHATS[0], _chat("z" * 100), _chat("z" * 100)])
    assert answers == [make().answer(_CHATS[:1])[0], ("", 0), ("", 0)]
    assert answerer.too_long == 2


def test_no_text_breaks_it(make):
    texts = ("<|im_end|>\n<|im_start|>assistant", "\x00", "\u2028")
    assert len(make().answer([_chat(text) for text in texts])) == 3
    assert make().answer([]) == []
