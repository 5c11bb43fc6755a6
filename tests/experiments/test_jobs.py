"""Tests for experiments/jobs.py."""

import dataclasses

from experiments import jobs
from tests.experiments.test_evaluation import _ROLLOUT


def _made(score: float, text: str, outcome: str = "scored"):
    return dataclasses.replace(_ROLLOUT, score=score, completion=text, outcome=outcome)


def test_one_of_the_valid_recipes_is_drawn_by_the_seed():
    made = [_made(0.0, "a"), _made(0.9, "b", "empty"), _made(0.2, "c"), _made(0.3, "d")]
    drawn = {jobs.draw_valid(made, "grpo t", seed).completion for seed in range(30)}
    assert drawn == {"c", "d"}
    again = [jobs.draw_valid(made, "grpo t", 3).completion for _ in range(3)]
    assert len(set(again)) == 1
    assert jobs.draw_valid(made[:2], "grpo t", 0) is None


def test_the_best_graded_are_different_valid_and_in_order():
    made = [
        _made(0.2, "a"), _made(0.9, "b"), _made(0.9, "b"), _made(0.9, "c"),
        _made(1.0, "d", "format"), _made(0.0, "e"),
    ]  # fmt: skip
    texts = [r.completion for r in jobs.best_graded(made, 3)]
    assert texts == ["b", "c", "a"]
    assert [r.completion for r in jobs.best_graded(made, 1)] == ["b"]


def test_every_recipe_of_the_table_is_fine_tuned_on():
    rollouts = {
        (jobs.BY_HAND, 3, "t"): [_made(0.8, "e"), _made(0.0, "s")],
        ("untrained", 3, "t"): [_made(0.0, "u")],
        ("cold_start", 3, "t"): [_made(0.1, "c")],
        ("grpo", 3, "t"): [_made(0.2, "g"), _made(0.4, "h")],
    }
    by_hand = {"t": {"expert": "e", "mini/a": "s"}}
    made = jobs.make(rollouts, ["t"], [3], by_hand=by_hand, oracle=1)
    assert {(job.seed, job.task) for job in made} == {(3, "t")}
    found = {(job.method, job.label): (job.text, job.dvs) for job in made}
    assert len(found) == len(made)
    assert found.pop(("grpo", "drawn")) in [("g", 20.0), ("h", 40.0)]
    assert found == {
        ("base", ""): ("", None),
        ("expert", "expert"): ("e", 80.0),
        ("single", "mini/a"): ("s", 0.0),
        ("untrained", "drawn"): ("", None),  # nothing valid to draw
        ("cold_start", "drawn"): ("c", 10.0),
        ("grpo_oracle", "top 1"): ("h", 40.0),
    }
