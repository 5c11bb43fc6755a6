"""Tests for datachef_jax/verifier/metadata.py."""

import ast
import dataclasses
import math
import pathlib
import warnings

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from datachef_jax import types
from datachef_jax.recipes import compose
from datachef_jax.verifier import metadata
from datachef_jax.verifier import proxy

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_HANDLING = types.Handling(user='row["q"]', assistant='row["a"]', keep='row["s"] >= 3')


def _source(name):
    return types.Source(
        id=name,
        path=pathlib.Path("nowhere"),
        format="jsonl",
        records="",
        columns=("q", "a", "s"),
        num_rows=10,
        card="",
        plain=_HANDLING,
        expert=_HANDLING,
    )


_TASK = types.Task(
    name="sorting",
    domain="algorithmic",
    instruction="Sort.",
    benchmark="sorting-1",
    benchmark_description="",
    contract="plain",
    metric="exact_match",
    examples=(types.Example(question="2 1", answer="1 2"),),
    sources=(_source("x/one"), _source("x/two"), _source("x/three")),
)
_RECIPE = types.Recipe(
    training_data=tuple(
        types.PlanItem(
            dataset_id=name, split="train", name="default", sample_num=n, reason=""
        )
        for name, n in (("x/one", 10), ("x/two", 89), ("x/else", -5))
    ),
    workflow="",
    processing="""\
from aidp import *
import aidp
ds = load_remote_dataset("x/one")
ds = select_by_filter(ds, lambda row: row["s"] >= 3 and -2 < row["t"] <= 5.5)
ds = filter_by_length(ds, "q", 10, max_chars=200)
ds = aidp.filter_by_length(ds, "q", min_chars=20)
ds = deduplicate_by_minhash(ds, threshold=0.7)
n = 12345 if ds == "7" and True != 1j else 6
""",
    verification="assert 99 > 98",
)


def _row(source=None):
    named = {} if source is None else {"source": source}
    return {"dialogs": [], **named}


def _execution(rows=(), calls=(), **changes):
    dataset = types.Dataset(rows=tuple(rows), malformed=changes.pop("malformed", 0))
    return types.Execution(kind="ok", log="", dataset=dataset, calls=calls, **changes)


def _describe(recipe=_RECIPE, execution=_execution(), verdict=None):
    verdict = types.Verdict(outcome="empty") if verdict is None else verdict
    execution = dataclasses.replace(execution, recipe=recipe)
    return metadata.describe(_TASK, execution, verdict)


def _scripted(script):
    return _describe(dataclasses.replace(_RECIPE, processing=script))


def _part(described, prefix):
    return {
        name.removeprefix(prefix): value
        for name, value in described.items()
        if name.startswith(prefix)
    }


def test_the_functions_are_those_that_the_toolkit_counts():
    counted = set()
    for path in (_ROOT / "sandbox" / "aidp").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "session.record",
                "record",
            ):
                counted.add(ast.literal_eval(node.args[0]))
    assert counted == set(metadata.FUNCTIONS)


def test_rows_and_their_sources_by_hand():
    rows = [_row("x/one")] * 6 + [_row("x/two")] * 2
    rows += [_row("y/else"), _row(), _row(["x/one"]), _row({})]
    described = _describe(
        execution=_execution(
            rows,
            (("load_remote_dataset", 99, 99), ("load_remote_dataset", 30, 30)),
            malformed=4,
        )
    )
    assert _part(described, "rows/") == pytest.approx(
        {"made": math.log(13), "loaded": math.log(130), "malformed": 0.25}
    )
    assert _part(described, "sources/") == pytest.approx(
        {
            "used": 2,
            "entropy": 0.5 * math.log(2) + math.log(6) / 6 + math.log(3) / 3,
            "largest": 0.5,
            "unknown": 1 / 3,
        }
    )
    assert _part(described, "source/") == pytest.approx(
        {"x/one": math.sqrt(1 / 2), "x/two": math.sqrt(1 / 6), "x/three": 0.0}
    )


def test_the_plan_by_hand():
    assert _part(_describe(), "plan/") == pytest.approx(
        {"datasets": math.log(4), "requested": math.log(100), "unknown": 1 / 3}
    )
    empty = dataclasses.replace(_RECIPE, training_data=())
    assert set(_part(_describe(empty), "plan/").values()) == {0.0}


