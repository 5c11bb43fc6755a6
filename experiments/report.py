"""The report: one self-contained page, drawn from a run's files alone.

Recipes, logs and rows are untrusted text: the template escapes whatever it is given,
and the only markup handed to it are the charts drawn here.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
import json
import pathlib
import statistics
from typing import Any

import jinja2

from experiments import charts
from experiments import results
from experiments import table

_TEMPLATES = pathlib.Path(__file__).parent / "templates"
_GRADES = "ABCDE"
_SAMPLE_ROWS = 12  # of a recipe, on the page
_OURS = ("grpo", "grpo_oracle")


def draw(workdir: pathlib.Path) -> pathlib.Path:
    """Draws `report.html` of a run, finished or not, and returns its path."""
    page = _environment().get_template("report.html").render(**_contents(workdir))
    results.write_text(workdir / "report.html", page)
    return workdir / "report.html"


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _contents(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns what the template shows."""
    config = results.read_json(workdir / "config.json")
    environment = _read(workdir / "environment.json")
    summary = _read(workdir / "summary.json")
    metrics = {
        path.parent.name: results.read_jsonl(path)
        for path in sorted(workdir.glob("grpo/*/metrics.jsonl"))
    }
    steps = {
        path.parent.parent.name: results.read_jsonl(path)
        for path in sorted(workdir.glob("grpo/*/rollouts/*.jsonl"))
    }
    rollouts = [r for p in sorted(workdir.glob("evaluation/grpo-*/*.jsonl")) for r in results.read_jsonl(p)]
    cells = table.lines(summary["methods"], summary["tasks"]) if summary else []
    return {
        "name": workdir.name,
    }


def _read(path: pathlib.Path) -> dict[str, Any]:
    return results.read_json(path) if path.exists() else {}
