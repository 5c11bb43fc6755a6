"""Tests for datachef_jax/sampling/engine.py."""

import dataclasses

from flax import nnx
import jax
import numpy as np
import pytest

from datachef_jax.sampling import engine
from datachef_jax.sampling import grammar
from datachef_jax.sampling import shards
from datachef_jax.sampling import state
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from datachef_jax.serving import client
from tests.models.qwen3 import tiny

_END = 2
_STEPS = 24
_SIZES = state.Sizes(
    rows=16,
    prompts=16,
    group=8,
    pages=80,
    page_size=16,
    max_prompt=32,
    max_new_tokens=_STEPS,
    read_tokens=64,
    read_prompts=4,
    reads=2,
    stop_ids=2,
    candidates=3,
    grammars=1,
    grammar_states=4,
    grammar_classes=4,
)


@pytest.fixture(scope="module")
def parts():
    """Returns a model, its weights and an engine with 16 rows."""
    model = tiny.make()
    graphdef, params = nnx.split(model, nnx.Param)
    made = engine.Engine(graphdef, tiny.CONFIG, tiny.COMPUTE, _SIZES, end_id=_END)
    return model, params, made


def _client(parts):
    return client.Direct(parts[2], parts[1], version=0)


def _prompts(*lengths):
    rng = np.random.default_rng(0)
    return [rng.integers(3, 64, n).tolist() for n in lengths]


def _generate(
    parts, prompts, seeds, *, group_size=1, temperature=1.0, max_new_tokens=_STEPS
):
    _, params, made = parts
    return _client(parts).generate(
        prompts,
        group_size=group_size,
        seeds=np.asarray(seeds, np.uint32),
        sampling=Sampling(max_new_tokens=max_new_tokens, temperature=temperature),
    )


def _next(model, prompt, completion):
    """Returns logits [len(completion), vocab], one forward pass without cache."""
    # Padded, so that all lengths share one compiled program.
    row = np.zeros((1, 64), np.int32)
    row[0, : len(prompt) + len(completion)] = [*prompt, *completion]
    scores = tiny.logits(model, row)[0]
    return np.asarray(scores[len(prompt) - 1 : len(prompt) - 1 + len(completion)])


def _log_softmax(scores):
    return np.asarray(jax.nn.log_softmax(scores, axis=-1))


