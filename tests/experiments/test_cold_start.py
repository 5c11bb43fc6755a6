"""Tests for experiments/cold_start.py."""

import pathlib
import re

import numpy as np
import pytest

from datachef_jax.recipes import grammar
from datachef_jax.recipes import parse
from datachef_jax.tasks.mini import pool
from datachef_jax.text import prompts
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.types import Dataset
from datachef_jax.types import Execution
from datachef_jax.types import Verdict
from experiments import cold_start

_SHIPPED = pathlib.Path(__file__).parents[2] / "configs/mini/checkpoints"
_STYLE = prompts.PromptStyle(
    rules=False, toolkit="", examples_per_source=1, max_example_chars=10
)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return pool.build(tmp_path_factory.mktemp("pool"), seed=0, benchmark_size=8)


class _Executor:
    """Runs nothing: the scripts of this test are only counted."""

    def run(self, tasks, texts, seeds, progress):
        ran = Execution(kind="ok", log="", dataset=Dataset(rows=()))
        return [ran for _ in texts]


class _Verifier:
    """Scores by the number of sources, so that the test knows who is kept."""

    def verify(self, tasks, executions, seeds, *, progress):
        verdicts = [
            Verdict(outcome="scored", score=len(task.sources) / 10) for task in tasks
        ]
        return [Verdict(outcome="empty"), *verdicts[1:]]


def _sampler(tasks, workdir, **changes):
    settings = dict(smallest=2, largest=8, min_score=0.5) | changes
    return cold_start.Sampler(
        tasks=tasks,
        executor=_Executor(),
        verifier=_Verifier(),
        workdir=workdir,
        **settings,
    )


def test_only_what_is_scored_well_enough_is_kept(tasks, tmp_path):
    kept, tried = _sampler(tasks, tmp_path).sample(60, seed=0)
    assert 60 <= len(kept) < tried
    assert all(d.score >= 0.5 and len(d.sources) == round(10 * d.score) for d in kept)
    everything, tried = _sampler(tasks, tmp_path / "all", min_score=0.0).sample(
        100, seed=0
    )
    assert tried == 128 and len(everything) == 126  # one a round has no data


def test_a_killed_sampler_goes_on_with_its_rounds(tasks, tmp_path):
    first, _ = _sampler(tasks, tmp_path).sample(40, seed=0)
    again, _ = _sampler(tasks, tmp_path).sample(40, seed=0)
    assert first == again
    fresh, _ = _sampler(tasks, tmp_path / "fresh").sample(40, seed=0)
    assert first == fresh


def test_every_copy_has_other_names_and_is_still_a_recipe(tasks):
    tokenizer = ChatTokenizer.load(_SHIPPED / "tokenizer")
    recipe = grammar.sample(tasks[0], np.random.default_rng(0), care=1.0)
    demonstration = cold_start.Demonstration(
        task=tasks[0].name,
        sources=tuple(source.id for source in tasks[0].sources),
        recipe=grammar.write(tasks[0], recipe),
        score=1.0,
    )
    examples = cold_start.tokenize(
        [demonstration],
        tasks,
        tokenizer,
        style=_STYLE,
        copies=20,
        topics_share=1.0,
        max_tokens=704,
        seed=0,
    )
    assert len({example.tokens for example in examples}) == 20
    questions = {
        str(row[source.columns[0]])[:10]
        for source in tasks[0].sources
        for row in source.examples
    }
    openings = set()
    for example in examples:
        start = example.loss_mask.index(True)
        prompt = tokenizer.decode(example.tokens[:start])
        assert tasks[0].instruction not in prompt
        assert not any(question in prompt for question in questions)
        openings.update(re.findall("The answer|Let me see|I worked i", prompt))
        retold = parse.parse(tokenizer.decode(example.tokens[start:]))
        for item in retold.training_data:
            assert f'"{item.dataset_id}"' in prompt
    assert len(openings) == 3  # of the source whose answers are sentences
