"""Tests for experiments/evaluation.py; the path through it is `test_quickstart`'s."""

import dataclasses
import json

import pytest

from datachef_jax import types
from datachef_jax.recipes import parse
from datachef_jax.recipes.execute import Executor
from datachef_jax.recipes.turns import Turns
from datachef_jax.sampling.request import Part
from datachef_jax.serving.client import Client
from datachef_jax.text import prompts
from datachef_jax.training import rollouts
from datachef_jax.training.conversation import Conversation
from experiments import evaluation
from experiments import parts
from tests import blank
from tests import tiny
from tests.sandbox import small

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
    interval=(0.25, 0.75),
    judge_score=0.75,
    held_out_score=None,
    factors={},
    gates={},
    found={},
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


_PLAN = _recipe("x", "copy").partition("```")[0]
_COPY = """```python
from aidp import *
ds = load_remote_dataset("toy/numbers")
ds = format_to_sharegpt(ds, user_map="{column}", assistant_map="n")
dump_dataset(ds, "data/processed/a.jsonl")
```
```python
assert open("data/processed/a.jsonl").read()
```"""


class _Author(Client):
    """Writes a plan, then scripts with a wrong column, then mends that."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self.asked = []

    def serve(self, requests):
        for place, request in enumerate(requests):
            prompt = self._tokenizer.decode(request.prompt)
            self.asked.append(prompt)
            if "no column" in prompt:
                text = _COPY.format(column="t")
            else:
                text = _COPY.format(column="q") if "Now write" in prompt else _PLAN
            ids = (*self._tokenizer.encode(text), self._tokenizer.end_id)
            for sample in range(len(request.seeds)):
                completion = blank.completion(ids, ended="end")
                yield place, Part(request=place, sample=sample, completion=completion)


class _Lenient:
    """A verifier that likes whatever there is."""

    def verify(self, tasks, executions, seeds, progress):
        del tasks, seeds, progress
        return [
            types.Verdict(outcome="scored" if e.dataset.rows else "empty", score=1.0)
            for e in executions
        ]


@pytest.mark.parametrize(("retries", "answers"), [(1, 3), (0, 2)])
def test_plan_then_code_and_a_column_that_is_mended(tmp_path, retries, answers):
    """Through the real sandbox: the error that the author is shown is its own."""
    path = tmp_path / "numbers.jsonl"
    path.write_text(json.dumps({"n": "1", "t": "one"}) + "\n")
    source = blank.source("toy/numbers", path=path, columns=("n", "t"))
    task = blank.task("count", sources=(source,))
    tokenizer = tiny.byte_tokenizer()
    style = prompts.PromptStyle(
        rules=True, toolkit="", examples_per_source=0, max_example_chars=9, apart=True
    )
    turns = Turns(
        apart=True,
        retries=retries,
        error_chars=2000,
        scripts_request=prompts.scripts_request(style),
    )
    author = _Author(tokenizer)
    with small.started() as sandbox:
        evaluator = evaluation.Evaluator(
            prompt=lambda task: parts.prompt(task, tokenizer, style),
            decode=tokenizer.decode,
            conversation=Conversation(turns, tokenizer, max_new_tokens=20_000),
            executor=Executor(sandbox=sandbox, row_cap=0),
            verifier=_Lenient(),
            recipes=2,
            temperature=1.0,
        )
        progress = []
        ((one, two),) = evaluator.measure(
            author, [task], seed=0, progress=progress.append
        )
    assert one.completion == two.completion
    assert len(author.asked) == 1 + 2 * (answers - 1)  # the first is shared
    assert len(one.spoken) == 2 * answers - 1
    assert one.spoken[0].strip() == _PLAN.strip()
    assert "Now write exactly two Python blocks" in one.spoken[1]
    assert sum(progress) == 2 * evaluation.STAGES
    if retries:
        assert "'q' is no column; the columns are ['n', 't']" in one.spoken[3]
        assert (one.execution, one.num_rows, one.score) == ("ok", 1, 1.0)
        assert 'user_map="t"' in parse.parse(one.completion).processing
    else:
        assert (one.execution, one.outcome) == ("runtime_error", "empty")
