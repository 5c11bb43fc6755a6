"""Tests for experiments/parts.py."""

import pathlib

import ml_collections as mlc
import pytest

from datachef_jax import types
from datachef_jax.text import prompts
from datachef_jax.text.tokenizer import ChatTokenizer
from experiments import checks
from experiments import parts
from tests import blank

_SHIPPED = pathlib.Path(__file__).parents[2] / "configs/mini/checkpoints"
_STYLE = prompts.PromptStyle(
    rules=False, toolkit="", examples_per_source=1, max_example_chars=100
)


def test_the_toolkit_stands_in_a_prompt_that_wants_it():
    fields = dict(rules=True, examples_per_source=1, max_example_chars=9)
    told = parts.prompt_style(toolkit=True, **fields).toolkit
    assert "deduplicate_by_text_hash(ds, text_map=None, lowercase=True" in told
    assert parts.prompt_style(toolkit=False, **fields).toolkit == ""


def _task(*rows: str) -> types.Task:
    examples = tuple({"a": row} for row in rows)
    sources = (blank.source(id, examples=examples) for id in ("mini/a", "mini/b"))
    return blank.task("sorting", sources=tuple(sources))


@pytest.mark.parametrize("longest", range(3))
def test_a_prompt_must_fit_whichever_rows_it_shows(longest):
    tokenizer = ChatTokenizer.load(_SHIPPED / "tokenizer")
    rows = ["x", "x", "x"]
    rows[longest] = "sentence " * 10
    needed = len(parts.prompt(_task(rows[longest]), tokenizer, _STYLE))
    config = mlc.ConfigDict(dict(sampling=dict(max_prompt_tokens=needed)))
    parts.check_prompts(config, [_task("x"), _task(*rows)], tokenizer, _STYLE)
    config.sampling.max_prompt_tokens -= 1
    with pytest.raises(checks.UserError, match=f"sorting has {needed} tokens"):
        parts.check_prompts(config, [_task("x"), _task(*rows)], tokenizer, _STYLE)
