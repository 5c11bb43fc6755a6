"""Builds the benchmark of the contamination check from its config."""

from collections.abc import Callable
import pathlib
import re
from typing import Any

import ml_collections as mlc

from datachef_jax.tasks import real_math
from datachef_jax.tasks import sources as source_files
from experiments import bench_contamination
from experiments import checks


def _with_numbers(row: dict[str, Any]) -> str:
    numbers = row["Numbers"].split()
    return re.sub(
        r"number(\d+)", lambda m: f"{float(numbers[int(m[1])]):g}", row["Question"]
    )


def _with_options(row: dict[str, Any]) -> str:
    return f"{row['question']} {' '.join(row['options'])}"


# Kind of row -> (file, format, records, row -> its question).
_CLEAN: dict[str, tuple[str, str, str, Callable[[dict[str, Any]], str]]] = {
    "GSM8K train": ("gsm8k/train.jsonl", "jsonl", "", lambda row: row["question"]),
    "SVAMP": (
        "svamp/SVAMP.json",
        "json",
        "",
        lambda row: f"{row['Body']} {row['Question']}",
    ),
    "MAWPS train": ("mawps/train.csv", "csv", "", _with_numbers),
    "MAWPS dev": ("mawps/dev.csv", "csv", "", _with_numbers),
    "AQuA dev": ("aqua/dev.json", "jsonl", "", _with_options),
    "AQuA test": ("aqua/test.json", "jsonl", "", _with_options),
    "SciBench": ("scibench/atkins.json", "json", "", lambda row: row["problem_text"]),
    "PubMedQA": (
        "pubmedqa/ori_pqal.json",
        "json",
        "*",
        lambda row: " ".join([row["QUESTION"], *row["CONTEXTS"]]),
    ),
    "CRUXEval": (
        "cruxeval/cruxeval.jsonl",
        "jsonl",
        "",
        lambda row: f"{row['code']}\n{row['input']}",
    ),
    "Self-Instruct": (
        "self_instruct/seed_tasks.jsonl",
        "jsonl",
        "",
        lambda row: f"{row['instruction']} {row['instances'][0]['input']}",
    ),
}


def _questions(file: pathlib.Path) -> list[str]:
    return [row["question"] for row in source_files.read_rows(file, "jsonl", "")]


def build(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> bench_contamination.BenchContamination:
    """Builds the experiment behind `configs/bench/contamination.py`."""
    with checks.blame("config.experiment", config.experiment):
        data = real_math.data_folder(root)
        benchmark = _questions(data / "gsm8k/test.jsonl")
        solved = _questions(data / "gsm8k/example_model_solutions.jsonl")
        clean = {
            kind: [question(row) for row in source_files.read_rows(data / file, *how)]
            for kind, (file, *how, question) in _CLEAN.items()
        }
    return bench_contamination.BenchContamination(
        workdir=workdir,
        benchmark=benchmark,
        solved=solved,
        clean=clean,
        rewriter_seed=config.rewriter.seed,
        share=config.rewriter.share,
        larger_share=config.rewriter.larger_share,
        shown=config.shown,
        seed=config.seed,
    )


PROGRAMMES = {"bench_contamination": build}
