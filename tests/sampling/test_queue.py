"""Tests for datachef_jax/sampling/queue.py."""

import jax
import numpy as np
import pytest

from datachef_jax.sampling import queue
from datachef_jax.sampling import shards
from datachef_jax.sampling import state
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from tests.models.qwen3 import tiny

_SIZES = state.Sizes(
    rows=4,
    prompts=6,
    group=3,
    pages=8,
    page_size=16,
    max_prompt=32,
    max_new_tokens=8,
    read_tokens=16,
    read_prompts=2,
    reads=1,
    stop_ids=0,
    candidates=2,
    grammars=0,
    grammar_states=1,
    grammar_classes=1,
)


@pytest.fixture
def waiting():
    """Returns a queue without requests."""
    return queue.Queue(_SIZES, 64, share_prefixes=True)


def _lines(count, *, of_shards=1):
    """Returns empty lines for each shard."""
    one = jax.eval_shape(
        lambda: shards.empty(tiny.CONFIG, "float32", _SIZES, "float32")
    )
    several = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((of_shards, *x.shape[1:]), x.dtype), one
    )
    return shards.no_prompts(several, count)


def _request(first, *, samples=1, priority=0):
    return Request(
        prompt=(first, 9, 9),
        seeds=tuple(range(samples)),
        sampling=Sampling(max_new_tokens=3),
        priority=priority,
    )


def test_lines_go_in_order_and_as_many_as_there_are_places(waiting):
    for first, priority in ((5, 2), (6, 1), (7, 2), (8, 0)):
        waiting.add(_request(first, priority=priority))
    prompts = _lines(4)
    at, more = waiting.take([[4, 1, 5]], prompts)
    assert at.tolist() == [[4, 1, 5, 6]]  # 6 is no place
    assert prompts.tokens[0, :3, 0].tolist() == [8, 6, 5]
    assert not more and waiting.news
    at, more = waiting.take([[0]], prompts := _lines(4))
    assert at.tolist() == [[0, 6, 6, 6]] and prompts.tokens[0, 0, 0] == 7
    assert not more and not waiting.news


def test_there_may_be_more_where_places_are_left(waiting):
    for first in range(3):
        waiting.add(_request(first))
    _, more = waiting.take([[0, 1, 2, 3]], _lines(2))
    assert more


def test_each_line_goes_where_least_is_to_do(waiting):
    numbers = [waiting.add(_request(first)) for first in range(5)]
    at, _ = waiting.take([[0, 1, 2], [3, 4]], _lines(4, of_shards=2))
    assert at.tolist() == [[0, 1, 2, 6], [3, 4, 6, 6]]
    for number in numbers[:3:2]:  # both of the first shard
        waiting.cancel(number, None)
    waiting.add(_request(5)), waiting.add(_request(6))
    at, _ = waiting.take([[0, 1], [5]], _lines(4, of_shards=2))
    assert at.tolist() == [[0, 1, 6, 6], [6, 6, 6, 6]]


def test_what_is_cancelled_while_it_waits_is_handed_over_as_unwanted(waiting):
    number = waiting.add(_request(5, samples=5))
    gone = waiting.add(_request(6))
    waiting.cancel(number, 1), waiting.cancel(number, 4), waiting.cancel(gone, None)
    prompts = _lines(4)
    at, _ = waiting.take([[0, 1, 2]], prompts)
    assert at.tolist() == [[0, 1, 6, 6]]  # groups of at most three
    assert prompts.unwanted[0, :2].tolist() == [
        [False, True, False],
        [False, True, False],
    ]
    assert prompts.seeds[0, :2].tolist() == [[0, 1, 2], [3, 4, 0]]
    assert waiting.take_cancelled(2)[0].tolist() == [[-1, -1], [-1, -1]]


def test_what_is_cancelled_later_is_told_by_line_and_place(waiting):
    number = waiting.add(_request(5, samples=5))
    other = waiting.add(_request(6))
    prompts = _lines(4)
    waiting.take([[0, 1, 2]], prompts)
    names = prompts.request[0].tolist()
    waiting.cancel(number, 4), waiting.cancel(other, None), waiting.cancel(number, 4)
    some, more = waiting.take_cancelled(1)
    assert some.tolist() == [[names[1], 1]] and more
    some, more = waiting.take_cancelled(1)
    assert some.tolist() == [[names[2], -1]] and not more
    assert waiting.numbers == [number]
    lasts = [waiting.done(number, sample) for sample in range(4)]
    assert lasts == [False, False, False, True] and not waiting.numbers


def test_hashes_differ_where_prefixes_are_not_shared():
    prompt = tuple(range(20))
    found = []
    for share in (True, False):
        waiting = queue.Queue(_SIZES, 64, share_prefixes=share)
        for _ in range(2):
            waiting.add(Request(prompt=prompt, candidates=(3,)))
        prompts = _lines(2)
        waiting.take([[0, 1]], prompts)
        found.append(prompts.hashes[0, :, 0])
    assert np.array_equal(*found[0]) and not np.array_equal(*found[1])