def test_what_filters_and_the_model_did_by_hand():
    calls = (
        ("select_by_filter", 100, 40),
        ("filter_by_length", 100, 90),
        ("filter_with_llm", 40, 40),
        ("generate_dataset_with_llm", 9, 30),
        ("deduplicate_by_minhash", 50, 45),
        ("deduplicate_by_text_hash", 50, 50),
        ("sample_dataset", 50, 1),
        ("select_by_filter", 10, 10),
        ("quicksort", 5, 5),
    )
    described = _describe(execution=_execution(calls=calls))
    assert _part(described, "kept/") == pytest.approx(
        {"filters": 180 / 250, "strictest": 0.4, "duplicates": 0.95}
    )
    assert described["llm/asked"] == pytest.approx(math.log(50))
    counts = {k: v for k, v in _part(described, "calls/").items() if v}
    assert counts == pytest.approx(
        {name: math.log(2) for name, _, _ in calls if name != "quicksort"}
        | {"select_by_filter": math.log(3), "other": math.log(2)}
    )
    assert set(_part(_describe(), "kept/").values()) == {1.0}


def test_the_numbers_of_a_script_by_hand():
    assert _part(_describe(), "script/") == pytest.approx(
        {
            "parsed": 1,
            "thresholds": math.log(4),  # 3, -2, 5.5
            "lowest": -math.log(3),
            "highest": math.log(6.5),
            "min_chars": math.log(21),
            "max_chars": math.log(201),
            "similarity": math.log(1.7),
        }
    )


def test_gates_grades_and_cost_by_hand():
    def graded(gate, grade):
        return types.GradedRow(index=0, gate=gate, grade=grade, score=0.5)

    verdict = types.Verdict(
        outcome="scored",
        score=0.3,
        judge_score=0.6,
        factors={"size": 0.5},
        gates={"empty": 0, "refusal": 1},
        rows=(graded("refusal", ""), graded("", "E"), graded("", "E"), graded("", "")),
    )
    execution = _execution(
        cpu_seconds=math.e - 1, wall_seconds=0.0, written_bytes=999, verification="oom"
    )
    described = _describe(execution=execution, verdict=verdict)
    assert _part(described, "gate/") == {"empty": 0.0, "refusal": 0.25}
    assert _part(described, "factor/") == {"size": 0.5}
    assert _part(described, "grade/") == dict(A=0, B=0, C=0, D=0, E=0.5, none=0.25)
    assert _part(described, "verdict/") == {"score": 0.3, "judge_score": 0.6}
    assert _part(described, "ended/") == {"ok": 1.0, "verified": 0.0}
    assert _part(described, "cost/") == pytest.approx(
        {
            "cpu_seconds": 1,
            "wall_seconds": 0,
            "peak_bytes": 0,
            "written_bytes": math.log(1000),
        }
    )


def test_a_composed_recipe_is_read():
    recipe = compose.compose(
        [(source, source.expert) for source in _TASK.sources], deduplicate=True
    )
    described = _describe(recipe)
    assert described["plan/requested"] == pytest.approx(math.log(31))
    assert described["script/thresholds"] == pytest.approx(math.log(4))
    assert described["script/lowest"] == described["script/highest"] == math.log(4)


_ATTACKS = {
    "no python": "for for",
    "null byte": "a = 1\0",
    "half a surrogate": "a = '\ud800'",
    "nested too deep": "-" * 200_000 + "1",
    "a long sum": "1" + "+1" * 100_000,
    "a long chain of attributes": "a" + ".b" * 100_000,
    "parentheses": "(" * 100_000,
    "digits": "a < " + "9" * 9_000,
}
_ODD = {
    "digits": "a < 0x" + "f" * 9_000 + " > -0x" + "f" * 9_000,
    "beyond floats": "a < 1e999 < -1e999",
    "an escape that is none": "a = '\\d' is 1",
    "many comparisons": "1" + " < 1" * 20_000,
    "arguments of all kinds": "filter_by_length(*a, **b)\nf()()\n"
    "filter_by_length(1, 2, 'x', None, min_chars=n)\n(lambda: 0)(3)",
}


