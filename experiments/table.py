"""The table in the form of the paper's Table 1, from figures by task and seed."""

from collections.abc import Mapping, Sequence
import statistics
from typing import Any

# Method -> its name in the table, in the order of the rows.
METHODS = {
    "base": "base model",
    "single_average": "single source, average",
    "single_best": "single source, best",
    "expert": "expert recipe",
    "untrained": "untrained policy",
    "cold_start": "cold start",
    "grpo": "GRPO",
    "grpo_oracle": "GRPO, oracle",
}
METRICS = ("dvs", "dvs_ungated", "dbs", "executable", "distinct")
_DOMAINS = {"in_domain": "in domain", "out_of_domain": "out of domain"}

Figures = Mapping[str, Mapping[str, Mapping[str, Sequence[float | None]]]]
"""method -> task -> metric of `METRICS` -> value by seed, None where there is none."""


def summarize(figures: Figures) -> dict[str, Any]:
    """Takes means over tasks and seeds.

    DBS norm is the mean over tasks of 100 x DBS / that of the best single source
    (paper, section 4.1); the best source of a task is the one of highest mean over
    seeds, so that the norm of "single source, best" is 100 on average.

    Args:
      figures: In percent throughout.

    Returns:
      method -> {"tasks": {task: {metric: cell}}, "average": {metric or "dbs_norm":
      cell}}, where a cell is {"mean", "spread", "by_seed"}: mean and sample standard
      deviation over seeds. A missing figure is None, and no mean is taken over a
      missing task; the spread of fewer than two seeds is None.
    """
    best = {
        task: _cell(metrics["dbs"])["mean"]
        for task, metrics in figures["single_best"].items()
    }
    return {
        method: {
            "tasks": {
                task: {name: _cell(values) for name, values in metrics.items()}
                for task, metrics in tasks.items()
            },
            "average": {
                **{name: _cell(_over_tasks(tasks, name)) for name in METRICS},
                "dbs_norm": _cell(_norm(tasks, best)),
            },
        }
        for method, tasks in figures.items()
    }


def lines(
    summary: Mapping[str, Any], tasks: Sequence[Mapping[str, str]]
) -> list[list[str]]:
    """Returns the table as cells of text, the head first.

    Args:
      summary: From `summarize`.
      tasks: `name` and `held_out` of each task, in the order of the columns.
    """
    head = ["method (DVS / DBS)"]
    head += [f"{t['name']} ({_DOMAINS[t['held_out']]})" for t in tasks]
    head += ["avg DVS", "DBS norm", "runs %", "distinct %"]
    table = [head]
    for method, name in METHODS.items():
        row, average = summary[method], summary[method]["average"]
        cells = [row["tasks"][task["name"]] for task in tasks]
        pairs = [f"{_text(c['dvs'])} / {_text(c['dbs'])}" for c in cells]
        shown = ("dvs", "dbs_norm", "executable", "distinct")
        table.append([name, *pairs, *(_text(average[key]) for key in shown)])
    return table


def notes(summary: Mapping[str, Any]) -> list[str]:
    """Returns what has to be said below the table; see `table1` for the keys."""
    count = len(summary["seeds"])
    over = (
        f"mean ± sample standard deviation over {count} seeds"
        if count > 1
        else ("one seed")
    )
    said = [
        f"DVS: mean over {summary['recipes']} sampled recipes; DBS: benchmark score "
        f"after fine-tuning on one recipe drawn from those of DVS > 0; {over}.",
        "The best single source is of those of DVS > 0: a leaked benchmark has 0.",
    ]
    draws = count * len(summary["tasks"])
    for method, without in summary["without_valid_recipe"].items():
        if without:
            said.append(
                f"{METHODS[method]}: no valid recipe to draw in {without} of {draws} "
                "cases; DBS is the base model's there."
            )
    return said


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Renders cells as an aligned Markdown table, readable as plain text."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    rendered = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in table
    ]
    rule = "|-" + "-|-".join("-" * width for width in widths) + "-|"
    return "\n".join([rendered[0], rule, *rendered[1:]]) + "\n"


def latex(table: Sequence[Sequence[str]]) -> str:
    """Renders cells as a LaTeX tabular (package booktabs)."""
    rows = [" & ".join(_escape(cell) for cell in row) + r" \\" for row in table]
    columns = "l" + "r" * (len(table[0]) - 1)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            rows[0],
            r"\midrule",
            *rows[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _escape(text: str) -> str:
    for plain, escaped in (("_", r"\_"), ("%", r"\%"), ("±", r"$\pm$"), ("–", "--")):
        text = text.replace(plain, escaped)
    return text


def _cell(values: Sequence[float | None]) -> dict[str, Any]:
    """Returns mean and spread over seeds."""
    known = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "spread": statistics.stdev(known) if len(known) > 1 else None,
        "by_seed": list(values),
    }


def _over_tasks(
    tasks: Mapping[str, Mapping[str, Sequence[float | None]]], metric: str
) -> list[float | None]:
    """Returns the mean over tasks by seed, None if a task has no figure."""
    by_seed = zip(*(metrics[metric] for metrics in tasks.values()), strict=True)
    return [None if None in seed else statistics.fmean(seed) for seed in by_seed]


def _norm(
    tasks: Mapping[str, Mapping[str, Sequence[float | None]]],
    best: Mapping[str, float],
) -> list[float | None]:
    """Returns DBS in percent of the best single source's, by seed."""
    if not all(best[task] for task in tasks):
        return [None for _ in next(iter(tasks.values()))["dbs"]]
    scaled = {
        task: {"dbs": [v and 100.0 * v / best[task] for v in metrics["dbs"]]}
        for task, metrics in tasks.items()
    }
    return _over_tasks(scaled, "dbs")


def _text(cell: Mapping[str, Any]) -> str:
    if cell["mean"] is None:
        return "–"
    spread = "" if cell["spread"] is None else f" ± {cell['spread']:.1f}"
    return f"{cell['mean']:.1f}{spread}"
