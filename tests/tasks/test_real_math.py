"""Tests for datachef_jax/tasks/real_math.py, on the real files where they are."""

import json
import pathlib

import pytest

from datachef_jax.tasks import real_math

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tasks():
    try:
        return real_math.build(_ROOT, benchmark_size=50)
    except ValueError as error:
        pytest.skip(str(error))


def test_gsm8k_is_held_out_and_has_at_least_nine_real_sources(tasks):
    aqua, gsm8k = tasks
    assert (aqua.held_out, gsm8k.held_out) == ("", "in_domain")
    assert len(gsm8k.sources) >= 9
    assert len({(s.format, s.records) for s in gsm8k.sources}) >= 4
    assert all(float(e.answer.replace(",", "")) >= 0 for e in gsm8k.examples)
    assert {e.answer for e in aqua.examples} <= set("ABCDE")


def test_the_contamination_trap_is_there(tasks):
    gsm8k = tasks[1]
    trap = next(s for s in gsm8k.sources if s.id == "openai/gsm8k-solutions")
    asked = {
        json.loads(line)["question"] for line in trap.path.read_text().splitlines()
    }
    assert {e.question for e in gsm8k.examples} <= asked
    assert trap.expert.worth == 0.0


def test_missing_data_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DATACHEF_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="nowhere: set DATACHEF_DATA"):
        real_math.build(_ROOT, benchmark_size=5)
    monkeypatch.setenv("DATACHEF_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="gsm8k"):
        real_math.build(_ROOT, benchmark_size=5)
