"""A recipe as numbers, for the learned proxy: what it used, did, kept and cost.

Nothing here runs a script or reads a row's text. What is in a script or a plan comes
from a model, and what a toolkit call is said to have counted comes from the process
that ran the script: numbers from there are cut to what is sensible, never believed.

Counts, seconds and bytes are `log1p` of themselves, so that twice as much is one step
wherever one stands. Shares of sources are square roots: cross-validation takes roots of
a mixture's weights in 7 of 10 draws, their logarithms in 3, and never the weights
themselves (`experiments/run.py --config=configs/bench/proxy.py`).
"""

import ast
import collections
from collections.abc import Iterator, Mapping, Sequence
import math
import warnings

from jaxtyping import Float
import numpy as np

from datachef_jax import types

FUNCTIONS = (
    "load_remote_dataset",
    "select_by_filter",
    "filter_by_length",
    "select_columns",
    "map_rows",
    "generate_dataset_with_llm",
    "filter_with_llm",
    "score_with_llm",
    "deduplicate_by_text_hash",
    "deduplicate_by_minhash",
    "sample_dataset",
    "split_dataset",
    "mix_datasets",
    "concatenate_datasets",
    "format_to_sharegpt",
    "dump_dataset",
)
"""The toolkit's functions that are counted when they are called."""

_FILTERS = ("select_by_filter", "filter_by_length", "filter_with_llm")
_DUPLICATES = ("deduplicate_by_text_hash", "deduplicate_by_minhash")
_MODEL = ("generate_dataset_with_llm", "filter_with_llm", "score_with_llm")
# Name of a feature -> function, keyword and place of the argument that it is.
_ARGUMENTS = {
    "script/min_chars": ("filter_by_length", "min_chars", 2),
    "script/max_chars": ("filter_by_length", "max_chars", 3),
    "script/similarity": ("deduplicate_by_minhash", "threshold", 2),
}
_GRADES = "ABCDE"
_OF_SOURCE, _OF_COST = "source/", "cost/"
_MOST = 1e12  # larger numbers are taken for this one

Call = tuple[str, int, int]


def describe(
    task: types.Task, execution: types.Execution, verdict: types.Verdict
) -> dict[str, float]:
    """Returns a recipe's features by name, all of them finite.

    Names, the same for every recipe of a task:

      rows/…: `made`, `loaded` (log1p); `malformed`, a share of the lines.
      sources/…: how many sources the rows name (`used`), the entropy of their shares
        in nats, the `largest` share, and the share of rows that name none of the
        task's (`unknown`).
      source/<id>: square root of the share of rows from a source, for each of the
        task's.
      plan/…: `datasets` that the plan lists, rows that it asks for (`requested`,
        log1p), and the share of its datasets that the task does not have (`unknown`).
      kept/…: share of rows that the `filters` let pass, all together, that the
        `strictest` call of them did, and that was left by removing `duplicates`; 1
        where nothing was removed.
      script/…: how many numbers are compared with anything (`thresholds`, log1p), the
        `lowest` and the `highest` of them, and the largest `min_chars`, `max_chars` and
        `similarity` that a toolkit function is given; sign x log1p, 0 where there is
        none. `parsed` is 0 if the script is no Python.
      calls/<function>: log1p of how often each toolkit function was called; `other`.
      llm/asked: log1p of the rows that a language model was asked about.
      gate/<name>, grade/<letter>: shares of the rows drawn by the verifier; grade/none
        is that of unreadable grades. factor/<name>: of the set's gates.
      verdict/…: `score` and `judge_score`, as in the verdict.
      cost/…: `cpu_seconds`, `wall_seconds`, `peak_bytes`, `written_bytes` (log1p).
      ended/…: `ok` and `verified`, 1 or 0.

    Args:
      task: What the recipe was for.
      execution: The recipe, and what became of it.
      verdict: Of the verifier; an empty one where nobody looked.
    """
    recipe = execution.recipe
    plan, script = (
        ((), "") if recipe is None else (recipe.training_data, recipe.processing)
    )
    return {
        **_rows(execution),
        **_sources(task, execution.dataset.rows),
        **_plan(task, plan),
        **_kept(execution.calls),
        **_script(script),
        **_calls(execution.calls),
        **_graded(verdict),
        "cost/cpu_seconds": _log(execution.cpu_seconds),
        "cost/wall_seconds": _log(execution.wall_seconds),
        "cost/peak_bytes": _log(execution.peak_bytes),
        "cost/written_bytes": _log(execution.written_bytes),
        "ended/ok": float(execution.kind == "ok"),
        "ended/verified": float(execution.verified),
    }


def columns(
    descriptions: Sequence[Mapping[str, float]], *, by_source: bool, costs: bool
) -> tuple[str, ...]:
    """Returns the names of all features that any of some recipes has, sorted.

    Args:
      descriptions: Of `describe`.
      by_source: Whether those of single sources are among them. Sources of one task
        say nothing of another's, so a proxy for other tasks does without.
      costs: Whether those of the run's costs are, which differ from run to run.
    """
    found = {name for description in descriptions for name in description}
    left_out = tuple(
        prefix
        for prefix, wanted in ((_OF_SOURCE, by_source), (_OF_COST, costs))
        if not wanted
    )
    return tuple(sorted(name for name in found if not name.startswith(left_out)))


def vector(
    descriptions: Sequence[Mapping[str, float]], names: Sequence[str]
) -> Float[np.ndarray, "recipes features"]:
    """Returns features as a matrix.

    Args:
      descriptions: Of `describe`.
      names: Of the columns, in order. A recipe that has no such feature has 0 there.

    Raises:
      ValueError: If a name stands twice.
    """
    if twice := [n for n, k in collections.Counter(names).items() if k > 1]:
        raise ValueError(f"names must differ, got {twice[0]!r} twice")
    matrix = np.zeros((len(descriptions), len(names)))
    for row, description in enumerate(descriptions):
        matrix[row] = [description.get(name, 0.0) for name in names]
    return matrix


