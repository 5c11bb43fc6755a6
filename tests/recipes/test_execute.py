"""From completions to rows, through the real sandbox."""

import dataclasses
import json

import pytest

from datachef_jax import types
from datachef_jax.recipes import execute
from datachef_jax.recipes import parse
from tests import blank
from tests.sandbox import small

_LIMITS = dataclasses.replace(
    small.LIMITS, cpu_seconds=4.0, wall_seconds=20.0, dataset_bytes=2**20
)
_ITEM = types.PlanItem(
    dataset_id="toy/sums", split="train", name="default", sample_num=9, reason="all"
)
_GOOD = """\
from aidp import *

ds = load_remote_dataset("toy/sums", split="train")
ds = select_by_filter(ds, lambda row: row["score"] > 1)
ds = format_to_sharegpt(ds, user_map="q", assistant_map=lambda row: to_boxed(row["a"]))
dump_dataset(ds, "data/processed/train.jsonl")
"""


def _text(processing, verification="\n"):
    recipe = types.Recipe(
        training_data=(_ITEM,),
        workflow="Keep the good ones.",
        processing=processing,
        verification=verification,
    )
    return parse.render(recipe)


def _write(line):
    return _text(f"open('data/processed/a.jsonl', 'w').write({line!r})\n")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("sources") / "sums.csv"
    lines = [f"{n}+{n},{2 * n},{n % 4}" for n in range(100)]
    path.write_text("\n".join(["q,a,score", *lines]) + "\n")
    source = blank.source(
        "toy/sums", path=path, format="csv", columns=("q", "a", "score"), num_rows=100
    )
    return blank.task("sums", sources=(source,))


@pytest.fixture(scope="module")
def sandbox():
    with small.started(limits=_LIMITS) as one:
        yield one


@pytest.fixture
def run(sandbox, task):
    """Returns a function that executes completions."""

    def execute_all(texts, *, row_cap=0, seeds=None):
        executor = execute.Executor(sandbox=sandbox, row_cap=row_cap)
        done = []
        found = executor.run(
            [task] * len(texts), texts, seeds or [0] * len(texts), done.append
        )
        assert sum(done) == len(texts)
        return found

    return execute_all


def test_a_good_recipe_gives_its_rows(run):
    (execution,) = run([_text(_GOOD, "print('checked')\n")])
    assert (execution.kind, execution.verification) == ("ok", "ok")
    assert len(execution.dataset.rows) == 50
    assert execution.dataset.rows[0] == {
        "dialogs": [
            {"role": "user", "content": "2+2"},
            {"role": "assistant", "content": "\\boxed{4}"},
        ],
        "source": "toy/sums",
    }
    assert execution.calls == (
        ("load_remote_dataset", 100, 100),
        ("select_by_filter", 100, 50),
        ("format_to_sharegpt", 50, 50),
        ("dump_dataset", 50, 50),
    )
    assert "checked" in execution.log


def test_every_kind_of_completion_in_order(run):
    bad_row = json.dumps({"dialogs": []})
    texts = [
        "no recipe",
        _text(_GOOD),
        _text("1 / 0\n"),
        _text("print('nothing')\n"),
        _write("{"),
        _write(bad_row),
        _text("open('data/processed/a.jsonl', 'wb').truncate(2**21)\n"),
        _text(_GOOD.replace("toy/sums", "toy/differences")),
        _text(_GOOD.replace('"score"', '"points"')),
    ]
    found = run(texts)
    assert [execution.kind for execution in found] == [
        "unparsed",
        "ok",
        "runtime_error",
        "no_output",
        "invalid_output",
        "ok",
        "invalid_output",
        "runtime_error",
        "runtime_error",
    ]
    assert found[0].log == "no heading '## Training Data'"
    assert "ZeroDivisionError" in found[2].log
    assert "[no rows in data/processed/*.jsonl]" in found[3].log
    assert "a.jsonl, line 1 is not JSON" in found[4].log
    assert (found[5].dataset.rows, found[5].dataset.malformed) == ((), 1)
    assert "a.jsonl is too large" in found[6].log
    assert "the datasets are ['toy/sums']" in found[7].log
    assert "the columns are ['q', 'a', 'score']" in found[8].log
    assert all(not e.dataset.rows for e in found if e.kind != "ok")


def test_an_execution_depends_on_its_text_and_seed_alone(run):
    texts = [_text(_GOOD), _text("1 / 0\n"), _text(_GOOD)]
    crowd = run(texts, row_cap=20, seeds=[1, 1, 2])
    (alone,) = run(texts[:1], row_cap=20, seeds=[1])
    assert crowd[0].dataset == alone.dataset != crowd[2].dataset
    assert 0 < len(alone.dataset.rows) <= 20
