"""The mini task pool: 12 tasks, each with a benchmark and 8 to 12 raw source files.

Everything follows from one seed. Benchmark questions are in no source except in
the one that is planted to leak them, and that one's card says so.
"""

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
import csv
import dataclasses
import io
import json
import pathlib
from typing import Any
import zlib

import numpy as np
import pyarrow
from pyarrow import parquet

from datachef_jax.tasks import sources as source_files
from datachef_jax.tasks.mini import families
from datachef_jax.tasks.mini import faults
from datachef_jax.tasks.mini import kinds
from datachef_jax.tasks.mini import names
from datachef_jax.types import Example
from datachef_jax.types import Handling
from datachef_jax.types import Source
from datachef_jax.types import Task

_HOW_TO_ANSWER = {
    "plain": "Answer with the result alone.",
    "boxed": "Answer as \\boxed{result}.",
    "letter": "Answer with one letter.",
    "json": 'Answer as {"answer": "result"}.',
}
_WRAP = {"plain": "{}", "letter": "{}", "boxed": "to_boxed({})", "json": "to_json({})"}
_EXAMPLES = 8  # rows of a source of which a prompt shows some
_LAYOUTS = ("jsonl", "csv", "parquet", "examples", "by_id")


def instruction(family: families.Family) -> str:
    """Returns what the model must learn and how it must answer."""
    return f"{family.goal} {_HOW_TO_ANSWER[family.contract]}"


def _expressions(kind: str, contract: str, columns: Sequence[str]):
    """Returns the plain and the expert handling of a source (see types.Handling)."""
    made = kinds.KINDS[kind]
    cells = [f'row["{column}"]' for column in columns]
    question = cells[0]
    if kind == "unanswered":
        answered = _WRAP[contract].format('row["response"]')
        handling = Handling(
            user=question, assistant=answered, generate=True, worth=made.worth
        )
        return handling, handling
    answer = cells[1]
    quality = cells[2] if len(cells) > 2 else ""
    mend = kinds.mend(kind, contract)
    assistant = _WRAP[contract].format(mend.format(answer=answer)) if mend else answer
    expert = Handling(
        user=question,
        assistant=assistant,
        keep=made.keep.format(answer=answer, quality=quality),
        worth=made.worth,
    )
    return Handling(user=question, assistant=answer, worth=made.worth), expert


def _row(cell: faults.Cell, columns: Sequence[str]) -> dict[str, Any]:
    values = (cell.question, cell.answer, cell.quality)
    return dict(zip(columns, values, strict=False))


def _write(rows: list[dict], layout: str, folder: pathlib.Path, stem: str):
    """Writes rows in one of the layouts; returns (path, format, records)."""
    if layout == "jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows)
        path, file_format, records = folder / f"{stem}.jsonl", "jsonl", ""
    elif layout == "examples":
        text = json.dumps({"version": 1, "examples": rows})
        path, file_format, records = folder / f"{stem}.json", "json", "examples"
    elif layout == "by_id":
        text = json.dumps({str(i): row for i, row in enumerate(rows)})
        path, file_format, records = folder / f"{stem}.json", "json", "*"
    elif layout == "csv":
        path, file_format, records = folder / f"{stem}.csv", "csv", ""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = buffer.getvalue()
    else:
        path = folder / f"{stem}.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path, "parquet", ""
    path.write_text(text, encoding="utf-8")
    return path, file_format, records


def _source(
    family: families.Family,
    kind: str,
    cells: Sequence[faults.Cell],
    *,
    stem: str,
    folder: pathlib.Path,
    rng: np.random.Generator,
) -> Source:
    columns = [str(rng.choice(names.QUESTIONS))]
    if kind != "unanswered":
        columns.append(str(rng.choice(names.ANSWERS)))
    if kind == "scored":
        columns.append(str(rng.choice(names.QUALITIES)))
    layout = str(rng.choice(_LAYOUTS))
    rows = [_row(cell, columns) for cell in cells]
    path, file_format, records = _write(rows, layout, folder, stem)
    plain, expert = _expressions(kind, family.contract, columns)
    return Source(
        id=f"{names.OWNER}/{stem}",
        path=path,
        format=file_format,
        records=records,
        columns=tuple(rows[0]) + (("id",) if records == "*" else ()),
        num_rows=len(rows),
        card=f"Topic: {family.topic}. {kinds.KINDS[kind].remark}",
        examples=tuple(source_files.read_rows(path, file_format, records)[:_EXAMPLES]),
        plain=plain,
        expert=expert,
    )


