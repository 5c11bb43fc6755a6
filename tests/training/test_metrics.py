"""Tests for datachef_jax/training/metrics.py."""

import json

import pytest

from datachef_jax.training import metrics


def _write(workdir, steps):
    writer = metrics.Writer(workdir, step=steps.start)
    for step in steps:
        writer.write(step, {"b": step / 3, "a": 1.0}, {"sample": 0.5})
    writer.close()


def test_a_line_holds_the_step_and_sorted_exact_numbers(tmp_path):
    _write(tmp_path, range(0, 2))
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text == '{"a": 1.0, "b": 0.0, "step": 0}\n' + (
        '{"a": 1.0, "b": 0.3333333333333333, "step": 1}\n'
    )
    assert metrics.read(tmp_path / "metrics.jsonl")[1]["b"] == 1 / 3
    timing = metrics.read(tmp_path / "timing.jsonl")
    assert timing == [{"step": 0, "sample": 0.5}, {"step": 1, "sample": 0.5}]
    assert list((tmp_path / "tensorboard").iterdir())


def test_going_on_drops_later_lines_and_a_torn_one(tmp_path):
    _write(tmp_path, range(0, 4))
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"a": 1.')  # killed while writing
    _write(tmp_path, range(2, 4))
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole
    _write(tmp_path, range(0, 0))
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_missing_lines_are_refused(tmp_path):
    _write(tmp_path, range(0, 2))
    with pytest.raises(ValueError, match="does not hold steps 0 to 2"):
        metrics.Writer(tmp_path, step=3)
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 5}) + "\n")
    with pytest.raises(ValueError, match="does not hold steps 0 to 0"):
        metrics.Writer(tmp_path, step=1)


def test_the_stopwatch_adds_up():
    clock = metrics.Stopwatch()
    for _ in range(2):
        with clock("a"):
            pass
    with clock("b"):
        pass
    assert set(clock.seconds) == {"a", "b"}
    assert all(seconds >= 0 for seconds in clock.seconds.values())
