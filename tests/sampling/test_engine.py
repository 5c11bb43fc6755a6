"""Tests for datachef_jax/sampling/engine.py."""

from flax import nnx
import jax
import numpy as np
import pytest

from datachef_jax.sampling import engine
from tests.models.qwen3 import tiny

_END = 2
_STEPS = 24


@pytest.fixture(scope="module")
def parts():
    """Returns a model, its weights and an engine with 16 rows."""
    model = tiny.make()
    graphdef, params = nnx.split(model, nnx.Param)
    made = engine.Engine(
        graphdef,
        rows=16,
        prompt_buckets=[32, 16],
        max_new_tokens=_STEPS,
        end_id=_END,
        pad_id=0,
    )
    return model, params, made


def _prompts(*lengths):
    rng = np.random.default_rng(0)
    return [rng.integers(3, 64, n).tolist() for n in lengths]


def _generate(
    parts, prompts, seeds, *, group_size=1, temperature=1.0, max_new_tokens=_STEPS
):
    _, params, made = parts
    return made.generate(
        params,
        prompts,
        group_size=group_size,
        seeds=np.asarray(seeds, np.uint32),
        temperature=temperature,
        max_new_tokens=max_new_tokens,
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
    # Two buckets, three batches: the last ones are not full.
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
    compiled = engine.decode._cache_size()
    short = _generate(
        parts, _prompts(8), range(16), group_size=16, max_new_tokens=5
    )
    warm = _generate(parts, _prompts(8), range(16), group_size=16, temperature=1.5)
    assert [c.tokens for c in short] == [c.tokens[:5] for c in long]
    assert warm != long
    assert engine.decode._cache_size() == compiled


def test_scores_are_log_probabilities_of_the_next_token(parts):
    model, params, made = parts
    prompts = _prompts(*([4, 16, 30, 17] * 5))  # more than one batch of a bucket
    got = made.score(params, prompts, [5, 60])
    assert got.shape == (20, 2) and got.dtype == np.float32
    for prompt, row in zip(prompts, got):
        expected = _log_softmax(_next(model, prompt, [0]))[0, [5, 60]]
        np.testing.assert_allclose(row, expected, atol=1e-4)
    alone = made.score(params, prompts[2:3], [5, 60])
    np.testing.assert_array_equal(alone[0], got[2])


def test_progress_counts_every_completion(parts):
    _, params, made = parts
    ready = []
    made.generate(
        params,
        _prompts(4, 20, 5, 6, 7),
        group_size=4,
        seeds=np.arange(20, dtype=np.uint32),
        temperature=1.0,
        max_new_tokens=2,
        progress=ready.append,
    )
    assert ready == [16, 4]


def test_nothing_asked_is_nothing_answered(parts):
    _, params, made = parts
    assert _generate(parts, [], []) == []
    assert made.score(params, [], [5]).shape == (0, 1)


def test_requests_that_cannot_be_served_are_refused_by_name(parts):
    prompts = _prompts(4, 33)
    with pytest.raises(ValueError, match="prompt 1 has 33 tokens.*32"):
        _generate(parts, prompts, [0, 1])
    with pytest.raises(ValueError, match="prompt 0 is empty"):
        _generate(parts, [[]], [0])
    with pytest.raises(ValueError, match="group_size 17"):
        _generate(parts, prompts[:1], range(17), group_size=17)
    with pytest.raises(ValueError, match="max_new_tokens 25"):
        _generate(parts, prompts[:1], [0], max_new_tokens=25)
    with pytest.raises(ValueError, match="seeds must be 1 x 2 uint32"):
        _generate(parts, prompts[:1], [0], group_size=2)