@pytest.mark.parametrize("script", _ATTACKS.values(), ids=_ATTACKS)
def test_a_script_that_cannot_be_read_has_no_numbers(script):
    assert set(_part(_scripted(script), "script/").values()) == {0.0}


@pytest.mark.parametrize("script", _ODD.values(), ids=_ODD)
def test_an_odd_script_is_read_and_its_numbers_are_bounded(script):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        described = _scripted(script)
    assert described["script/parsed"] == 1.0
    assert all(abs(value) < 28 for value in described.values())  # log(1e12) is 27.6


def test_forged_counts_are_bounded():
    huge = 10**400
    calls = (
        ("select_by_filter", 1, huge),
        ("select_by_filter", huge, 1),
        ("load_remote_dataset", -huge, -huge),
        ("generate_dataset_with_llm", huge, 0),
        ("deduplicate_by_minhash", 0, 0),
    )
    item = dataclasses.replace(_RECIPE.training_data[0], sample_num=huge)
    recipe = dataclasses.replace(_RECIPE, training_data=(item,) * 3)
    described = _describe(recipe, _execution([_row()] * 3, calls))
    assert all(abs(value) < 30 for value in described.values())
    assert described["rows/loaded"] == 0.0
    assert 0.0 <= described["kept/strictest"] <= described["kept/filters"] <= 1.0


_CALLS = st.tuples(
    st.sampled_from(metadata.FUNCTIONS) | st.text(max_size=5),
    st.integers(),
    st.integers(),
)
_SOURCES = st.none() | st.sampled_from(["x/one", "x/two"]) | st.text() | st.integers()


@hypothesis.given(
    script=st.text()
    | st.text(alphabet="a<>=-.0123456789()[]'\n ifor", max_size=60)
    | st.sampled_from([_RECIPE.processing[:n] for n in range(0, 400, 7)]),
    calls=st.lists(_CALLS, max_size=8),
    named=st.lists(_SOURCES, max_size=8),
)
@hypothesis.settings(max_examples=100, deadline=None)
def test_whatever_it_did_a_recipe_has_the_same_finite_features(script, calls, named):
    execution = _execution([_row(name) for name in named], tuple(calls))
    recipe = dataclasses.replace(_RECIPE, processing=script)
    described = _describe(recipe, execution)
    assert list(described) == list(_describe())
    assert all(type(value) is float for value in described.values())
    assert all(math.isfinite(value) for value in described.values())
    assert described == _describe(recipe, execution)


def test_a_matrix_has_the_columns_that_it_is_told():
    one, two = {"b": 1.0, "a": 2.0}, {"c": 3.0, "source/x": 4.0}
    np.testing.assert_array_equal(
        metadata.vector([one, two], ("a", "c", "b")), [[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]]
    )
    assert metadata.vector([], ("a",)).shape == (0, 1)
    assert metadata.columns([one, two], by_source=True, costs=True) == (
        "a",
        "b",
        "c",
        "source/x",
    )
    assert metadata.columns([two, one], by_source=False, costs=True) == ("a", "b", "c")
    with pytest.raises(ValueError, match="names must differ, got 'a' twice"):
        metadata.vector([one], ("a", "b", "a"))


def test_a_proxy_learns_from_descriptions():
    """Scores that follow the first source's share are foretold for new shares."""

    def described(first):
        rows = [_row("x/one")] * first + [_row("x/two")] * (40 - first)
        return _describe(execution=_execution(rows))

    seen = [described(first) for first in range(1, 40, 2)]
    columns = metadata.columns(seen, by_source=True, costs=True)
    fitted = proxy.fit(
        metadata.vector(seen, columns),
        np.arange(1, 40, 2) / 40,
        settings=proxy.ProxySettings(
            kernel="rbf", prior_std=0.3, unfamiliar_share=0.05
        ),
    )
    others = metadata.vector([described(n) for n in (10, 20, 30)], columns)
    made = fitted.predict(others)
    np.testing.assert_allclose(made.mean, [0.25, 0.5, 0.75], atol=0.02)
    assert not made.unfamiliar.any()
    strange = _describe(
        execution=_execution([_row("x/three")] * 40, (("map_rows", 9, 9),))
    )
    assert fitted.predict(metadata.vector([strange], columns)).unfamiliar.all()
