"""Tests for datachef_jax/verifier/forecast.py."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import stats

from datachef_jax import types
from datachef_jax.verifier import forecast
from datachef_jax.verifier import metadata
from datachef_jax.verifier import proxy
from tests import blank

_TASK = blank.task("sorting")
_SETTINGS = proxy.ProxySettings(kernel="matern", prior_std=1.0, unfamiliar_share=0.05)


def _execution(rows, cpu_seconds=0.0):
    data = types.Dataset(rows=({"dialogs": []},) * rows)
    return types.Execution(kind="ok", log="", dataset=data, cpu_seconds=cpu_seconds)


def _verdict(score):
    return types.Verdict(outcome="scored", score=score, judge_score=score)


def _result(rows, score, dbs, task="sorting"):
    described = metadata.describe(_TASK, _execution(rows, float(rows)), _verdict(score))
    return {"task": task, "recipe": described, "dbs": dbs, "name": "is ignored"}


def _results():
    """Scores grow with the rows; another task is easier and says the same of them."""
    sizes = np.geomspace(10, 1000, 12).astype(int)
    found = []
    for n in sizes.tolist():
        dbs = 20 + 10 * math.log(n / 10)
        found.append(_result(n, 0.5, [dbs - 1, dbs + 1]))
        found.append(_result(n, 0.5, [60 + dbs / 10], task="counting"))
    return found


def _write(path, results):
    path.write_text("".join(json.dumps(result) + "\n" for result in results))
    return path


def _forecast(forecaster, *sizes, outcome="scored", cpu_seconds=0.0):
    verdicts = [dataclasses.replace(_verdict(0.5), outcome=outcome) for _ in sizes]
    executions = [_execution(n, cpu_seconds) for n in sizes]
    return forecaster.forecast([_TASK] * len(sizes), executions, verdicts)


@pytest.fixture
def path(tmp_path):
    return _write(tmp_path / "datasets.jsonl", _results())


def test_it_expects_what_like_recipes_have_taught(path):
    forecaster = forecast.Forecaster(path, settings=_SETTINGS, k=0.0)
    few, some, many = _forecast(forecaster, 15, 100, 800)
    # In deviations from the mean of log n over 12 sizes evenly spaced in it.
    spread = np.linspace(0, math.log(100), 12)
    for found, size in ((few, 15), (some, 100), (many, 800)):
        expected = (math.log(size / 10) - spread.mean()) / spread.std()
        assert found.mean == pytest.approx(expected, abs=0.15)
        assert found.bound == pytest.approx(stats.norm.cdf(found.mean))
        assert found.std > 0 and found.results == 24 and not found.unfamiliar
    assert few.bound < some.bound < many.bound


def test_caution_takes_deviations_off(path):
    bold, careful = (
        _forecast(forecast.Forecaster(path, settings=_SETTINGS, k=k), 100)[0]
        for k in (0.0, 2.0)
    )
    assert (bold.mean, bold.std) == (careful.mean, careful.std)
    assert careful.bound == pytest.approx(
        stats.norm.cdf(careful.mean - 2 * careful.std)
    )


def test_what_is_unlike_the_results_is_said_to_be(path):
    forecaster = forecast.Forecaster(path, settings=_SETTINGS, k=1.0)
    # All results had half of the judge's grade; nothing is known of others.
    (found,) = forecaster.forecast([_TASK], [_execution(100)], [_verdict(0.9)])
    assert found.unfamiliar
    (known,) = _forecast(forecaster, 100)
    assert found.std > known.std


def test_what_a_run_took_changes_nothing(path):
    forecaster = forecast.Forecaster(path, settings=_SETTINGS, k=1.0)
    slow = _forecast(forecaster, 100, cpu_seconds=1e4)
    assert slow == _forecast(forecaster, 100)


def test_only_scored_recipes_have_a_forecast(path):
    forecaster = forecast.Forecaster(path, settings=_SETTINGS, k=1.0)
    assert _forecast(forecaster, 10, 20, outcome="empty") == [None, None]
    assert _forecast(forecaster) == []


def test_new_results_are_learned_from(path):
    forecaster = forecast.Forecaster(path, settings=_SETTINGS, k=1.0)
    (before,) = _forecast(forecaster, 100)
    more = [_result(90 + i, 0.5, [90.0]) for i in range(20)]
    _write(path, _results() + more)
    (after,) = _forecast(forecaster, 100)
    assert after.results == 44 and after.mean > before.mean + 0.5


def test_a_result_that_is_being_written_waits(path):
    forecaster = forecast.Forecaster(path, settings=_SETTINGS, k=1.0)
    line = json.dumps(_result(90, 0.5, [90.0]))
    with path.open("a") as file:
        file.write(line[:40])
        file.flush()
        assert _forecast(forecaster, 100)[0].results == 24
        file.write(line[40:] + "\n")
    assert _forecast(forecaster, 100)[0].results == 25


def test_scores_are_those_of_their_task():
    scaled = forecast.standardise([1.0, 3.0, 50.0, 50.0], ["a", "a", "b", "b"])
    np.testing.assert_allclose(scaled, [-1, 1, 0, 0])


@pytest.mark.parametrize(
    "lines, message",
    [
        ([], "has no results"),
        (["{"], "line 1, is no result: JSONDecodeError"),
        (['{"task": "a", "dbs": [1]}'], "line 1, is no result: KeyError"),
        (['{"task": 3, "recipe": {}, "dbs": [1]}'], "task is 3"),
        (['{"task": "a", "recipe": [], "dbs": [1]}'], "AttributeError"),
        (['{"task": "a", "recipe": {"x": "y"}, "dbs": [1]}'], "could not convert"),
        (['{"task": "a", "recipe": {"x": 1}, "dbs": []}'], "not finite"),
        (['{"task": "a", "recipe": {"x": 1}, "dbs": [NaN]}'], "not finite"),
        (['{"task": "a", "recipe": {"x": null}, "dbs": [1]}'], "not finite"),
        (['{"task": "a", "recipe": {}, "dbs": [1]}'], "features must be at least 1"),
    ],
)
def test_a_file_without_results_is_refused(lines, message, tmp_path):
    path = tmp_path / "datasets.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    with pytest.raises(ValueError, match=message):
        forecast.Forecaster(path, settings=_SETTINGS, k=1.0)


def test_a_bonus_for_what_is_not_known_is_refused(path):
    with pytest.raises(ValueError, match="k must be at least 0, got -1"):
        forecast.Forecaster(path, settings=_SETTINGS, k=-1.0)
