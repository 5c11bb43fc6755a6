"""The report: one self-contained page, drawn from a run's files alone.

Recipes, logs and rows are untrusted text: the template escapes whatever it is given,
and the only markup handed to it are the charts drawn here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
import json
import pathlib
from typing import Any

import jinja2

from datachef_jax.recipes import parse
from datachef_jax.training import rollouts as rollout_files
from datachef_jax.training.rollouts import Rollout
from experiments import charts
from experiments import evaluation
from experiments import results
from experiments import table

_TEMPLATES = pathlib.Path(__file__).parent / "templates"
_SAMPLE_ROWS = 12  # of a recipe, on the page
_OURS = ("grpo", "grpo_oracle")

Steps = Mapping[str, Sequence[Mapping[str, float]]]
"""Seed's folder name -> the lines of its metrics.jsonl, one for each step."""


def draw(workdir: pathlib.Path) -> pathlib.Path:
    """Draws `report.html` of a run, finished or not, and returns its path."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(**_contents(workdir))
    results.write_text(workdir / "report.html", page)
    return workdir / "report.html"


def _contents(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns what the template shows."""
    config = results.read_json(workdir / "config.json")
    figures = _read(workdir / "summary.json")
    summary = figures if "methods" in figures else {}  # that of `table1`
    environment = _read(workdir / "environment.json")
    steps = {
        path.parent.name: results.read_jsonl(path)
        for path in sorted(workdir.glob("grpo/*/metrics.jsonl"))
    }
    steps = {name: lines for name, lines in steps.items() if lines}
    evaluated = {
        method: [
            rollout
            for path in sorted(workdir.glob(f"evaluation/{method}-seed*/*.jsonl"))
            for rollout in rollout_files.read(path)
        ]
        for method in ("cold_start", "grpo")
    }
    events = [
        f"{path.parent.name}: " + json.dumps(event)
        for path in sorted(workdir.glob("grpo/*/events.jsonl"))
        for event in results.read_jsonl(path)
    ]
    events += _alarms(steps)
    return {
        "name": workdir.name,
        "experiment": config["experiment"],
        "lead": _lead(summary, steps) if summary or not figures else "",
        "figures": "" if summary else json.dumps(figures, indent=2) if figures else "",
        "headline": _headline(summary, environment) if summary else [],
        "table": _table(summary) if summary else [],
        "notes": table.notes(summary) if summary else [],
        "charts": _charts(steps, evaluated),
        "recipes": _best_and_worst(evaluated["grpo"]),
        "record": _record(environment),
        "events": events,
        "config": json.dumps(config, indent=2, ensure_ascii=False),
    }


def _alarms(steps: Steps) -> list[str]:
    """Returns, for each seed whose alarm went off, when it first did."""
    first = {
        seed: next((s["step"] for s in lines if s.get("alarm/hacking")), None)
        for seed, lines in steps.items()
    }
    return [
        f"{seed}: ALARM at step {step}: the judge's scores rise, those of the held-out "
        "judge do not; the policy may be hacking its reward"
        for seed, step in first.items()
        if step is not None
    ]


def _read(path: pathlib.Path) -> dict[str, Any]:
    return results.read_json(path) if path.exists() else {}


def _lead(summary: Mapping[str, Any], steps: Steps) -> str:
    done = max((len(lines) for lines in steps.values()), default=0)
    if not summary:
        return f"Not finished: {done} steps of GRPO are done."
    tasks = ", ".join(task["name"].replace("_", " ") for task in summary["tasks"])
    return (
        f"A policy learns to write data recipes by {done} steps of GRPO; its recipes "
        f"are then graded and trained on for tasks it has never seen: {tasks}."
    )