def _rows(execution: types.Execution) -> dict[str, float]:
    data = execution.dataset
    lines = len(data.rows) + data.malformed
    loaded = _total(execution.calls, ("load_remote_dataset",))[1]
    return {
        "rows/made": _log(len(data.rows)),
        "rows/loaded": _log(loaded),
        "rows/malformed": data.malformed / lines if lines else 0.0,
    }


def _sources(task: types.Task, rows: Sequence[types.Row]) -> dict[str, float]:
    known = {source.id for source in task.sources}
    named = (row.get("source") for row in rows)
    counts = collections.Counter(
        name if isinstance(name, str) and name in known else "" for name in named
    )
    total = max(len(rows), 1)
    shares = [count / total for count in counts.values()]
    return {
        "sources/used": float(sum(1 for name in counts if name)),
        "sources/entropy": math.fsum(share * math.log(1 / share) for share in shares),
        "sources/largest": max(shares, default=0.0),
        "sources/unknown": counts[""] / total,
    } | {
        f"{_OF_SOURCE}{source.id}": math.sqrt(counts[source.id] / total)
        for source in task.sources
    }


def _plan(task: types.Task, items: Sequence[types.PlanItem]) -> dict[str, float]:
    known = {source.id for source in task.sources}
    unknown = sum(item.dataset_id not in known for item in items)
    return {
        "plan/datasets": _log(len(items)),
        "plan/requested": _log(sum(_count(item.sample_num) for item in items)),
        "plan/unknown": unknown / len(items) if items else 0.0,
    }


def _kept(calls: Sequence[Call]) -> dict[str, float]:
    strictest = (_share(*_total([c], _FILTERS)) for c in calls if c[0] in _FILTERS)
    return {
        "kept/filters": _share(*_total(calls, _FILTERS)),
        "kept/strictest": min(strictest, default=1.0),
        "kept/duplicates": _share(*_total(calls, _DUPLICATES)),
    }


def _share(rows_in: float, rows_out: float) -> float:
    return min(rows_out / rows_in, 1.0) if rows_in else 1.0


def _calls(calls: Sequence[Call]) -> dict[str, float]:
    counts = collections.Counter(
        name if name in FUNCTIONS else "other" for name, _, _ in calls
    )
    return {
        **{f"calls/{name}": _log(counts[name]) for name in (*FUNCTIONS, "other")},
        "llm/asked": _log(_total(calls, _MODEL)[0]),
    }


def _total(calls: Sequence[Call], functions: Sequence[str]) -> tuple[float, float]:
    """Returns the rows that went into, and came out of, some functions."""
    mine = [call for call in calls if call[0] in functions]
    rows_in, rows_out = ([_count(call[i]) for call in mine] for i in (1, 2))
    return math.fsum(rows_in), math.fsum(rows_out)


def _script(script: str) -> dict[str, float]:
    tree = _tree(script)
    nodes = [] if tree is None else list(ast.walk(tree))
    compared = [
        number
        for node in nodes
        if isinstance(node, ast.Compare)
        for number in _numbers([node.left, *node.comparators])
    ]
    return {
        "script/parsed": float(tree is not None),
        "script/thresholds": _log(len(compared)),
        "script/lowest": _log(min(compared, default=0.0)),
        "script/highest": _log(max(compared, default=0.0)),
    } | {
        name: _log(max(_arguments(nodes, *argument), default=0.0))
        for name, argument in _ARGUMENTS.items()
    }


def _tree(script: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what looks odd in a script
            return ast.parse(script)
    # Beside faults of the script, all that its nesting can do to Python's parser.
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError):
        return None


def _numbers(expressions: Sequence[ast.expr]) -> Iterator[float]:
    """Yields those of some expressions that are numbers, with their sign."""
    for expression in expressions:
        sign, value = 1.0, expression
        if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
            sign, value = -1.0, value.operand
        if isinstance(value, ast.Constant) and type(value.value) in (int, float):
            yield sign * _count(value.value)


def _arguments(
    nodes: Sequence[ast.AST], function: str, keyword: str, place: int
) -> Iterator[float]:
    """Yields the numbers that calls of a function have as one of its arguments."""
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else None
        name = called.id if isinstance(called, ast.Name) else name
        if name == function:
            yield from _numbers(node.args[place : place + 1])
            yield from _numbers([k.value for k in node.keywords if k.arg == keyword])


def _graded(verdict: types.Verdict) -> dict[str, float]:
    drawn = max(len(verdict.rows), 1)
    grades = collections.Counter(row.grade for row in verdict.rows if not row.gate)
    return {
        **{f"gate/{name}": count / drawn for name, count in verdict.gates.items()},
        **{f"factor/{name}": float(f) for name, f in verdict.factors.items()},
        **{f"grade/{letter}": grades[letter] / drawn for letter in _GRADES},
        "grade/none": grades[""] / drawn,
        "verdict/score": float(verdict.score),
        "verdict/judge_score": float(verdict.judge_score),
    }


def _count(number: int | float) -> float:
    """Returns a number as it can be reckoned with: at least 0, not beyond all bounds.

    Integers of a script may have more digits than a float can hold.
    """
    return float(min(max(number, 0), _MOST))


def _log(number: int | float) -> float:
    """Returns sign x log1p of a number's size."""
    size = math.log1p(_count(abs(number)))
    return -size if number < 0 else size
