"""Tests for experiments/evaluation.py; the path through it is `test_quickstart`'s."""

import dataclasses

import pytest

from datachef_jax import types
from datachef_jax.recipes import parse
from datachef_jax.training import rollouts
from experiments import evaluation
from tests import blank

_ROLLOUT = rollouts.Rollout(
    task="t",
    prompt="",
    completion="no recipe",
    tokens=1,
    finished=True,
    execution="ok",
    log="",
    verification="",
    num_rows=5,
    malformed=0,
    calls=(),
    outcome="scored",
    score=0.5,
    judge_score=0.75,
    factors={},
    gates={},
    note="",
    rows=(),
    reward=None,
    advantage=0.0,
)


def _recipe(script: str, workflow: str) -> str:
    item = types.PlanItem(
        dataset_id="mini/a", split="train", name="default", sample_num=1, reason=""
    )
    return parse.render(
        types.Recipe(
            training_data=(item,),
            workflow=workflow,
            processing=f"{script}\n",
            verification="",
        )
    )


def _made(**changes) -> rollouts.Rollout:
    return dataclasses.replace(_ROLLOUT, **changes)


def test_figures_of_a_hand_computed_case():
    made = [
        _made(completion=_recipe("a", "one")),  # 0.5
        _made(completion=_recipe("a", "two"), score=0.1),  # the same script
        _made(completion=_recipe("b", "one"), execution="timeout", outcome="empty"),
        _made(outcome="format", score=0.9),  # whatever its score, it has no valid data
        _made(outcome="unscored", score=0.9, num_rows=0),
    ]
    figures = evaluation.figures(made)
    assert figures["dvs"] == pytest.approx(100 * (0.5 + 0.1) / 4)
    assert figures["dvs_ungated"] == pytest.approx(100 * (0.75 + 0.75) / 4)
    assert figures["executable"] == 60.0  # the first two and the fourth, of five
    assert figures["distinct"] == 40.0  # a and b, of five


def test_nothing_scored_is_no_figure_and_not_zero():
    assert evaluation.figures([_made(outcome="unscored")])["dvs"] is None


def test_equal_recipes_have_equal_seeds_wherever_they_stand():
    task, other = blank.task("t"), blank.task("u")
    seed = evaluation.recipe_seed(task, "x", 0)
    assert seed == evaluation.recipe_seed(task, "x", 0) >= 0
    assert seed != evaluation.recipe_seed(task, "y", 0)
    assert seed != evaluation.recipe_seed(other, "x", 0)
    assert seed != evaluation.recipe_seed(task, "x", 1)