def test_a_request_yields_the_same_bits_alone_in_a_crowd_and_in_any_row(parts):
    # More than the rows: some wait.
    prompts = _prompts(9, 20, 16, 32, 1, 5)
    seeds = np.arange(24) * 977
    crowd = _generate(parts, prompts, seeds, group_size=4)
    for request in (0, 6, 13, 18, 23):
        prompt, seed = prompts[request // 4], seeds[request]
        assert _generate(parts, [prompt], [seed]) == [crowd[request]]
    backwards = _generate(parts, prompts[::-1], seeds[::-1], group_size=4)
    assert backwards == crowd[::-1]


@pytest.mark.parametrize("group_size", [3, 5, 16])  # 3 and 5 leave rows empty
def test_a_group_yields_what_its_members_would(parts, group_size):
    prompts = _prompts(12, 7)
    seeds = np.arange(2 * group_size)
    each = [prompt for prompt in prompts for _ in range(group_size)]
    grouped = _generate(parts, prompts, seeds, group_size=group_size)
    assert grouped == _generate(parts, each, seeds)


def test_logprobs_agree_with_a_full_forward_pass(parts):
    prompts = _prompts(10, 30)
    for temperature in (0.7, 1.0):
        done = _generate(
            parts, prompts, range(8), group_size=4, temperature=temperature
        )
        for i, completion in enumerate(done):
            prompt = prompts[i // 4]
            scores = _next(parts[0], prompt, completion.tokens) / temperature
            expected = _log_softmax(scores)
            chosen = expected[np.arange(len(expected)), completion.tokens]
            np.testing.assert_allclose(completion.logprobs, chosen, atol=1e-4)


def test_temperature_zero_follows_the_argmax(parts):
    prompts = _prompts(10, 30)
    done = _generate(parts, prompts, [1, 2], temperature=0.0)
    for prompt, completion in zip(prompts, done, strict=True):
        scores = _next(parts[0], prompt, completion.tokens)
        np.testing.assert_array_equal(scores.argmax(-1), completion.tokens)
        expected = _log_softmax(scores).max(-1)
        np.testing.assert_allclose(completion.logprobs, expected, atol=1e-4)


def test_first_tokens_follow_the_softmax(parts):
    prompt = _prompts(8)
    n = 1600
    many = prompt * (n // 16)
    done = _generate(parts, many, range(n), group_size=16, max_new_tokens=1)
    exact = np.exp(_log_softmax(_next(parts[0], prompt[0], [0])))[0]
    counts = np.bincount([c.tokens[0] for c in done], minlength=64)
    common = exact > 0.01
    error = (counts - n * exact)[common] / np.sqrt(n * exact[common])
    assert common.sum() > 5 and np.abs(error).max() < 4.0


def test_completions_end_with_the_end_token_or_at_the_limit(parts):
    done = _generate(parts, _prompts(8), range(16), group_size=16)
    assert {c.finished for c in done} == {True, False}
    for completion in done:
        assert _END not in completion.tokens[:-1]
        assert completion.finished == (completion.tokens[-1] == _END)
        assert completion.finished or len(completion.tokens) == _STEPS
        assert len(completion.logprobs) == len(completion.tokens)


def test_a_lower_limit_cuts_the_same_completions_without_recompiling(parts):
    long = _generate(parts, _prompts(8), range(16), group_size=16)
    compiled = shards.run._cache_size()
    short = _generate(parts, _prompts(8), range(16), group_size=16, max_new_tokens=5)
    warm = _generate(parts, _prompts(8), range(16), group_size=16, temperature=1.5)
    assert [c.tokens for c in short] == [c.tokens[:5] for c in long]
    assert warm != long
    assert shards.run._cache_size() == compiled


def test_scores_are_log_probabilities_of_the_next_token(parts):
    model, params, made = parts
    prompts = _prompts(*([4, 16, 30, 17] * 5))  # more than one batch of a bucket
    got = _client(parts).score(prompts, [5, 60])
    assert got.shape == (20, 2) and got.dtype == np.float32
    for prompt, row in zip(prompts, got):
        expected = _log_softmax(_next(model, prompt, [0]))[0, [5, 60]]
        np.testing.assert_allclose(row, expected, atol=1e-4)
    alone = _client(parts).score(prompts[2:3], [5, 60])
    np.testing.assert_array_equal(alone[0], got[2])


def test_completions_are_told_of_as_soon_as_they_are_there(parts):
    _, params, made = parts
    told = []
    done = _client(parts).generate(
        _prompts(4, 20, 5, 6, 7),
        group_size=4,
        seeds=np.arange(20, dtype=np.uint32),
        sampling=Sampling(max_new_tokens=_STEPS),
        ready=lambda place, completion: told.append((place, completion)),
    )
    assert sorted(place for place, _ in told) == list(range(20))
    assert all(done[place] == completion for place, completion in told)


def test_a_call_returns_once_enough_is_ready(parts):
    _, params, made = parts
    limits = (3, 20, 9)
    for i, limit in enumerate(limits):
        sampling = Sampling(max_new_tokens=limit)
        made.submit(Request(prompt=(5, 6, 7), seeds=(i,), sampling=sampling))
    lengths = []
    while made.busy:
        (part,) = made.step(params, enough=1)
        lengths.append(len(part.completion.tokens))
    assert lengths == sorted(limits)


def test_a_prompts_own_tokens_are_scored(parts):
    model, params, made = parts
    (prompt,) = _prompts(30)
    for _ in range(2):  # also when its pages are known
        number = made.submit(
            Request(prompt=tuple(prompt), candidates=(7,), prompt_logprobs=True)
        )
        (part,) = made.step(params)
        assert (part.request, part.sample, part.last) == (number, None, True)
        expected = _log_softmax(_next(model, prompt[:1], prompt[1:]))
        chosen = expected[np.arange(29), prompt[1:]]
        np.testing.assert_allclose(part.scores.prompt, chosen, atol=1e-4)


def test_stop_tokens_end_a_completion(parts):
    (free,) = _generate(parts, _prompts(8), [3])
    stop = free.tokens[len(free.tokens) // 2]
    _, params, made = parts
    sampling = Sampling(max_new_tokens=_STEPS, stop_ids=(stop,))
    (held,) = _client(parts).generate(
        _prompts(8),
        group_size=1,
        seeds=np.array([3], np.uint32),
        sampling=sampling,
    )
    cut = free.tokens.index(stop) + 1
    assert held.tokens == free.tokens[:cut] and held.ended == "end"


def test_a_grammar_is_kept_to(parts):
    # Class 0 is forbidden; 5 and then 9, as often as wanted, before the end token.
    classes = np.zeros(64, np.uint16)
    classes[[5, 9, _END]] = 1, 2, 3
    next_state = np.array([[-1, 1, -1, 0], [-1, -1, 0, -1]], np.int16)
    held = grammar.Grammar(classes=classes, next_state=next_state, initial=0)
    done = _client(parts).generate(
        _prompts(8),
        group_size=8,
        seeds=np.arange(8, dtype=np.uint32),
        sampling=Sampling(max_new_tokens=_STEPS, temperature=5.0, grammar=held),
    )
    assert len({completion.tokens for completion in done}) > 3
    for completion in done:
        text = completion.tokens[:-1] if completion.finished else completion.tokens
        assert text == ((5, 9) * _STEPS)[: len(text)]
        assert not completion.finished or len(text) % 2 == 0


def test_nothing_asked_is_nothing_answered(parts):
    _, params, made = parts
    assert _generate(parts, [], []) == []
    assert _client(parts).score([], [5]).shape == (0, 1)


def test_requests_that_cannot_be_served_are_refused_by_name(parts):
    prompts = _prompts(4, 33)
    with pytest.raises(ValueError, match="prompt 1: .*33 tokens.*32"):
        _generate(parts, prompts, [0, 1])
    with pytest.raises(ValueError, match="prompt 0: .*0 tokens"):
        _generate(parts, [[]], [0])
    with pytest.raises(ValueError, match="outside 0..63"):
        _generate(parts, [[64]], [0])
    with pytest.raises(ValueError, match="max_new_tokens 25"):
        _generate(parts, prompts[:1], [0], max_new_tokens=25)
    with pytest.raises(ValueError, match="1 seeds for 1 x 2 completions"):
        _generate(parts, prompts[:1], [0], group_size=2)
    with pytest.raises(ValueError, match="priority 32"):
        parts[2].submit(Request(prompt=(5,), candidates=(5,), priority=32))


def test_what_has_been_done_is_counted_also_when_it_sleeps(parts):
    made, before = parts[2], parts[2].statistics()
    _generate(parts, _prompts(9), [7, 8], group_size=2, max_new_tokens=3)
    after = made.statistics()
    made.sleep()
    assert made.statistics() == after
    assert after["read"] + after["found"] - before["read"] - before["found"] == 9
    again = _generate(parts, _prompts(9), [7, 8], group_size=2, max_new_tokens=3)
    slept = made.statistics()
    assert slept["read"] == after["read"] + 9  # nothing was left to be found
    assert slept["decoded"] == after["decoded"] + sum(len(c.tokens) for c in again)


def test_an_engine_with_work_does_not_sleep(parts):
    made = parts[2]
    number = made.submit(Request(prompt=(5,), candidates=(5,)))
    with pytest.raises(RuntimeError, match=f"requests .{number}. are under way"):
        made.sleep()
    made.cancel(number)
    made.sleep()


def test_weights_of_which_only_some_are_others_are_noticed(parts):
    _, params, made = parts
    flat = dict(nnx.to_flat_state(params))
    scale = flat["norm", "scale"]
    flat["norm", "scale"] = scale.replace(-scale.get_value())
    others = nnx.from_flat_state(list(flat.items()))
    assert jax.tree.leaves(params)[0] is jax.tree.leaves(others)[0]
    got = [
        client.Direct(made, weights, version=0).generate(
            _prompts(20),
            group_size=1,
            seeds=np.zeros(1, np.uint32),
            sampling=Sampling(max_new_tokens=4, temperature=0.0),
        )
        for weights in (params, others, params)
    ]
    assert got[0] == got[2] and got[0] != got[1]


def test_more_grammars_than_slots_wait_in_order(parts):
    _, params, made = parts  # one slot
    numbers = []
    for token in (5, 9, 5, 11):
        classes = np.zeros(64, np.uint16)
        classes[[token, _END]] = 1, 2
        next_state = np.array([[-1, 0, 0]], np.int16)
        held = grammar.Grammar(classes=classes, next_state=next_state, initial=0)
        sampling = Sampling(max_new_tokens=3, temperature=9.0, grammar=held)
        request = Request(prompt=(7, 8), seeds=(1, 2), sampling=sampling)
        numbers.append((made.submit(request), token))
    plain = made.submit(Request(prompt=(7,), candidates=(5,)))
    cancelled = numbers.pop(2)[0]
    assert made.waits(cancelled)
    made.cancel(cancelled)
    ended = []
    while made.busy:
        for part in made.step(params, enough=1):
            ended.append(part.request)
            if part.completion is not None:
                allowed = {dict(numbers)[part.request], _END}
                assert set(part.completion.tokens) <= allowed
    assert ended[0] == plain  # it has no grammar to wait for
    assert ended[1:] == [number for number, _ in numbers for _ in range(2)]


def test_a_grammar_that_fits_into_no_slot_is_refused(parts):
    zeros = np.zeros((_SIZES.grammar_states + 1, 3), np.int16)
    large = grammar.Grammar(
        classes=np.zeros(64, np.uint16), next_state=zeros, initial=0
    )
    sampling = Sampling(max_new_tokens=3, grammar=large)
    with pytest.raises(ValueError, match="a grammar of 5 states"):
        parts[2].submit(Request(prompt=(7,), seeds=(1,), sampling=sampling))
    assert not parts[2].busy


def test_scores_are_the_same_bits_whoever_begins_alike():
    """With heads of 32 and pages of 64, whose products depend on their shapes."""
    config = dataclasses.replace(tiny.CONFIG, head_dim=32)
    graphdef, params = nnx.split(tiny.make(config), nnx.Param)
    made = engine.Engine.sized(
        graphdef,
        params,
        end_id=_END,
        rows=0,
        group=1,
        max_prompt=256,
        max_new_tokens=0,
        page_size=64,
        read_tokens=256,
        free_bytes=2**26,
        candidates=3,
    )
    begin, *ends = _prompts(140, 20, 90, 5, 60, 33)
    prompts = [begin + end for end in ends] + _prompts(150, 70, 200)
    asked = client.Direct(made, params, version=0)
    together = asked.score(prompts, [3, 4, 5])
    for prompt, scores in zip(prompts, together, strict=True):
        made.sleep()  # and forgets what it has read
        np.testing.assert_array_equal(asked.score([prompt], [3, 4, 5])[0], scores)
