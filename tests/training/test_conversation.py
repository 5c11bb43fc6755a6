"""Recipes in several answers: their tokens, and what an update makes of them."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax import types
from datachef_jax.recipes.turns import Turns
from datachef_jax.rl import logprobs
from datachef_jax.training import batching
from datachef_jax.training.conversation import Conversation
from datachef_jax.training.conversation import join
from tests import blank
from tests.training import scripted

_TOKENIZER = scripted.TOKENIZER
_ROOM = 120  # a question takes 47 tokens of the tests' tokenizer, and more
_NO_ROWS = types.Dataset(rows=())


def _conversation(retries, max_new_tokens=_ROOM, **turns):
    given = dict(apart=False, error_chars=9, scripts_request="") | turns
    return Conversation(
        Turns(retries=retries, **given), _TOKENIZER, max_new_tokens=max_new_tokens
    )


def _said(text, version=0, ended="end"):
    tokens = (*_TOKENIZER.encode(text), _TOKENIZER.end_id)
    return types.Completion(
        tokens=tokens,
        logprobs=(-1.0,) * len(tokens),
        raw_logprobs=(-2.0,) * len(tokens),
        versions=(version,) * len(tokens),
        ended=ended,
    )


def test_what_is_told_reads_as_a_chat_does():
    """Prompt, answers and what is told are the ids of one chat of the tokenizer."""
    failed = types.Execution(kind="oom", log="", dataset=_NO_ROWS)
    one = _conversation(1)
    told = one.reply(_said("a"), failed)
    both = join(_said("a", 3), told, _said("b", 4))
    asked = [{"role": "user", "content": "q"}]
    prompt = _TOKENIZER.chat(asked, generation_prompt=True)
    text = one._turns.reply(["a"], failed)
    chat = asked + [
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": text},
        {"role": "assistant", "content": "b"},
    ]
    whole = _TOKENIZER.chat(chat, generation_prompt=False)
    assert [*prompt, *both.tokens] == whole[: -len(_TOKENIZER.encode("\n"))]
    assert both.told == ((2, 2 + len(told)),)
    own = [i for i in range(len(both.tokens)) if not 2 <= i < 2 + len(told)]
    assert [both.tokens[i] for i in own] == [*_said("a").tokens, *_said("b").tokens]
    assert {both.logprobs[i] for i in own} == {-1.0}
    assert set(both.logprobs[2 : 2 + len(told)]) == {0.0}
    assert set(both.raw_logprobs[2 : 2 + len(told)]) == {0.0}
    assert (both.versions[0], both.versions[-1]) == (3, 4)
    assert len(both.versions) == len(both.logprobs) == len(both.tokens)
    spoken = one.spoken(both)
    assert (spoken[0], spoken[2], one.recipe(both)) == ("a", "b", "b")
    assert text in spoken[1]
    assert one.reply(both, failed) == []


def test_nobody_is_told_anything_without_room_for_an_answer_or_an_end():
    failed = types.Execution(kind="oom", log="", dataset=_NO_ROWS)
    told = len(_conversation(1, 10**6).reply(_said("a"), failed))
    assert len(_conversation(1, told + 3).reply(_said("a"), failed)) == told
    assert _conversation(1, told + 2).reply(_said("a"), failed) == []
    assert _conversation(1, 10**6).reply(_said("a", ended="length"), failed) == []
    with pytest.raises(ValueError, match="asking for scripts takes .* of the 9 that"):
        _conversation(0, 9, apart=True, scripts_request="Scripts!")


def test_an_update_sees_what_was_told_and_learns_nothing_of_it():
    """Log-probabilities of each answer, with all that stands before it as a prompt."""
    graphdef, params = scripted.policy()
    told = _TOKENIZER.encode("no.")
    whole = join(join(_said("ab"), told, _said("c")), told, _said("de"))
    prompt = _TOKENIZER.encode("q:")
    time = len(prompt) + len(whole.tokens) + 3
    batch = batching.assemble(
        [prompt], [whole], np.ones((1, 1), bool), time=time, pad_id=_TOKENIZER.pad_id
    )
    row = [*prompt, *whole.tokens]
    own = np.asarray(batch.completion_mask)[0]
    assert own.sum() == len(whole.tokens) - 2 * len(told)
    assert set(np.asarray(batch.behavior_logprobs)[0][~own]) == {0.0}
    score = functools.partial(
        logprobs.completion_logprobs, graphdef, params, temperature=1.0
    )
    got, _ = score(batch.tokens, batch.completion_mask, max_new_tokens=time)
    for start, end in [(0, 3), (6, 8), (11, 14)]:
        start, end = len(prompt) + start, len(prompt) + end
        alone = np.zeros((1, end), bool)
        alone[0, start:] = True
        tokens = jnp.asarray([row[:end]])
        expected, _ = score(tokens, jnp.asarray(alone), max_new_tokens=end - start)
        np.testing.assert_allclose(got[0, start:end], expected[0, start:end], atol=1e-5)
        assert own[start:end].all()


def _moody(asked, texts, seeds):
    """Fails whatever has an odd number of characters."""
    ended = scripted.execute(asked, texts, seeds)
    failed = types.Execution(kind="runtime_error", log="odd", dataset=_NO_ROWS)
    return [
        failed if len(text) % 2 else one for text, one in zip(texts, ended, strict=True)
    ]


def _brief(sample):
    """Takes nine tokens for an answer: the tiny model hardly ever ends one."""

    def ended(completion):
        return dataclasses.replace(completion, ended="end")

    def cut(params, version, prompts, seeds, limits, ready):
        brief = [min(limit, 9) for limit in limits]
        told = lambda place, completion: ready(place, ended(completion))
        done = sample(params, version, prompts, seeds, brief, told)
        return [ended(completion) for completion in done]

    return cut


def test_a_step_of_several_answers_learns_and_can_go_on(tmp_path):
    """A real model fails, is told so, and answers again; nothing is sampled twice."""
    room = 240
    stages = scripted.parts(room)[1]
    stages = dataclasses.replace(
        stages,
        conversation=_conversation(2, room),
        sample=_brief(stages.sample),
        execute=_moody,
    )
    run = functools.partial(
        scripted.train_step(stages), row_tokens=scripted.BUCKET + room
    )
    asked = [blank.task("a"), blank.task("b")]
    pause, kept = scripted.quietly(tmp_path)
    state, record = run(scripted.start(), lambda: asked, pause, kept)
    assert record.metrics["policy/mismatch"] < 1e-4
    again = [rollout for rollout in record.rollouts if rollout.spoken]
    assert record.metrics["length/answers"] > 1 and again
    for rollout in again:
        assert rollout.completion == rollout.spoken[-1]
        assert "ended with runtime_error" in rollout.spoken[1]
        for answer in rollout.spoken[:-1:2]:
            assert len(answer) % 2 or not any(map(scripted._letter, answer))

    def never(*_):
        raise AssertionError("sampled again")

    resumed = functools.partial(
        scripted.train_step(dataclasses.replace(stages, sample=never)),
        row_tokens=scripted.BUCKET + room,
    )
    after, repeated = resumed(scripted.start(), lambda: asked, pause, kept)
    assert repeated.metrics == record.metrics
    assert after.step == state.step
