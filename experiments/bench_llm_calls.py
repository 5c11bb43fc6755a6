"""How recipes that ask a language model share its engine.

`summary.json` has, for each way of running the same recipes, the `seconds` that it
took, LLM `calls_a_second`, how many completions were decoded at a time, `together`, of
the `rows` that the engine has, and how many recipes left what they leave alone, `same`.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import pathlib
import time
from typing import Any

import tqdm

from experiments import environment
from experiments import results
from sandbox.job import Job
from sandbox.job import Result
from sandbox.pool import Sandbox

_ROWS = """\
from aidp import *
rows = [{{"q": f"Add {{n}} and {number} to {{n * n}}."}} for n in range({calls})]
"""
_LEAVE = """
ds = format_to_sharegpt(ds, "q", lambda row: f"The model said: {row['response']}")
dump_dataset(ds, "data/processed/a.jsonl")
"""
_AT_ONCE = 'ds = generate_dataset_with_llm(rows, user_map="q")'
_BY_ROW = """\
ds = concatenate_datasets(
    [generate_dataset_with_llm([row], user_map="q") for row in rows]
)"""
FLOODS = {
    "the channel": "import os\nwhile True: os.write(3, b'\\0\\0\\0\\2{}')",
    "the model": (
        "from aidp import *\n"
        'rows = [{"q": f"Count from {n}."} for n in range(100_000)]\n'
        'generate_dataset_with_llm(rows, user_map="q")'
    ),
    "the model, unheard": (
        "import json, os\n"
        'chat = [{"role": "user", "content": "Count without an end."}]\n'
        'ask = json.dumps({"ask": [chat] * 64}).encode()\n'
        "while True: os.write(3, len(ask).to_bytes(4, 'big') + ask)"
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchLlmCalls:
    """The experiment.

    Attributes:
      workdir: Where everything goes.
      make: Makes a sandbox that has not started, and whose model remembers nothing.
      counts: Returns what the engine has done so far: see `sampling.state.Counts`.
      rows: How many completions the engine decodes at a time at most.
      recipes: How many there are.
      calls: LLM calls of each.
      flooding: Recipes of each kind of `FLOODS` beside them.
    """

    workdir: pathlib.Path
    make: Callable[[], Sandbox]
    counts: Callable[[], Mapping[str, int]]
    rows: int
    recipes: int
    calls: int
    flooding: int

    def run(self, record: environment.Environment) -> None:
        """Measures, prints the table, writes `summary.json`."""
        at_once, by_row = (
            [_job(self._script(number, asks)) for number in range(self.recipes)]
            for asks in (_AT_ONCE, _BY_ROW)
        )
        floods = [_job(script) for script in FLOODS.values()] * self.flooding
        with record.stage("compiling"):
            self._run([[_job(self._script(-1, _AT_ONCE))]])
        with record.stage("one after the other"):
            alone, figures = self._run([[job] for job in at_once])
        ways = {"one after the other": figures}
        for name, jobs, beside in (
            ("all at once", at_once, []),
            ("all at once, row by row", by_row, []),
            ("all at once, beside floods", at_once, floods),
        ):
            with record.stage(name):
                done, ways[name] = self._run([[*beside, *jobs]])
            done = done[len(beside) :]
            ways[name]["same"] = sum(
                _left(one) == _left(other)
                for one, other in zip(alone, done, strict=True)
            )
        ways["one after the other"]["same"] = len(alone)
        summary = {
            "ways": ways,
            "rows": self.rows,
            "recipes": self.recipes,
            "calls": self.calls,
        }
        print(table(summary))
        results.write_text(self.workdir / "table.md", table(summary) + "\n")
        results.write_json(self.workdir / "summary.json", summary)

    def _script(self, number: int, asks: str) -> str:
        return _ROWS.format(number=number, calls=self.calls) + asks + _LEAVE

    def _run(
        self, batches: Sequence[Sequence[Job]]
    ) -> tuple[list[Result], dict[str, Any]]:
        """Runs batches of recipes, one after the other, in a new sandbox."""
        done: list[Result] = []
        total = sum(map(len, batches))
        with self.make() as sandbox, tqdm.tqdm(total=total, unit="recipe") as bar:
            before, started = self.counts(), time.perf_counter()
            for batch in batches:
                done += sandbox.run(batch, bar.update)
            seconds, after = time.perf_counter() - started, self.counts()
        spent = {name: after[name] - before[name] for name in after}
        return done, {
            "seconds": seconds,
            "calls_a_second": spent["admitted"] / seconds,
            "together": spent["decoded"] / max(spent["rounds"], 1),
            "endings": _endings(done),
        }


def _job(script: str) -> Job:
    return Job(processing=script, verification="", sources=(), row_cap=0, seed=0)


def _left(result: Result) -> str:
    """Returns all that a recipe left, as text."""
    return json.dumps([result.kind, result.output.rows])


def _endings(done: Sequence[Result]) -> dict[str, int]:
    kinds = [result.kind for result in done]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def table(summary: Mapping[str, Any]) -> str:
    """Returns the figures as a Markdown table."""
    lines = [
        f"{summary['recipes']} recipes of {summary['calls']} LLM calls each; the engine"
        f" decodes {summary['rows']} completions at a time at most.",
        "",
        "| recipes run | seconds | calls a second | decoded at a time | same as alone |"
        " ended |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, way in summary["ways"].items():
        ended = ", ".join(f"{kind} {count}" for kind, count in way["endings"].items())
        lines.append(
            f"| {name} | {way['seconds']:.1f} | {way['calls_a_second']:.1f} |"
            f" {way['together']:.1f} | {way['same']} | {ended} |"
        )
    return "\n".join(lines)
