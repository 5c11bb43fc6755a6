"""Tests for experiments/bench_contamination.py, on few rows and on the real ones."""

import json
import os
import pathlib

import pytest

from configs.bench import contamination as config_file
from experiments import bench_contamination
from experiments import build_contamination
from experiments import checks
from experiments import environment
from tests.experiments.conftest import ROOT

_DATA = pathlib.Path(os.environ.get("DATACHEF_DATA", ROOT.parent / "shared" / "data"))
_THINGS = (
    ("baker", "loaves of rye bread", "oven", "bakes"),
    ("gardener", "yellow tulips", "greenhouse", "waters"),
    ("carpenter", "oak chairs", "workshop", "varnishes"),
    ("sailor", "torn sails", "harbor", "mends"),
    ("clerk", "stamped letters", "office", "sorts"),
    ("miner", "carts of coal", "tunnel", "pushes"),
)


def _question(n, who, what, where, does):
    return (
        f"The {who} {does} {n + 11} {what} each morning in the {where}. On a rainy "
        f"Sunday only {n + 3} {what} are done. How many {what} does the {who} finish "
        f"in {n + 5} such weeks?"
    )


def _run(made, workdir):
    record = environment.Environment(workdir / "environment.json", root=ROOT)
    made.run(record)
    return json.loads((workdir / "summary.json").read_text())


def test_it_counts_by_kind_and_lists_what_went_wrong(tmp_path, capsys):
    questions = [_question(n, *things) for n, things in enumerate(_THINGS)]
    made = bench_contamination.BenchContamination(
        workdir=tmp_path,
        benchmark=questions,
        solved=[f"{q} Explain." for q in questions[:-1]] + ["nothing alike"],
        clean={"clean": ["What is a gcd?", questions[0], "Sort 3 2 1."]},
        rewriter_seed=5,
        share=0.34,
        larger_share=0.6,
        shown=1,
        seed=0,
    )
    summary = _run(made, tmp_path)
    kinds = summary["kinds"]
    assert kinds["copied"] == {"rows": 3, "found": 3, "how": {"equal": 3}}
    assert kinds["copied solutions"]["how"] == {"contained": 2}
    assert kinds["clean"] == {"rows": 3, "found": 1, "how": {"equal": 1}}
    assert {kind: figures["rows"] for kind, figures in kinds.items()} == (
        dict.fromkeys(bench_contamination.PLANTED, 3) | {"clean": 3}
    )
    missed = [m for m in summary["misses"] if m["kind"] == "copied solutions"]
    assert missed == [
        dict(
            kind="copied solutions",
            how="",
            row="nothing alike",
            benchmark=questions[5],
        )
    ]
    (alarm,) = summary["false_alarms"]
    assert alarm["row"] == alarm["benchmark"] == questions[0]
    assert summary["rows_a_second"] > 0 and summary["cpu_seconds"] > 0
    printed = capsys.readouterr().out
    assert "| clean            | 3    | 1     | 33.33   | equal 1" in printed
    assert "nothing alike" in printed


def test_reworded_rows_are_the_odd_questions_in_other_words():
    made = bench_contamination.BenchContamination(
        workdir=pathlib.Path("unused"),
        benchmark=[_question(n, *things) for n, things in enumerate(_THINGS)],
        solved=["a", "b", "c", "d", "e", "f"],
        clean={},
        rewriter_seed=5,
        share=0.34,
        larger_share=0.6,
        shown=1,
        seed=0,
    )
    rows = made.rows()
    assert rows == made.rows()
    assert {row.source for row in rows} == set(made.benchmark[1::2])
    by_kind = {
        kind: {row.question for row in rows if row.kind == kind}
        for kind in bench_contamination.PLANTED
    }
    assert by_kind["copied"] == set(made.benchmark[1::2])
    assert by_kind["copied solutions"] == {"b", "d", "f"}
    assert not by_kind["reworded"] & (by_kind["copied"] | by_kind["reworded more"])


def test_missing_data_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DATACHEF_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(checks.UserError, match="nowhere: set DATACHEF_DATA"):
        build_contamination.build(config_file.get_config(), tmp_path, ROOT)


@pytest.mark.slow
def test_on_the_real_files_it_finds_what_the_issue_asks_for(tmp_path):
    if not (_DATA / "gsm8k" / "test.jsonl").exists():
        pytest.skip(f"{_DATA} lacks gsm8k; DATACHEF_DATA names the folder of real data")
    made = build_contamination.build(config_file.get_config(), tmp_path, ROOT)
    summary = _run(made, tmp_path)
    found = {
        kind: figures["found"] / figures["rows"]
        for kind, figures in summary["kinds"].items()
    }
    assert sum(figures["rows"] for figures in summary["kinds"].values()) >= 10_000
    assert min(found["copied"], found["copied solutions"]) >= 0.99
    assert found["reworded"] >= 0.9
    assert summary["kinds"]["GSM8K train"]["rows"] == 7473
    assert found["GSM8K train"] < 0.01
