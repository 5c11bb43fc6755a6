"""Tests for datachef_jax/training/pipeline.py."""

import threading

import pytest

from datachef_jax.training import pipeline


def test_what_arrives_is_worked_on_while_more_is_on_its_way():
    begun, more, seen = threading.Event(), threading.Event(), []

    def work(places):
        seen.append(list(places))
        begun.set()
        assert more.wait(10)

    stage = pipeline.Stage("test", work)
    stage.add([3])
    assert begun.wait(10)  # nobody waits for it yet
    stage.add([2])
    stage.add([1, 0])
    more.set()
    stage.wait()
    assert seen == [[3], [0, 1, 2]]
    stage.wait()  # for nothing


def test_what_a_stage_hands_on_is_waited_for():
    seen = []
    second = pipeline.Stage("second", seen.extend)
    first = pipeline.Stage("first", second.add)
    first.add([5, 6])
    first.wait()
    second.wait()
    assert seen == [5, 6]


def test_what_the_work_raises_comes_out_where_it_is_waited_for():
    def work(places):
        raise RuntimeError(f"at {places}")

    stage = pipeline.Stage("test", work)
    stage.add([4])
    with pytest.raises(RuntimeError, match=r"at \[4\]"):
        stage.wait()
