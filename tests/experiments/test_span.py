"""Tests for experiments/span.py."""

from experiments import span

_SCORES = {
    "base": {"rows": 0, "dbs": [0.0, 0.0]},
    "bad": {"rows": 9, "dbs": [10.0, 20.0]},
    "middle": {"rows": 9, "dbs": [50.0, 10.0]},
    "good": {"rows": 9, "dbs": [90.0, 70.0]},
}


def test_the_span_is_that_of_the_mean_scores_without_the_base():
    summary = span.summarize(_SCORES)
    assert summary["span"] == 80.0 - 15.0
    # Ranks 1 2 3 and 2 1 3: 1 - 6 * (1 + 1 + 0) / (3 * 8)
    assert abs(summary["spearman"] - 0.5) < 1e-12
    assert summary["dbs"]["base"] == [0.0, 0.0]


def test_one_seed_has_nothing_to_agree_with():
    scores = {k: {"rows": 1, "dbs": v["dbs"][:1]} for k, v in _SCORES.items()}
    assert span.summarize(scores)["spearman"] is None


def test_the_table_has_the_worst_recipe_first():
    text = span.table({"t": _SCORES}, {"t": span.summarize(_SCORES)})
    names = [line.split("|")[2].strip() for line in text.splitlines()[2:]]
    assert names == ["base", "bad", "middle", "good", "**span 65.0**"]
