"""Tests for experiments/parts.py."""

import dataclasses
import pathlib

import ml_collections as mlc
import pytest

from datachef_jax.tasks.mini import pool
from datachef_jax.text import prompts
from datachef_jax.text.tokenizer import ChatTokenizer
from experiments import parts

_SHIPPED = pathlib.Path(__file__).parents[2] / "configs/mini/checkpoints"
_STYLE = prompts.PromptStyle(
    rules=False, toolkit="", examples_per_source=1, max_example_chars=100
)


@pytest.mark.parametrize("longest", range(3))
def test_a_prompt_must_fit_whichever_row_it_shows(tmp_path, longest):
    tokenizer = ChatTokenizer.load(_SHIPPED / "tokenizer")
    task = pool.build(tmp_path, seed=0, benchmark_size=8)[0]
    rows = [{"a": "x"}, {"a": "x"}, {"a": "x"}]
    rows[longest] = {"a": "sentence " * 10}
    source = dataclasses.replace(task.sources[0], examples=tuple(rows))
    task = dataclasses.replace(task, sources=(source,))
    worst = dataclasses.replace(source, examples=(rows[longest],))
    needed = len(
        parts.prompt(dataclasses.replace(task, sources=(worst,)), tokenizer, _STYLE)
    )
    for limit, refused in ((needed, False), (needed - 1, True)):
        config = mlc.ConfigDict(dict(sampling=dict(max_prompt_tokens=limit)))
        if refused:
            with pytest.raises(Exception, match=f"{task.name} has {needed} tokens"):
                parts.check_prompts(config, [task], tokenizer, _STYLE)
        else:
            parts.check_prompts(config, [task], tokenizer, _STYLE)
