"""How much of a planted benchmark the contamination check finds, and how fast.

The rows of real files, with questions of a benchmark among them: copied, copied with
other models' answers, and reworded. The check was tuned on the benchmark's even lines,
the planted questions are its odd ones; clean rows are compared with all of them.

`summary.json` has, by kind of row, `rows`, how many were `found` and in which way
(`how`); `build_seconds` of CPU for the index, `rows_a_second` and `cpu_seconds` for
the rows; and some `misses` and `false_alarms`, each with its row and the benchmark
question it was made of, or shares most words with.
"""

from collections.abc import Mapping, Sequence
import collections
import dataclasses
import pathlib
import random
import time
from typing import Any

from datachef_jax import types
from datachef_jax.verifier.gates import contamination
from datachef_jax.verifier.gates import rewording
from experiments import environment
from experiments import results
from experiments import rewriter
from experiments import table

PLANTED = ("copied", "copied solutions", "reworded", "reworded more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A row: its kind, its question, and the benchmark's that it was made of, or ""."""

    kind: str
    question: str
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchContamination:
    """The experiment.

    Attributes:
      workdir: Where everything goes.
      benchmark: The questions that must not be trained on.
      solved: The same questions as a file of other models' answers has them.
      clean: Questions of other files, by the kind of their rows.
      rewriter_seed: See `rewriter.reword`.
      share: Of the words of a sentence, replaced at most in rows "reworded".
      larger_share: The same in rows "reworded more".
      shown: Misses and false alarms that are listed, of each kind.
      seed: Of the order of the rows.
    """

    workdir: pathlib.Path
    benchmark: Sequence[str]
    solved: Sequence[str]
    clean: Mapping[str, Sequence[str]]
    rewriter_seed: int
    share: float
    larger_share: float
    shown: int
    seed: int

    def run(self, record: environment.Environment) -> None:
        """Measures, prints the table and the lists, writes `summary.json`."""
        rows = self.rows()
        with record.stage("index"):
            started = time.process_time()
            index = contamination.Contamination(
                [types.Example(question=q, answer="") for q in self.benchmark]
            )
            build_seconds = time.process_time() - started
        with record.stage("rows"):
            started, cpu = time.perf_counter(), time.process_time()
            how = [index.how(row.question) for row in rows]
            took, cpu = time.perf_counter() - started, time.process_time() - cpu
        summary = {
            "kinds": self._by_kind(rows, how),
            "build_seconds": build_seconds,
            "rows_a_second": len(rows) / took,
            "cpu_seconds": cpu,
            "misses": self._listed(rows, how, planted=True),
            "false_alarms": self._listed(rows, how, planted=False),
        }
        print(page(summary))
        results.write_text(self.workdir / "table.md", page(summary) + "\n")
        results.write_json(self.workdir / "summary.json", summary)

    def rows(self) -> list[Row]:
        """Returns all rows, shuffled."""
        odd = self.benchmark[1::2]

        def reworded(share: float) -> list[str]:
            return [
                rewriter.rewrite(q, seed=self.rewriter_seed, share=share) for q in odd
            ]

        made = (
            odd,
            self.solved[1::2],
            reworded(self.share),
            reworded(self.larger_share),
        )
        rows = [
            Row(kind=kind, question=question, source=source)
            for kind, questions in zip(PLANTED, made, strict=True)
            for question, source in zip(questions, odd, strict=True)
        ]
        rows += [
            Row(kind=kind, question=question, source="")
            for kind, questions in self.clean.items()
            for question in questions
        ]
        random.Random(self.seed).shuffle(rows)
        return rows

    def _by_kind(self, rows: Sequence[Row], how: Sequence[str]) -> dict[str, Any]:
        counts = {
            kind: collections.Counter(
                way for row, way in zip(rows, how, strict=True) if row.kind == kind
            )
            for kind in (*PLANTED, *self.clean)
        }
        return {
            kind: {
                "rows": counted.total(),
                "found": counted.total() - counted[""],
                "how": {way: n for way, n in sorted(counted.items()) if way},
            }
            for kind, counted in counts.items()
        }

    def _listed(
        self, rows: Sequence[Row], how: Sequence[str], *, planted: bool
    ) -> list[dict[str, str]]:
        """Returns some rows of each kind about which the check was wrong."""
        index = rewording.Rewording(self.benchmark)
        shown = collections.Counter()
        listed = []
        for row, way in zip(rows, how, strict=True):
            wrong = (row.kind in PLANTED) == planted and (way == "") == planted
            if not wrong or shown[row.kind] == self.shown:
                continue
            shown[row.kind] += 1
            question = row.source or _closest(row.question, index)
            listed.append(
                {"kind": row.kind, "how": way, "row": row.question}
                | {"benchmark": question}
            )
        return sorted(listed, key=lambda entry: entry["kind"])


def _closest(question: str, index: rewording.Rewording) -> str:
    """Returns what a question was taken for: a rewording, or most words (Jaccard)."""
    overlaps = index.overlaps(question)
    if overlaps.any():
        return index.questions[int(overlaps.argmax())]
    own = set(contamination.normalise(question))

    def alike(other: str) -> float:
        theirs = set(contamination.normalise(other))
        return len(own & theirs) / len(own | theirs)

    return max(index.questions, key=alike)


def page(summary: Mapping[str, Any]) -> str:
    """Returns the figures as a Markdown table, and the lists below it."""
    lines = [["row", "rows", "found", "found %", "how"]]
    for kind, figures in summary["kinds"].items():
        share = 100 * figures["found"] / figures["rows"]
        ways = ", ".join(f"{way} {n}" for way, n in figures["how"].items())
        lines.append(
            [kind, str(figures["rows"]), str(figures["found"]), f"{share:.2f}", ways]
        )
    parts = [
        table.markdown(lines),
        f"{summary['rows_a_second']:.0f} rows a second, {summary['cpu_seconds']:.1f} "
        f"CPU-seconds in all, {summary['build_seconds']:.1f} for the index",
    ]
    for title, name in (("Missed", "misses"), ("False alarms", "false_alarms")):
        parts.append(f"\n{title}, some of each kind:\n")
        parts += [
            f"- {entry['kind']}{entry['how'] and ', ' + entry['how']}: {entry['row']}\n"
            f"  - benchmark: {entry['benchmark']}"
            for entry in summary[name]
        ]
    return "\n".join(parts)
