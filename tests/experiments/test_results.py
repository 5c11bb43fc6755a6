"""Tests for experiments/results.py."""

import os

import pytest

from experiments import results


def test_what_is_written_is_read_again_bit_for_bit(tmp_path):
    value = {"a": [0.1 + 0.2, 1e-300, None, "ä\u2028"], "b": {"c": True}}
    results.write_json(tmp_path / "new" / "x.json", value)
    assert results.read_json(tmp_path / "new" / "x.json") == value
    results.write_jsonl(tmp_path / "x.jsonl", [value, "\u2028"])
    assert results.read_jsonl(tmp_path / "x.jsonl") == [value, "\u2028"]
    assert results.read_jsonl(tmp_path / "none.jsonl") == []


def test_a_value_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    results.write_json(path, 1)
    with pytest.raises(ValueError):
        results.write_json(path, float("nan"))
    assert results.read_json(path) == 1
    assert os.listdir(tmp_path) == ["x.json"]


def test_once_computes_once_and_gives_the_same_types_each_time(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"pair": (1, 2)}

    first = results.once(tmp_path / "x.json", compute)
    assert first == results.once(tmp_path / "x.json", compute) == {"pair": [1, 2]}
    assert len(calls) == 1
