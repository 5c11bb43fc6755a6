"""The figures, the table and the picture of `correlate`."""

from collections.abc import Mapping, Sequence
import math
import statistics
from typing import Any

import numpy as np

from experiments import charts
from experiments import correlation

_ADVERSARIAL = "adversarial"
_BEST = "gates + judge"  # what recipes are rewarded with
_COLORS = dict(
    zip((_ADVERSARIAL, "by hand", "single source", "policy"), charts.LINES, strict=True)
)

Dataset = Mapping[str, Any]


def subsets(made: Sequence[Dataset]) -> dict[str, list[Dataset]]:
    """Returns the datasets of one task over which metrics are compared, by name.

    `all`; `honest`: those of recipes that ran and are not adversarial; `better half`:
    of those, the ones whose score is at least the median.
    """
    honest = [
        one for one in made if one["kind"] != _ADVERSARIAL and one["execution"] == "ok"
    ]
    better = correlation.better_half(np.array([_score(one) for one in honest]))
    return {
        "all": list(made),
        "honest": honest,
        "better half": [honest[i] for i in better],
    }


def figures(
    made: Sequence[Dataset], *, held_out: Sequence[str], seed: int
) -> dict[str, Any]:
    """Returns all figures of the experiment.

    Keys: `tasks`, the names, and `held_out` those among them; `metrics`, for each
    ("all" | "honest" | "better half") and ("all" | "held out" tasks, if any are) and
    metric what `correlation.over_tasks` returns; `adversarial`, for each task the
    median honest score by the verifier and every adversarial recipe's; `span`, of each
    task the range of the scores; `seeds`, the rank correlation of two seeds' scores, by
    task.

    Args:
      made: From `correlate`, with `dbs` and `metrics`.
      held_out: Names of tasks.
      seed: Of the intervals.
    """
    tasks = list(dict.fromkeys(one["task"] for one in made))
    names = list(made[0]["metrics"])
    by_task = {task: [one for one in made if one["task"] == task] for task in tasks}
    compared = {task: subsets(own) for task, own in by_task.items()}
    metrics: dict[str, Any] = {}
    for subset in ("all", "honest", "better half"):
        for which, chosen in (("all", tasks), ("held out", held_out)):
            if not chosen:
                continue
            metrics[f"{subset}, {which} tasks"] = {
                name: correlation.over_tasks(
                    {task: _pair(compared[task][subset], name) for task in chosen},
                    seed=seed,
                )
                for name in names
            }
    return {
        "tasks": tasks,
        "held_out": list(held_out),
        "datasets": {task: len(own) for task, own in by_task.items()},
        "metrics": metrics,
        "adversarial": {task: _adversarial(compared[task]) for task in tasks},
        "span": {task: _span(own) for task, own in by_task.items()},
        "seeds": {task: _between_seeds(own) for task, own in by_task.items()},
    }


def render(figures: Mapping[str, Any]) -> str:
    """Returns the tables as Markdown."""
    parts = []
    for title, metrics in figures["metrics"].items():
        tasks = list(next(iter(metrics.values()))["tasks"])
        lines = [
            f"Datasets: {title}",
            "",
            "| metric | " + " | ".join(tasks) + " | mean r (90 %) | mean ρ (90 %) |"
            " regret |",
            "|---|" + "---:|" * len(tasks) + "---:|---:|---:|",
        ]
        for name, of in metrics.items():
            cells = [_number(of["tasks"][task]["pearson"], ".2f") for task in tasks]
            cells += [_with_ends(of["pearson"]), _with_ends(of["spearman"])]
            cells.append(_number(of["regret"], ".1f"))
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    lines = [
        "Adversarial recipes, by the verifier's score, below the median honest one:",
        "",
        "| task | median honest | highest adversarial | which |",
        "|---|---:|---:|---|",
    ]
    for task, of in figures["adversarial"].items():
        scores = of["scores"]
        worst = max(scores, key=lambda name: scores[name]) if scores else ""
        lines.append(
            f"| {task} | {_number(of['median_honest'], '.3f')} | "
            f"{_number(scores.get(worst), '.3f')} | {worst} |"
        )
    return "\n\n".join([*parts, "\n".join(lines)])


def draw(made: Sequence[Dataset]) -> str:
    """Returns an SVG: every metric against the benchmark score, a column a task."""
    tasks = list(dict.fromkeys(one["task"] for one in made))
    names = [
        name
        for name in made[0]["metrics"]
        if any(one["metrics"][name] is not None for one in made)
    ]
    shape = dict(rows=len(names), columns=len(tasks))
    size = (2.6 * len(tasks), 2.2 * len(names))
    with charts.panels("correlate", **shape, size=size) as (figure, axes, drawn):
        for row, name in enumerate(names):
            for column, task in enumerate(tasks):
                panel = axes[row][column]
                for kind, color in _COLORS.items():
                    own = [o for o in made if o["task"] == task and o["kind"] == kind]
                    metric, score = _pair(own, name)
                    panel.scatter(metric, score, s=9, color=color, label=kind)
                panel.set_title(task.replace("_", " ") if row == 0 else "")
                panel.set_xlabel(name)
                panel.set_ylabel("DBS" if column == 0 else "")
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncol=len(labels))
    return drawn[0]


def _score(one: Dataset) -> float:
    return statistics.fmean(one["dbs"])


def _pair(made: Sequence[Dataset], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns a metric and the mean score of some datasets."""
    metric = [one["metrics"][name] for one in made]
    return (
        np.array([math.nan if value is None else value for value in metric], float),
        np.array([_score(one) for one in made], float),
    )


def _adversarial(compared: Mapping[str, Sequence[Dataset]]) -> dict[str, Any]:
    honest = [one["metrics"][_BEST] for one in compared["honest"]]
    known = [score for score in honest if score is not None]
    return {
        "median_honest": statistics.median(known) if known else None,
        "scores": {
            one["name"]: one["metrics"][_BEST]
            for one in compared["all"]
            if one["kind"] == _ADVERSARIAL and one["metrics"][_BEST] is not None
        },
    }


def _span(made: Sequence[Dataset]) -> list[float]:
    scores = [_score(one) for one in made]
    return [min(scores), max(scores)]


def _between_seeds(made: Sequence[Dataset]) -> float | None:
    """Returns how far two seeds agree: no metric can be expected to agree better."""
    by_seed = np.array([one["dbs"] for one in made], float).T
    if len(by_seed) < 2:
        return None
    return correlation.agreement(by_seed[0], by_seed[1]).pearson


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _with_ends(of: Mapping[str, float | None]) -> str:
    if of["mean"] is None:
        return "–"
    ends = "" if of["low"] is None else f" ({of['low']:.2f} to {of['high']:.2f})"
    return f"{of['mean']:.2f}{ends}"
