"""Tests for datachef_jax/finetune/packing.py."""

import json

import numpy as np
import pytest

from datachef_jax.finetune import packing
from datachef_jax.text import tokenizer as tokenizer_lib


def _examples(count, *, seed=0, shortest=2, longest=12):
    """Makes examples whose tokens say where they come from: 100 x example + place."""
    rng = np.random.default_rng(seed)
    examples = []
    for index in range(count):
        length = int(rng.integers(shortest, longest + 1))
        mask = rng.random(length) < 0.4
        tokens = tuple(100 * (index + 1) + place for place in range(length))
        examples.append(packing.TokenExample(tokens, tuple(mask.tolist())))
    return examples


def _batches(examples, **changed):
    settings = dict(rows=4, row_tokens=16, row_targets=8, seed=0) | changed
    return packing.batches(examples, **settings)


def _take(iterator, count):
    return [next(iterator) for _ in range(count)]


def _assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_each_segment_is_one_whole_example_with_its_own_targets():
    examples = _examples(30)
    seen = set()
    for batch in _take(_batches(examples), 20):
        assert batch.tokens.shape == (4, 16)
        assert batch.targets.shape == (4, 8)
        for tokens, segments, positions, targets in zip(*batch):
            placed = set(targets[targets > 0].tolist())
            for segment in range(1, segments.max() + 1):
                places = np.flatnonzero(segments == segment)
                example = examples[tokens[places[0]] // 100 - 1]
                assert tuple(tokens[places].tolist()) == example.tokens
                np.testing.assert_array_equal(positions[places], range(len(places)))
                expected = {int(p) for p, m in zip(places, example.loss_mask) if m} - {
                    int(places[0])
                }
                assert expected == placed & set(places.tolist())
                seen.add(example.tokens[0])
            assert not tokens[segments == 0].any()
            assert (segments[sorted(placed)] > 0).all()
    assert len(seen) == len(examples)


def test_several_short_examples_share_a_row():
    batch = next(_batches(_examples(200, longest=5)))
    assert (batch.segments.max(axis=1) >= 3).all()


def test_a_row_never_holds_more_targets_than_it_has_room_for():
    full = packing.TokenExample((1, 2, 3, 4), (False, True, True, True))
    for batch in _take(_batches([full] * 9, row_targets=7), 5):
        assert (batch.segments.max(axis=1) == 2).all()  # four would fit by length
        assert ((batch.targets > 0).sum(axis=1) == 6).all()


def test_the_seed_alone_decides_the_order():
    examples = _examples(40)
    first = _take(_batches(examples, seed=3), 30)
    _assert_same(first, _take(_batches(examples, seed=3), 30))
    other = next(_batches(examples, seed=4))
    assert (first[0].tokens != other.tokens).any()


@pytest.mark.parametrize("done", [0, 1, 7, 33])
def test_a_restored_iterator_goes_on_exactly(done):
    examples = _examples(40)
    running = _batches(examples)
    _take(running, done)
    state = json.loads(json.dumps(running.get_state()))
    restored = _batches(examples)
    restored.set_state(state)
    _assert_same(_take(running, 25), _take(restored, 25))


def test_a_few_examples_fill_many_batches():
    assert len(_take(_batches(_examples(1)), 10)) == 10


@pytest.mark.parametrize(
    "examples, message",
    [
        ([], "must not be empty"),
        ([packing.TokenExample((1,) * 17, (False,) * 17)], r"\[0\] has 17 tokens"),
        ([packing.TokenExample((), ())], r"\[0\] has 0 tokens"),
        ([packing.TokenExample((1,) * 9, (True,) * 10)], "a loss_mask of 10"),
        ([packing.TokenExample((1,) * 10, (True,) * 10)], r"\[0\] has 9 targets"),
    ],
)
def test_what_does_not_fit_is_refused(examples, message):
    with pytest.raises(ValueError, match=message):
        _batches(examples)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    return tokenizer_lib.train(
        ["what is 1 + 1", "two"], names=['"row"'], vocab_size=270, folder=folder
    )


def _row(question, answer):
    return {
        "dialogs": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


def test_the_answer_and_its_end_are_the_targets(tokenizer):
    row = _row("what is 1 + 1", "two")
    example = packing.tokenize_row(row, tokenizer, max_tokens=99, max_targets=99)
    targets = [t for t, m in zip(*example, strict=True) if m]
    assert targets == tokenizer.encode("two") + [tokenizer.end_id]
    prompt = tokenizer.chat(row["dialogs"][:1], generation_prompt=True)
    assert list(example.tokens) == prompt + targets


def test_long_rows_are_cut_and_rows_without_an_answer_dropped(tokenizer):
    whole, endless = _row("what is 1", "two two"), _row("what " * 50, "two")
    sizes = dict(max_tokens=30, max_targets=3)
    (example,) = packing.tokenize_rows([endless, whole], tokenizer, **sizes)
    assert sum(example.loss_mask) == 3
    assert len(example.tokens) <= 30
    full = packing.tokenize_row(whole, tokenizer, max_tokens=99, max_targets=99)
    assert full.tokens[: len(example.tokens)] == example.tokens
