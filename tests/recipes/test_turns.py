"""Tests for datachef_jax/recipes/turns.py."""

import pytest

from datachef_jax import types
from datachef_jax.recipes import parse
from datachef_jax.recipes.turns import Turns

_PLAN = """\
## Training Data
[{"dataset_id": "a/b", "split": "train", "name": "x", "sample_num": 1, "reason": ""}]

## Data Processing Workflow
Copy."""
_SCRIPTS = "```python\nprint(1)\n```\n\n```python\nprint(2)\n```"
_ROWS = types.Dataset(rows=({"dialogs": []},))


def _turns(**changes):
    given = dict(apart=True, retries=0, error_chars=8, scripts_request="Scripts!")
    return Turns(**given | changes)


def _ended(kind, log="", verification="", data=_ROWS):
    return types.Execution(kind=kind, log=log, dataset=data, verification=verification)


def test_a_plan_and_its_scripts_are_one_recipe():
    turns = _turns()
    assert turns.reply([_PLAN], None) == "Scripts!"
    answers = [f"<think>hm</think>{_PLAN}", f"<think>## hm</think>{_SCRIPTS}"]
    assert turns.reply(answers, None) == ""
    recipe = parse.parse(turns.recipe(answers))
    assert recipe == parse.parse(f"{_PLAN}\n\n{_SCRIPTS}")
    assert (recipe.workflow, recipe.processing) == ("Copy.", "print(1)\n")
    assert turns.reply(answers, _ended("runtime_error")) == ""  # no retries


def test_scripts_that_stand_in_the_plan_are_asked_for_again():
    answers = [f"{_PLAN}\n\n{_SCRIPTS}", _SCRIPTS.replace("1", "3")]
    assert _turns().reply(answers[:1], None) == "Scripts!"
    assert parse.parse(_turns().recipe(answers)).processing == "print(3)\n"


def test_a_plan_that_cannot_be_read_is_mended_where_there_are_retries():
    assert _turns().reply(["nothing"], None) == ""
    assert _turns().recipe(["nothing"]) == "nothing"
    turns = _turns(retries=1)
    told = turns.reply(["nothing"], None)
    assert "no heading '## Training Data'" in told and "plan again" in told
    assert turns.reply(["nothing", "nothing"], None) == ""
    answers = ["nothing", _PLAN]
    assert turns.reply(answers, None) == "Scripts!"
    answers.append(_SCRIPTS)
    assert parse.parse(turns.recipe(answers)).processing == "print(1)\n"
    assert turns.reply(answers, _ended("oom")) == ""  # the retry is spent


@pytest.mark.parametrize(
    ("execution", "words"),
    [
        (
            _ended("runtime_error", "0123456789 KeyError"),
            "runtime_error:\nKeyError\n\n",
        ),
        (_ended("unparsed", "no fence"), "No recipe can be read from that: no fence"),
        (
            _ended("ok", verification="timeout"),
            "verification script ended with timeout",
        ),
        (
            _ended(
                "ok", data=types.Dataset(rows=(), malformed=2, first_error="no role")
            ),
            "break the training format: no role",
        ),
    ],
)
def test_a_recipe_that_fails_is_mended_as_often_as_allowed(execution, words):
    turns = _turns(apart=False, retries=2)
    told = turns.reply(["x"], execution)
    assert words in told and told.endswith("in the same format.")
    assert turns.reply(["x", "y"], execution)
    assert turns.reply(["x", "y", "z"], execution) == ""
    assert turns.recipe(["x", "y", "z"]) == "z"
    apart = _turns(retries=1).reply([_PLAN, _SCRIPTS], execution)
    assert apart.endswith("Write both Python blocks again, mended.")
    assert _turns(retries=1).recipe([_PLAN, "x", _SCRIPTS]).endswith(_SCRIPTS)


@pytest.mark.parametrize(
    "execution",
    [_ended("ok"), _ended("ok", verification="ok"), _ended("sandbox_error")]
    + [_ended("ok", verification="sandbox_error")],
)
def test_what_ended_well_or_is_our_fault_stands(execution):
    assert _turns(apart=False, retries=9).reply(["x"], execution) == ""


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="retries is -1"):
        _turns(retries=-1)
    with pytest.raises(ValueError, match="error_chars is 0"):
        _turns(error_chars=0)