def _headline(
    summary: Mapping[str, Any], environment: Mapping[str, Any]
) -> list[dict[str, str]]:
    """Returns the figures at the top of the page."""
    averages = {name: row["average"] for name, row in summary["methods"].items()}
    before, after = averages["cold_start"], averages["grpo"]
    minutes = sum(environment.get("stages", {}).values()) / 60
    shown = [
        (
            f"{_number(before['dvs'])} → {_number(after['dvs'])}",
            "verifier score (DVS) on held-out tasks, cold start → GRPO",
        ),
        (_number(after["dbs_norm"]), "benchmark score after GRPO, best source = 100"),
        (
            _number(averages["grpo_oracle"]["dbs_norm"]),
            "the same, best of its best-graded recipes",
        ),
        (f"{_number(after['executable'])} %", "of the sampled recipes run"),
        (f"{minutes:.1f} min", "in all, this machine"),
    ]
    return [{"value": value, "label": label} for value, label in shown]


def _number(cell: Mapping[str, Any]) -> str:
    return "–" if cell["mean"] is None else f"{cell['mean']:.1f}"


def _table(summary: Mapping[str, Any]) -> list[Any]:
    """Returns the head's cells, then each row's cells and style."""
    cells = table.lines(summary["methods"], summary["tasks"])
    rows = []
    for method, line in zip(table.METHODS, cells[1:], strict=True):
        styles = ["ours"] * (method in _OURS) + ["rule"] * (method == "untrained")
        rows.append({"cells": line, "css": " ".join(styles)})
    return [cells[0], *rows]


def _charts(
    steps: Steps, evaluated: Mapping[str, Sequence[Rollout]]
) -> list[dict[str, Any]]:
    """Draws what there is to be drawn."""
    drawn = []
    rewards = _series(steps, ("reward/mean", "reward/std"))
    if rewards:
        drawn.append(
            {
                "title": "Reward",
                "text": "Mean and standard deviation over the recipes of a step.",
                "svg": charts.with_spread(rewards, label="reward"),
            }
        )
    graded = _grades(steps)
    if graded:
        drawn.append(
            {
                "title": "Grades",
                "text": "What the verifier said of the rows it drew; E is a pass.",
                "svg": charts.shares(*graded),
            }
        )
    judges = {
        f"{seed}, {name}": points
        for name, key in (("judge", "dvs/gated"), ("held-out judge", "dvs/held_out"))
        for seed, points in _series(steps, (key,)).items()
        if _series(steps, ("dvs/held_out",))
    }
    if judges:
        drawn.append(
            {
                "title": "Two judges",
                "text": "Mean verifier score; that of the held-out judge is no reward.",
                "svg": charts.percentages(judges, label="DVS"),
            }
        )
    running = _series(steps, ("recipe/executable",))
    if running:
        percent = {
            seed: [(step, 100 * share) for step, share in points]
            for seed, points in running.items()
        }
        drawn.append(
            {
                "title": "Recipes that run",
                "text": "Scripts that ended well and left rows.",
                "svg": charts.percentages(percent, label="% of recipes"),
            }
        )
    calls = {
        name: counted
        for name, method in (("GRPO", "grpo"), ("cold start", "cold_start"))
        if (counted := _calls(evaluated[method]))
    }
    if calls:
        drawn.append(
            {
                "title": "Toolkit calls",
                "text": "By function, in recipes for held-out tasks.",
                "svg": charts.bars(calls, label="calls per recipe"),
            }
        )
    return drawn


def _series(steps: Steps, keys: Sequence[str]) -> dict[str, list[tuple[float, ...]]]:
    """Returns (step, figures) by seed, for the steps that have them all."""
    series = {
        seed: [
            (line["step"], *(line[key] for key in keys))
            for line in lines
            if all(key in line for key in keys)
        ]
        for seed, lines in steps.items()
    }
    return {seed: points for seed, points in series.items() if points}


def _grades(steps: Steps) -> tuple[list[int], dict[str, list[float]]] | None:
    """Returns steps and the percentage of each outcome, the mean over seeds."""
    by_step: dict[int, list[Mapping[str, float]]] = {}
    for lines in steps.values():
        for line in lines:
            if "grade/E" in line:
                by_step.setdefault(line["step"], []).append(line)
    if not by_step:
        return None
    numbers = sorted(by_step)
    parts = {
        name: [
            100 * sum(line[f"grade/{name}"] for line in by_step[n]) / len(by_step[n])
            for n in numbers
        ]
        for name in charts.OUTCOMES
    }
    return numbers, parts


