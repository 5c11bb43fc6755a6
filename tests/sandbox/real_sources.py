"""The real files, as recipes are offered them and as plain Python reads them."""

from collections.abc import Mapping
import csv
import dataclasses
import functools
import json
import os
import pathlib
from typing import Any

from sandbox.job import SourceFile

_ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = pathlib.Path(
    os.environ.get("DATACHEF_DATA") or _ROOT.parent / "shared" / "data"
)


@dataclasses.dataclass(frozen=True)
class Raw:
    """A file of the folder of real data.

    Attributes:
      id: Under which recipes load it.
      file: Its place in the folder.
      format: As in `SourceFile`, as is the next one.
      records: Where in the file its rows stand.
      split: Its only one.
      config: The only configuration, the source's `name`.
      user: The column that a recipe would have the user say.
      assistant: The column that it would have the assistant answer.
      num_rows: How many it has.
      columns: All of them, in the order in which they are loaded.
    """

    id: str
    file: str
    format: str
    records: str
    split: str
    config: str
    user: str
    assistant: str
    num_rows: int
    columns: tuple[str, ...]

    def source(self) -> SourceFile:
        """Returns it as a recipe is offered it."""
        return SourceFile(
            id=self.id,
            path=FOLDER / self.file,
            format=self.format,
            records=self.records,
            split=self.split,
            name=self.config,
        )


_MAWPS = (
    *("Question", "Numbers", "Equation", "Answer"),
    *("group_nums", "Body", "Ques_Statement"),
)
_MODELS = tuple(
    f"{size}_{way}" for size in ("6b", "175b") for way in ("finetuning", "verification")
)
_SCIBENCH = (
    *("problem_text", "answer_latex", "answer_number"),
    *("unit", "source", "problemid", "comment"),
)
_PUBMEDQA = (
    *("QUESTION", "CONTEXTS", "LABELS", "MESHES", "YEAR", "reasoning_required_pred"),
    *("reasoning_free_pred", "final_decision", "LONG_ANSWER", "id"),
)
_AQUA = ("question", "options", "rationale", "correct")


def _scibench(book: str, num_rows: int, *more: str) -> Raw:
    return Raw(
        f"mandyyyyii/scibench-{book}",
        *(f"scibench/{book}.json", "json", "", "train", "default"),
        *("problem_text", "answer_number", num_rows, (*_SCIBENCH, *more)),
    )


def _bbh(task: str, num_rows: int) -> Raw:
    return Raw(
        f"lukaemon/bbh-{task}",
        *(f"bbh/{task}.json", "json", "examples", "test", task),
        *("input", "target", num_rows, ("input", "target")),
    )


def _mawps(id: str, part: str, num_rows: int) -> Raw:
    return Raw(
        *(id, f"mawps/{part}.csv", "csv", "", "train", "default"),
        *("Question", "Answer", num_rows, _MAWPS),
    )


_RAWS = {
    "gsm8k": Raw(
        *("openai/gsm8k", "gsm8k/train.jsonl", "jsonl", "", "train", "main"),
        *("question", "answer", 7473, ("question", "answer")),
    ),
    "solutions": Raw(
        *("openai/gsm8k-solutions", "gsm8k/example_model_solutions.jsonl", "jsonl"),
        *("", "test", "default", "question", "ground_truth", 1319),
        ("question", "ground_truth", *_MODELS),
    ),
    "svamp": Raw(
        *("arkilpatel/svamp", "svamp/SVAMP.json", "json", "", "train", "default"),
        *("Question", "Answer", 1000),
        ("ID", "Body", "Question", "Equation", "Answer", "Type"),
    ),
    "mawps": _mawps("arkilpatel/mawps", "train", 1537),
    "mawps-dev": _mawps("arkilpatel/mawps-dev", "dev", 384),
    "aqua": Raw(
        *("deepmind/aqua_rat", "aqua/dev.json", "jsonl", "", "validation", "raw"),
        *("question", "correct", 254, _AQUA),
    ),
    "pubmedqa": Raw(
        *("qiaojin/PubMedQA", "pubmedqa/ori_pqal.json", "json", "*", "train"),
        *("pqa_labeled", "QUESTION", "final_decision", 1000, _PUBMEDQA),
    ),
    "cruxeval": Raw(
        *("cruxeval-org/cruxeval", "cruxeval/cruxeval.jsonl", "jsonl", "", "test"),
        *("default", "code", "output", 800, ("code", "input", "output", "id")),
    ),
    "instruct": Raw(
        *("yizhongw/self_instruct", "self_instruct/seed_tasks.jsonl", "jsonl", ""),
        *("train", "seed_tasks", "instruction", "name", 175),
        ("id", "name", "instruction", "instances", "is_classification"),
    ),
    "atkins": _scibench("atkins", 105),
    "stat": _scibench("stat", 72),
    "thermo": _scibench("thermo_sol", 17, "solution"),
    "navigate": _bbh("navigate", 250),
    "booleans": _bbh("boolean_expressions", 250),
    "dates": _bbh("date_understanding", 250),
}
RAWS: Mapping[str, Raw] = _RAWS
"""The files by a short name."""


@functools.cache
def rows(name: str) -> list[dict[str, Any]]:
    """Reads a file without the toolkit; cells of CSV files are text."""
    raw = RAWS[name]
    text = (FOLDER / raw.file).read_text("utf-8-sig")
    if raw.format == "csv":
        return list(csv.DictReader(text.splitlines(keepends=True)))
    if raw.format == "jsonl":
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    content = json.loads(text)
    if raw.records == "*":
        return [{**row, "id": key} for key, row in content.items()]
    return content[raw.records] if raw.records else content
