"""Tests for experiments/table.py."""

import math

import pytest

from experiments import table

_TASKS = [
    {"name": "a_b", "held_out": "in_domain"},
    {"name": "c", "held_out": "out_of_domain"},
]


def _figures():
    """Two tasks, two seeds; every method like the base but for what is given."""
    given = {
        ("single_best", "a_b"): {"dbs": [40.0, 60.0]},
        ("single_best", "c"): {"dbs": [20.0, 20.0]},
        ("grpo", "a_b"): {"dvs": [80.0, 60.0], "dbs": [25.0, 50.0]},
        ("grpo", "c"): {"dvs": [40.0, 40.0], "dbs": [10.0, 30.0]},
    }
    nothing = {metric: [None, None] for metric in table.METRICS}
    return {
        method: {
            task["name"]: nothing
            | {"dbs": [10.0, 10.0]}
            | given.get((method, task["name"]), {})
            for task in _TASKS
        }
        for method in table.METHODS
    }


def test_means_and_spreads_agree_with_a_hand_computed_case():
    grpo = table.summarize(_figures())["grpo"]
    cell = grpo["tasks"]["a_b"]["dvs"]
    assert cell["mean"] == 70.0
    assert cell["spread"] == pytest.approx(math.sqrt(200))  # sample deviation of 80, 60
    assert cell["by_seed"] == [80.0, 60.0]
    assert grpo["average"]["dvs"]["by_seed"] == [60.0, 50.0]
    # Best sources: 50 and 20. Seed 0: (25/50 + 10/20) / 2, seed 1: (50/50 + 30/20) / 2.
    assert grpo["average"]["dbs_norm"]["by_seed"] == [50.0, 125.0]


def test_the_best_single_source_has_norm_100():
    best = table.summarize(_figures())["single_best"]
    assert best["average"]["dbs_norm"]["mean"] == 100.0
    assert best["average"]["dbs_norm"]["by_seed"] == [90.0, 110.0]


def test_what_is_missing_stays_missing():
    summary = table.summarize(_figures())
    assert summary["base"]["average"]["dvs"]["mean"] is None
    line = table.lines(summary, _TASKS)[1]
    assert line[:2] == ["base model", "– / 10.0 ± 0.0"]
    assert line[3] == "–"


def test_a_best_source_of_zero_has_no_norm():
    figures = _figures()
    figures["single_best"]["c"] = figures["single_best"]["c"] | {"dbs": [0.0, 0.0]}
    norm = table.summarize(figures)["grpo"]["average"]["dbs_norm"]
    assert norm == {"mean": None, "spread": None, "by_seed": [None, None]}


def test_a_score_of_zero_counts_in_the_norm():
    figures = _figures()
    figures["grpo"]["c"] = figures["grpo"]["c"] | {"dbs": [0.0, 0.0]}
    norm = table.summarize(figures)["grpo"]["average"]["dbs_norm"]
    assert norm["by_seed"] == [25.0, 50.0]


def test_all_forms_hold_every_row():
    cells = table.lines(table.summarize(_figures()), _TASKS)
    text, tex = table.markdown(cells), table.latex(cells)
    for name in table.METHODS.values():
        assert name in text and name in tex
    assert len({len(line) for line in text.splitlines()}) == 1
    assert r"a\_b" in tex and r"$\pm$" in tex and r"runs \%" in tex
    assert tex.count(r"\\") == len(cells)