def _calls(made: Sequence[Rollout]) -> dict[str, float]:
    """Returns toolkit calls per recipe, by function."""
    counted = Counter(call[0] for rollout in made for call in rollout.calls)
    return {name: count / len(made) for name, count in counted.items()}


def _best_and_worst(made: Sequence[Rollout]) -> list[dict[str, Any]]:
    """Returns the recipes of highest and of lowest DVS after GRPO."""
    if not made:
        return []
    ranked = sorted(made, key=evaluation.dvs)
    return [
        _recipe("The best recipe", ranked[-1]),
        _recipe("The worst recipe", ranked[0]),
    ]


def _recipe(title: str, rollout: Rollout) -> dict[str, Any]:
    facts = [
        ("DVS", f"{100 * evaluation.dvs(rollout):.1f}"),
        ("by the judge alone", f"{100 * rollout.judge_score:.1f}"),
        ("ended", rollout.execution),
        ("rows", str(rollout.num_rows)),
        *((f"factor {name}", f"{x:.2f}") for name, x in rollout.factors.items()),
    ]
    return {
        "title": title,
        "task": rollout.task.replace("_", " "),
        "facts": [{"label": label, "value": value} for label, value in facts],
        "parts": [
            {"title": name, "text": text} for name, text in _parts(rollout) if text
        ],
        "rows": [_row(row) for row in rollout.rows[:_SAMPLE_ROWS]],
    }


def _parts(rollout: Rollout) -> list[tuple[str, str]]:
    """Returns a recipe's texts by title; as it was written if it cannot be parsed."""
    ending = [
        ("Log", rollout.log),
        ("The verifier's remark", rollout.note),
        ("All that was said, the policy first", "\n\n".join(rollout.spoken)),
    ]
    try:
        recipe = parse.parse(rollout.completion)
    except parse.ParseError:
        return [("What it wrote", rollout.completion), *ending]
    plan = [
        f"{item.dataset_id}  ({item.split}, {item.sample_num} rows): {item.reason}"
        for item in recipe.training_data
    ]
    return [
        ("Thinking", parse.split_thinking(rollout.completion)[0]),
        ("Plan", "\n".join([*plan, "", recipe.workflow])),
        ("Processing script", recipe.processing),
        ("Verification script", recipe.verification),
        *ending,
    ]


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    outcome = "gated" if row["gate"] else row["grade"] or "unread"
    turns = row["row"]["dialogs"]
    return {
        "grade": row["gate"] or outcome,
        "outcome": outcome,
        "color": charts.OUTCOMES[outcome],
        "question": "\n".join(turn["content"] for turn in turns[:-1]),
        "answer": turns[-1]["content"] if turns else "",
    }


def _record(environment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the tables on where and when the run took place."""
    if not environment:
        return []
    last = environment["sessions"][-1]
    changed = " (with changes)" if last["changed"] else ""
    where = [
        ("started", environment["sessions"][0]["started"]),
        ("sessions", len(environment["sessions"])),
        ("commit", (last["commit"] or "none") + changed),
        ("Python", last["python"]),
        ("platform", last["platform"]),
        ("CPUs", last["cpus"]),
        ("memory", f"{last['memory_gib']} GiB"),
        ("devices", ", ".join(last["devices"])),
        ("peak memory", f"{environment['peak_rss_gib']:.2f} GiB"),
    ]
    times = [(name, f"{s / 60:.1f} min") for name, s in environment["stages"].items()]
    isolation = list(environment.get("sandbox", {}).items())
    groups = [
        ("Where", where),
        ("Time", times),
        ("Sandbox", isolation),
        ("Packages", list(last["packages"].items())),
    ]
    return [{"title": title, "rows": rows} for title, rows in groups if rows]
