"""From completions to rows, through the real sandbox."""

import json

import pytest

from datachef_jax import types
from datachef_jax.recipes import execute
from datachef_jax.recipes import parse
from sandbox import pool
from tests import blank

_LIMITS = pool.Limits(
    cpu_seconds=4.0,
    wall_seconds=20.0,
    memory_bytes=2**29,
    processes=32,
    file_bytes=2**22,
    output_bytes=4096,
    dataset_bytes=2**23,
    llm_calls=10,
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
    with pool.Sandbox(
        limits=_LIMITS, workers=2, answer=lambda c: ["4"] * len(c)
    ) as one:
        yield one


@pytest.fixture
def run(sandbox, task, tmp_path):
    """Returns a function that executes completions and checks that nothing is left."""

    def execute_all(texts, *, row_cap=0, max_dataset_bytes=10_000, seeds=None):
        executor = execute.Executor(
            sandbox=sandbox,
            directory=tmp_path / "runs",
            row_cap=row_cap,
            max_dataset_bytes=max_dataset_bytes,
        )
        done = []
        found = executor.run(
            [task] * len(texts), texts, seeds or [0] * len(texts), done.append
        )
        assert sum(done) == len(texts) and not list((tmp_path / "runs").iterdir())
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
        _write("x" * 20_000),
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


def test_what_a_killed_run_left_is_removed(run, tmp_path):
    left = tmp_path / "runs" / "recipe-77" / "data"
    left.mkdir(parents=True)
    (left / "x").write_text("x")
    run([])
