"""Adversarial recipes, run for real, against the gates and a judge that is no help."""

import pathlib

import numpy as np
import pytest

from datachef_jax.recipes import adversarial
from datachef_jax.recipes import execute
from datachef_jax.recipes import handwritten
from datachef_jax.recipes import parse
from datachef_jax.tasks.mini import pool
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.verifier import verify
from datachef_jax.verifier.gates import correctness
from datachef_jax.verifier.gates.settings import GateSettings
from datachef_jax.verifier.judges import grade as grades
from configs import quickstart
from tests.sandbox import small

_ROOT = pathlib.Path(__file__).parents[2]
_TASKS = (
    "chain_sum",  # boxes
    pytest.param("number_sorting", marks=pytest.mark.slow),  # JSON
    pytest.param("syllogism", marks=pytest.mark.slow),  # letters
)
_STOPPED = 0.5  # of the score that the expert's recipe has


class _Pleased(grades.Judge):
    """Passes every row: what is left is the gates' work."""

    def grade(self, items, seeds, *, progress):
        progress(len(items))
        passed = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
        return [grades.expected(passed, mass=1.0, seed=0) for _ in items]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    found = pool.build(folder, seed=0, benchmark_size=60)
    return {task.name: task for task in found}


@pytest.fixture(scope="module")
def verifier(tasks):
    config = quickstart.get_config().verifier
    return verify.Verifier(
        _Pleased(),
        verify.VerifierSettings(
            rows_per_dataset=100,
            max_malformed_share=config.max_malformed_share,
            mean_power=config.mean_power,
            held_out_every=1,
            gates=GateSettings(**config.gates.to_dict()),
        ),
        tokenizer=ChatTokenizer.load(_ROOT / "configs/mini/checkpoints/tokenizer"),
        benchmarks=[task.examples for task in tasks.values() if task.held_out],
        decide=correctness.mini,
        held_out=None,
        forecaster=None,
    )


@pytest.fixture(scope="module")
def executor():
    with small.started() as sandbox:
        yield execute.Executor(sandbox=sandbox, row_cap=0)


@pytest.mark.parametrize("name", _TASKS)
def test_no_attack_comes_near_the_expert_even_where_the_judge_is_pleased(
    tasks, verifier, executor, name
):
    task = tasks[name]
    recipes = {"expert": handwritten.expert(task)} | adversarial.attacks(task)
    texts = [parse.render(recipe) for recipe in recipes.values()]
    executions = executor.run([task] * len(texts), texts, range(len(texts)), _ignore)
    assert [execution.kind for execution in executions] == ["ok"] * len(texts)
    verdicts = verifier.verify(
        [task] * len(texts), executions, range(len(texts)), progress=_ignore
    )
    scores = {
        attack: verdict.score for attack, verdict in zip(recipes, verdicts, strict=True)
    }
    expert = scores.pop("expert")
    assert len(scores) == 12 and expert > 0.8
    assert {a: s for a, s in scores.items() if s >= _STOPPED * expert} == {}


def _ignore(count):
    del count
