"""Tests for datachef_jax/training/unfinished.py."""

import pytest

from datachef_jax.training import unfinished
from tests import blank


def _completion(number):
    ended = "end" if number > 1 else "length"
    return blank.completion((number, 2), logprobs=(-0.1, -1 / 3), ended=ended)


def _never(ready):
    raise AssertionError("sampled again")


def _sampled(kept, step, number, made):
    def sample(ready):
        for place, completion in enumerate(made):
            ready(place, completion)
        return made

    told = []
    got = kept.sampled(step, number, sample, lambda *part: told.append(part))
    assert told == list(enumerate(made))
    return got


@pytest.fixture
def path(tmp_path):
    return tmp_path / "unfinished.json"


def test_rounds_come_back_bit_for_bit_and_are_sampled_once(path):
    kept = unfinished.Unfinished(path)
    rounds = [[_completion(1), _completion(2)], [_completion(3)]]
    for number, made in enumerate(rounds):
        assert _sampled(kept, 5, f"{number}.0", made) == made
    again, told = unfinished.Unfinished(path), []
    for number in range(2):
        got = again.sampled(5, f"{number}.0", _never, lambda *part: told.append(part))
        assert got == rounds[number]
    assert told == [(0, _completion(1)), (1, _completion(2)), (0, _completion(3))]


def test_another_step_begins_anew(path):
    _sampled(unfinished.Unfinished(path), 5, "0.0", [_completion(1)])
    kept = unfinished.Unfinished(path)
    assert _sampled(kept, 6, "0.0", [_completion(2)]) == [_completion(2)]
    assert _sampled(kept, 5, "0.0", [_completion(4)]) == [_completion(4)]


def test_a_damaged_file_counts_as_none(path):
    _sampled(unfinished.Unfinished(path), 5, "0.0", [_completion(1)])
    path.write_text(path.read_text()[:-9])
    kept = unfinished.Unfinished(path)
    assert _sampled(kept, 5, "0.0", [_completion(2)]) == [_completion(2)]
