"""Tests for experiments/report.py, on the files of a made-up run."""

import html
import json
import re

import markupsafe
import pytest

from datachef_jax import types
from datachef_jax.recipes import parse
from datachef_jax.training import rollouts
from experiments import charts
from experiments import report
from experiments import results
from experiments import table

_ATTACK = "<script>alert('owned')</script><img src=x onerror=alert(1)>"


def _rollout(score: float, completion: str) -> rollouts.Rollout:
    dialogs = [
        {"role": "user", "content": f"question {_ATTACK}"},
        {"role": "assistant", "content": f"answer {_ATTACK}"},
    ]
    graded = dict(index=0, row={"dialogs": dialogs})
    return rollouts.Rollout(
        task="number_sorting",
        prompt="prompt",
        completion=completion,
        tokens=9,
        finished=True,
        execution="ok",
        log=f"log {_ATTACK}",
        verification="ok",
        num_rows=3,
        malformed=0,
        calls=[["load_remote_dataset", 0, 9], [f"$x^{_ATTACK}", 9, 9]],
        outcome="scored",
        score=score,
        interval=(score, score),
        judge_score=score,
        held_out_score=None,
        factors={"duplication": 0.9},
        gates={},
        found={},
        note=_ATTACK,
        rows=[
            graded | {"gate": "", "grade": "E", "score": 1.0},
            graded | {"gate": "empty", "grade": "", "score": 0.0},
            graded | {"gate": "", "grade": "", "score": 0.0},
        ],
        reward=None,
        advantage=0.0,
    )


def _recipe() -> str:
    item = types.PlanItem(
        dataset_id=f"mini/{_ATTACK}", split="train", name="default", sample_num=1,
        reason=_ATTACK,
    )  # fmt: skip
    recipe = types.Recipe(
        training_data=(item,),
        workflow=f"workflow {_ATTACK}",
        processing=f"print('{_ATTACK}')\n",
        verification=f"# {_ATTACK}\n",
    )
    return f"<think>\n{_ATTACK}\n</think>\n{parse.render(recipe)}"


def _summary() -> dict:
    figures = {
        method: {
            "number_sorting": {
                metric: [12.34 + 10 * place, 15.0 + 10 * place]
                for metric in table.METRICS
            }
        }
        for place, method in enumerate(table.METHODS)
    }
    return {
        "tasks": [{"name": "number_sorting", "held_out": "in_domain"}],
        "seeds": [0, 1],
        "methods": table.summarize(figures),
        "single_sources": {},
        "without_valid_recipe": {"untrained": 1, "cold_start": 0, "grpo": 0},
        "recipes": 16,
    }


@pytest.fixture
def run(tmp_path):
    results.write_json(
        tmp_path / "config.json", {"experiment": "table1", "note": _ATTACK}
    )
    results.write_json(tmp_path / "summary.json", _summary())
    session = dict(
        started="2026-01-01", commit="abc", changed=True, python="3.11",
        platform="Linux", cpus=2, memory_gib=8.0, devices=["cpu:0"],
        packages={"jax": "0.10.2"},
    )  # fmt: skip
    record = dict(sessions=[session], stages={"GRPO": 90.0}, peak_rss_gib=1.5)
    results.write_json(tmp_path / "environment.json", record)
    lines = [
        {"step": n, "reward/mean": 0.1 * n, "reward/std": 0.2, "recipe/executable": 0.5}
        | {f"grade/{name}": 1 / 7 for name in charts.OUTCOMES}
        for n in range(5)
    ]
    results.write_jsonl(tmp_path / "grpo" / "seed0" / "metrics.jsonl", lines)
    event = {"event": "damaged checkpoint", "name": f"step_1 {_ATTACK}"}
    results.write_jsonl(tmp_path / "grpo" / "seed0" / "events.jsonl", [event])
    folder = tmp_path / "evaluation" / "grpo-seed0"
    folder.mkdir(parents=True)
    made = [_rollout(0.9, _recipe()), _rollout(0.1, f"no recipe {_ATTACK}")]
    rollouts.write(folder / "number_sorting.jsonl", made)
    return tmp_path


def test_untrusted_text_is_escaped_wherever_it_stands(run):
    page = report.draw(run).read_text()
    assert "<script" not in page and "<img" not in page
    escaped = html.escape(_ATTACK, quote=False)
    for place in ("question ", "answer ", "log ", "workflow ", "no recipe ", "step_1 "):
        assert re.search(place + "(&lt;|.u003c)script", page), place
    assert "&lt;script&gt;" in escaped and page.count("&lt;script&gt;") > 10


def test_the_figures_are_those_of_the_summary(run):
    page = report.draw(run).read_text()
    summary = results.read_json(run / "summary.json")
    for line in table.lines(summary["methods"], summary["tasks"]):
        for cell in line:
            assert str(markupsafe.escape(cell)) in page
    for note in table.notes(summary):
        assert str(markupsafe.escape(note)) in page
    grpo = summary["methods"]["grpo"]["average"]["dvs"]["mean"]
    assert f"→ {grpo:.1f}" in page


def test_the_page_needs_nothing_but_itself(run):
    page = report.draw(run).read_text()
    references = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', page)
    assert all(reference.startswith("#") for reference in references)
    assert page.count("<svg") == 4
    assert "@import" not in page and "url(http" not in page


def test_the_best_and_the_worst_recipe_stand_with_their_parts(run):
    page = report.draw(run).read_text()
    best, worst = page.index("The best recipe"), page.index("The worst recipe")
    assert best < page.index("90.0", best) < worst
    for part in ("Thinking", "Plan", "Processing script", "Verification script", "Log"):
        assert best < page.index(part, best) < worst
    assert worst < page.index("What it wrote")


def test_a_run_that_has_only_begun_has_a_page_too(tmp_path):
    results.write_json(tmp_path / "config.json", {"experiment": "table1"})
    page = report.draw(tmp_path).read_text()
    assert "Not finished" in page and "<svg" not in page
    assert json.dumps("table1")[1:-1] in page