def _examples(
    family: families.Family,
    kind: str,
    benchmark: Sequence[Example],
    *,
    asked: Collection[str],
    rng: np.random.Generator,
) -> list[Example]:
    """Returns the clean examples that a source of this kind is made from."""
    made = kinds.KINDS[kind]
    if kind == "leaked":
        return list(benchmark)
    seed = int(rng.integers(2**31))
    return families.generate(family, made.level, made.rows, seed=seed, exclude=asked)


def _task(
    family: families.Family,
    stems: Sequence[str],
    chosen: Sequence[str],
    *,
    folder: pathlib.Path,
    benchmarks: Mapping[str, Sequence[Example]],
    rng: np.random.Generator,
) -> Task:
    folder.mkdir(parents=True, exist_ok=True)
    benchmark = benchmarks[family.name]
    asked = {e.question for examples in benchmarks.values() for e in examples}
    others = [f for f in families.FAMILIES.values() if not f.held_out and f != family]
    sources = []
    for kind, stem in zip(chosen, stems, strict=True):
        origin = others[rng.integers(len(others))] if kind == "foreign" else family
        examples = _examples(origin, kind, benchmark, asked=asked, rng=rng)
        cells = kinds.KINDS[kind].fault(examples, origin.contract, rng)
        sources.append(_source(origin, kind, cells, stem=stem, folder=folder, rng=rng))
    return Task(
        name=family.name,
        domain=family.domain,
        instruction=instruction(family),
        benchmark=f"{family.name}-{len(benchmark)}",
        benchmark_description=(
            f"{len(benchmark)} questions. Topic: {family.topic}. Exact match."
        ),
        contract=family.contract,
        metric="exact_match",
        examples=tuple(benchmark),
        sources=tuple(sources[i] for i in rng.permutation(len(sources))),
        held_out=family.held_out,
    )


def unseen(task: Task, *, seed: int) -> Task:
    """Returns a task with as many new benchmark questions, which no source holds.

    A dataset with rows that leaked from the benchmark raises the score on its questions
    alone; what it teaches shows on others.

    Args:
      task: Of `build`.
      seed: Of the questions.

    Raises:
      ValueError: If its family has no more questions.
    """
    seen = {example.question for example in task.examples}
    for source in task.sources:
        rows = source_files.read_rows(source.path, source.format, source.records)
        seen.update(v for row in rows for v in row.values() if isinstance(v, str))
    count = len(task.examples)
    # Neighbouring seeds of reasoning-gym share all questions but one.
    scattered = int(np.random.default_rng(seed).integers(2**31))
    found = families.generate(
        families.FAMILIES[task.name], "normal", count, seed=scattered, exclude=seen
    )
    if len(found) < count:
        raise ValueError(
            f"task {task.name} has {len(found)} questions that no source holds, "
            f"not {count}"
        )
    return dataclasses.replace(task, examples=tuple(found))


def build(folder: pathlib.Path, *, seed: int, benchmark_size: int) -> list[Task]:
    """Writes the pool's source files and returns its tasks, training tasks first.

    Args:
      folder: One subfolder a task is written below it.
      seed: Fixes everything.
      benchmark_size: Questions in each benchmark.
    """
    rng = np.random.default_rng(seed)
    stems = [str(stem) for stem in rng.permutation(names.SOURCES)]
    benchmarks = {
        family.name: families.generate(
            family, "normal", benchmark_size, seed=int(rng.integers(2**31))
        )
        for family in families.FAMILIES.values()
    }
    tasks = []
    for family in families.FAMILIES.values():
        count = rng.integers(1, len(kinds.SOMETIMES) + 1)
        extra = rng.choice(kinds.SOMETIMES, size=count, replace=False)
        chosen = list(kinds.ALWAYS) + [str(kind) for kind in extra]
        own, stems = stems[: len(chosen)], stems[len(chosen) :]
        # Its own stream: one task's rows do not depend on another's.
        own_rng = np.random.default_rng([seed, zlib.crc32(family.name.encode())])
        tasks.append(
            _task(
                family,
                own,
                chosen,
                folder=folder / family.name,
                benchmarks=benchmarks,
                rng=own_rng,
            )
        )
    return tasks
