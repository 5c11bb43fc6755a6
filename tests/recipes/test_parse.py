"""Recipes as text: round trips, and every way in which a text states none."""

import json

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from datachef_jax.recipes import parse
from datachef_jax.types import PlanItem
from datachef_jax.types import Recipe

_ITEM = {
    "dataset_id": "a/b",
    "split": "train",
    "name": "default",
    "sample_num": 5,
    "reason": "good",
}
_RECIPE = Recipe(
    training_data=(PlanItem(**_ITEM), PlanItem(**_ITEM | {"dataset_id": "ü/c"})),
    workflow="Join them,\nwrite.",
    processing="from aidp import *\nprint('é')\n",
    verification="assert True\n",
)
_TEXT = parse.render(_RECIPE)


def _with_plan(plan):
    return _TEXT.replace(_TEXT[_TEXT.index("[") : _TEXT.index("]") + 1], plan)


def test_the_canonical_form_has_one_item_per_line_and_is_read_back():
    assert _TEXT.splitlines()[:3] == [
        "## Training Data",
        "[",
        '{"dataset_id": "a/b", "split": "train", "name": "default", "sample_num": 5,'
        ' "reason": "good"},',
    ]
    assert parse.parse(_TEXT) == _RECIPE


@pytest.mark.parametrize(
    "text",
    [
        "<think>\nMaybe\n## Training Data\n```python\n```\n</think>\n\n" + _TEXT,
        "still thinking\n</think>\n" + _TEXT,
        "Here it is.\n\n" + _TEXT + "\n\nDone.",
        _with_plan(
            "```json\n" + json.dumps([_ITEM, _ITEM | {"dataset_id": "ü/c"}]) + "\n```"
        ),
    ],
    ids=["thinking", "thinking opened by the prompt", "prose around", "fenced list"],
)
def test_what_models_write_around_it_is_tolerated(text):
    assert parse.parse(text) == _RECIPE


def test_thinking_is_split_from_what_follows():
    assert parse.split_thinking("<think>\na\nb\n</think>\n" + _TEXT) == (
        "a\nb",
        "\n" + _TEXT,
    )
    assert parse.split_thinking("still\n</think>" + _TEXT) == ("still", _TEXT)
    assert parse.split_thinking(_TEXT) == ("", _TEXT)


def test_a_script_may_speak_of_thinking():
    recipe = Recipe(
        training_data=_RECIPE.training_data,
        workflow="w",
        processing='text.split("</think>")\n',
        verification="\n",
    )
    assert parse.parse(parse.render(recipe)) == recipe


_words = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="#`"),
    min_size=1,
)
_lines = st.lists(_words, min_size=1).map(lambda lines: "\n".join(lines) + "\n")


@given(
    ids=st.lists(_words, min_size=1, max_size=3),
    number=st.integers(0, 10**9),
    workflow=_lines.map(str.strip).filter(bool),
    processing=_lines.filter(str.strip),
    verification=_lines,
)
@settings(max_examples=50, deadline=None)
def test_every_recipe_is_read_back(ids, number, workflow, processing, verification):
    recipe = Recipe(
        training_data=tuple(
            PlanItem(dataset_id=i, split=i, name=i, sample_num=number, reason=i)
            for i in ids
        ),
        workflow=workflow,
        processing=processing,
        verification=verification,
    )
    assert parse.parse(parse.render(recipe)) == recipe


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no heading '## Training Data'"),
        ("<think> hmm\n" + _TEXT, "never ends"),
        (
            _TEXT.replace("## Training Data", "# Training Data"),
            "no heading '## Training",
        ),
        (
            _TEXT.replace("## Data Processing", "## The"),
            "no heading '## Data Processing",
        ),
        (_TEXT.replace(_RECIPE.workflow, ""), "Workflow' is empty"),
        (_TEXT.replace(_RECIPE.processing, "\n"), "processing script is empty"),
        (_TEXT.rsplit("```python", 1)[0], "exactly 2 ```python blocks, got 1"),
        (_TEXT + "\n```python\npass\n```", "got 3"),
        (_TEXT[:-3], "got 2, 1 of them closed"),
        (_with_plan("[{]"), "is not JSON"),
        (_with_plan('["\\ud800"]'), "is not JSON"),
        (_with_plan("[" * 100_000), "is not JSON"),
        (_with_plan("[]"), "not empty"),
        (_with_plan('{"a": 1}'), "must be a JSON list"),
        (_with_plan("[1]"), "item 0 is no JSON object"),
        (_with_plan('[{"dataset_id": "a/b"}]'), "item 0 must have"),
        (_with_plan(json.dumps([_ITEM, _ITEM | {"x": 1}])), "item 1 must have"),
        (_with_plan(json.dumps([_ITEM | {"split": None}])), "split is None, no str"),
        (_with_plan(json.dumps([_ITEM | {"sample_num": True}])), "sample_num is True"),
        (_with_plan(json.dumps([_ITEM | {"sample_num": -1}])), "sample_num is -1"),
        (_TEXT + "\ud800", "not valid Unicode"),
    ],
)
def test_says_why_a_text_states_no_recipe(text, reason):
    with pytest.raises(parse.ParseError) as caught:
        parse.parse(text)
    assert reason in str(caught.value)


@given(
    st.lists(st.sampled_from(_TEXT.splitlines(True) + ["<think>", "</think>", "```\n"]))
)
@settings(max_examples=200, deadline=None)
def test_nothing_but_parse_errors_comes_out(pieces):
    try:
        parse.parse("".join(pieces))
    except parse.ParseError:
        pass
