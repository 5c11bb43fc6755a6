"""Tests for datachef_jax/training/unfinished.py."""

import pytest

from datachef_jax import types
from datachef_jax.training import unfinished


def _completion(number):
    return types.Completion(
        tokens=(number, 2), logprobs=(-0.1, -1 / 3), finished=number > 1
    )


def _never():
    raise AssertionError("sampled again")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "unfinished.json"


def test_rounds_come_back_bit_for_bit_and_are_sampled_once(path):
    kept = unfinished.Unfinished(path)
    rounds = [[_completion(1), _completion(2)], [_completion(3)]]
    for number, made in enumerate(rounds):
        assert kept.sampled(5, number, lambda made=made: made) == made
    again = unfinished.Unfinished(path)
    assert [again.sampled(5, number, _never) for number in range(2)] == rounds


def test_another_step_begins_anew(path):
    unfinished.Unfinished(path).sampled(5, 0, lambda: [_completion(1)])
    kept = unfinished.Unfinished(path)
    assert kept.sampled(6, 0, lambda: [_completion(2)]) == [_completion(2)]
    assert kept.sampled(5, 0, lambda: [_completion(4)]) == [_completion(4)]


def test_a_damaged_file_counts_as_none(path):
    unfinished.Unfinished(path).sampled(5, 0, lambda: [_completion(1)])
    path.write_text(path.read_text()[:-9])
    kept = unfinished.Unfinished(path)
    assert kept.sampled(5, 0, lambda: [_completion(2)]) == [_completion(2)]
