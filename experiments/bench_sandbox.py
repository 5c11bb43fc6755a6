"""How many recipes a second the sandbox runs, and what its layers cost.

`summary.json` has, for each kind of script, of the sandbox and of `subprocess`, which
starts a Python for each and isolates nothing: `a_second` and `cpu_seconds` of a run,
medians of rounds that alternate between the two. `stages` has the milliseconds of CPU
of a run in each of the sandbox's processes: the script's own, from the fork on, the
zygote's, the supervisor's and the trainer's. `layers` has the milliseconds of CPU
of an empty run in each layout, `mixed` what became of honest and hostile scripts that
ran side by side.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import tqdm

from experiments import environment
from experiments import results
from sandbox import layout as layouts
from sandbox.job import Job
from sandbox.job import Result
from sandbox.pool import Sandbox

_WRITE = """
import json
turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": str(end)}]
with open("data/processed/a.jsonl", "w") as file:
    file.write(json.dumps({"dialogs": turns}) + "\\n")
"""
_ROWS = 'rows = [{"q": f"{n} + {n}", "a": 2 * n, "s": n % 5} for n in range(2000)]\n'
SCRIPTS = {
    "empty": "end = 0",
    "json": "import json\n"
    + _ROWS
    + """\
with open("raw.jsonl", "w") as file:
    file.writelines(json.dumps(row) + "\\n" for row in rows)
with open("raw.jsonl") as file:
    rows = [json.loads(line) for line in file]
end = sum(row["a"] for row in rows if row["s"] > 1)
""",
    "pandas": "import pandas\n"
    + _ROWS
    + """\
pandas.DataFrame(rows).to_parquet("raw.parquet")
frame = pandas.read_parquet("raw.parquet")
frame = frame[frame.s > 1].drop_duplicates("q")
end = frame.a.sum()
""",
    "datasets": "import datasets\n"
    + _ROWS
    + """\
ds = datasets.Dataset.from_list(rows)
ds = ds.filter(lambda row: row["s"] > 1).map(lambda row: {"c": row["a"] + 1})
end = sum(ds["c"])
""",
}
_HOSTILE = (
    "while True: pass",
    "x = []\nwhile True: x.append(bytearray(2**20))",
    "import os\nwhile True: os.fork()",
    "open('data/x', 'wb').write(bytes(2**28))",
    "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    "import sys\nwhile True: sys.stdout.write('x' * 2**16)",
    "import os\nfor i in range(2000): os.mkdir('d'); os.chdir('d')",
    "import socket\nsocket.create_connection(('127.0.0.1', 80))",
    "import os\nwhile True: os.write(3, b'\\0\\0\\0\\2{}')",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchSandbox:
    """The experiment.

    Attributes:
      workdir: Where everything goes.
      make: Makes a sandbox that has not started.
      workers: How many scripts it runs at once.
      rounds: How often each kind is measured.
      runs: Of each kind in a round, by kind; a tenth of them by `subprocess`.
      mixed: Honest and hostile scripts that run side by side.
      hostile_share: How many of them are hostile.
      seed: Of their order.
    """

    workdir: pathlib.Path
    make: Callable[[], Sandbox]
    workers: int
    rounds: int
    runs: Mapping[str, int]
    mixed: int
    hostile_share: float
    seed: int

    def run(self, record: environment.Environment) -> None:
        """Measures, prints the tables, writes `summary.json`."""
        with self.make() as sandbox:
            record.note("sandbox", sandbox.isolation)
            with record.stage("throughput"):
                speed = self._throughput(sandbox)
            with record.stage("stages"):
                stages = {
                    kind: self._stages(sandbox, SCRIPTS[kind], count)
                    for kind, count in self.runs.items()
                }
            with record.stage("mixed"):
                mixed = self._mixed(sandbox)
        with record.stage("layers"):
            layers = self._layers(sandbox.layout)
        summary = {"throughput": speed, "stages": stages, "layers": layers}
        summary["mixed"] = mixed
        print(table(summary))
        results.write_text(self.workdir / "table.md", table(summary) + "\n")
        results.write_json(self.workdir / "summary.json", summary)

    def _throughput(self, sandbox: Sandbox) -> dict[str, Any]:
        measured: dict[str, dict[str, list]] = {}
        with tqdm.tqdm(total=self.rounds * len(self.runs), desc="throughput") as bar:
            for _ in range(self.rounds):
                for kind, count in self.runs.items():
                    for program, took in (
                        ("sandbox", self._sandboxed(sandbox, SCRIPTS[kind], count)),
                        ("subprocess", self._plain(SCRIPTS[kind], max(count // 10, 2))),
                    ):
                        own = measured.setdefault(kind, {})
                        own.setdefault(program, []).append(took)
                    bar.update()
        return {
            kind: {
                program: {
                    name: statistics.median(took[name] for took in rounds)
                    for name in ("a_second", "cpu_seconds")
                }
                for program, rounds in programs.items()
            }
            for kind, programs in measured.items()
        }

    def _sandboxed(self, sandbox: Sandbox, script: str, count: int) -> dict[str, float]:
        """Returns the figures of some runs; CPU of supervisors and zygotes included."""
        started, before = time.perf_counter(), _cpu_seconds(sandbox.supervisors)
        done = sandbox.run([_job(script)] * count)
        took = time.perf_counter() - started
        cpu = _cpu_seconds(sandbox.supervisors) - before
        bad = [result for result in done if result.kind != "ok"]
        if bad:
            raise RuntimeError(f"an honest script ended {bad[0].kind}: {bad[0].log}")
        return {"a_second": count / took, "cpu_seconds": cpu / count}

    def _stages(self, sandbox: Sandbox, script: str, count: int) -> dict[str, float]:
        """Returns the milliseconds of CPU of a run by process."""

        def spent() -> dict[str, float]:
            supervisors = sum(map(_own_cpu_seconds, sandbox.supervisors))
            return {
                "supervisor": supervisors,
                "zygote": _cpu_seconds(sandbox.supervisors) - supervisors,
                "trainer": time.process_time(),
            }

        before = spent()
        done = sandbox.run([_job(script)] * count)
        took = {name: now - before[name] for name, now in spent().items()}
        took["script"] = sum(result.cpu_seconds for result in done)
        took["zygote"] -= took["script"]  # its children are counted with it
        return {name: 1000 * seconds / count for name, seconds in took.items()}

    def _plain(self, script: str, count: int) -> dict[str, float]:
        before, started = _children_cpu(), time.perf_counter()
        with futures.ThreadPoolExecutor(self.workers) as threads:
            list(threads.map(_run_plainly, [script] * count))
        took = time.perf_counter() - started
        cpu = _children_cpu() - before
        return {"a_second": count / took, "cpu_seconds": cpu / count}

    def _layers(self, best: layouts.Layout) -> dict[str, float]:
        """Returns the milliseconds of CPU of an empty run in each layout."""
        plain = layouts.Layout(namespaces=False, own_users=False)
        tried = [best, plain]
        for without in (("seccomp",), ("landlock",), ("seccomp", "landlock")):
            tried.append(dataclasses.replace(plain, without=without))
        figures = {}
        for layout in tried:
            with self.make().only(layout) as sandbox:
                rounds = [
                    self._sandboxed(sandbox, SCRIPTS["empty"], self.runs["empty"])
                    for _ in range(self.rounds)
                ]
            took = statistics.median(each["cpu_seconds"] for each in rounds)
            figures[str(layout)] = 1000 * took
        return figures

    def _mixed(self, sandbox: Sandbox) -> dict[str, Any]:
        """Runs honest scripts beside hostile ones; the honest must not notice."""
        rng = random.Random(self.seed)
        kinds = [
            "hostile"
            if rng.random() < self.hostile_share
            else rng.choice(list(SCRIPTS))
            for _ in range(self.mixed)
        ]
        jobs = [
            _job(SCRIPTS.get(kind) or rng.choice(_HOSTILE), seed=i)
            for i, kind in enumerate(kinds)
        ]
        with tqdm.tqdm(total=len(jobs), desc="mixed", unit="script") as bar:
            done = sandbox.run(jobs, bar.update)
        outputs: dict[str, set[str]] = {}
        endings: dict[str, int] = {}
        for kind, result in zip(kinds, done, strict=True):
            if kind in SCRIPTS:
                outputs.setdefault(kind, set()).add(_digest(result))
            else:
                endings[result.kind] = endings.get(result.kind, 0) + 1
        honest = [r for kind, r in zip(kinds, done, strict=True) if kind in SCRIPTS]
        return {
            "honest": len(honest),
            "honest_ok": sum(result.kind == "ok" for result in honest),
            "outputs": {kind: len(found) for kind, found in outputs.items()},
            "hostile": endings,
        }


def _job(script: str, *, seed: int = 0) -> Job:
    return Job(
        processing=script + _WRITE, verification="", sources=(), row_cap=0, seed=seed
    )


def _run_plainly(script: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(f"{folder}/data/processed")
        command = [sys.executable, "-c", script + _WRITE]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


def _digest(result: Result) -> str:
    return hashlib.sha256(
        json.dumps([result.kind, result.output.rows]).encode()
    ).hexdigest()


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _own_cpu_seconds(pid: int, *, ended_children: bool = False) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = fields[11 : 15 if ended_children else 13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _cpu_seconds(processes: Sequence[int]) -> float:
    """Returns the CPU of processes and of all that have come from them."""
    total = 0.0
    for pid in processes:
        total += _own_cpu_seconds(pid, ended_children=True)
        for listed in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
            total += _cpu_seconds(list(map(int, listed.read_text().split())))
    return total


def table(summary: Mapping[str, Any]) -> str:
    """Returns the figures as Markdown tables."""
    lines = [
        "| script | sandbox, a second | subprocess, a second | times | "
        "sandbox, CPU ms | subprocess, CPU ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind, programs in summary["throughput"].items():
        ours, plain = programs["sandbox"], programs["subprocess"]
        lines.append(
            f"| {kind} | {ours['a_second']:.1f} | {plain['a_second']:.1f} | "
            f"{ours['a_second'] / plain['a_second']:.1f} | "
            f"{1000 * ours['cpu_seconds']:.1f} | {1000 * plain['cpu_seconds']:.1f} |"
        )
    names = ("script", "zygote", "supervisor", "trainer")
    lines += ["", f"| CPU ms of | {' | '.join(names)} |", "|---|" + "---:|" * 4]
    for kind, stages in summary["stages"].items():
        cells = " | ".join(f"{stages[name]:.1f}" for name in names)
        lines.append(f"| {kind} | {cells} |")
    lines += ["", "| an empty run in | CPU ms |", "|---|---:|"]
    lines += [f"| {name} | {ms:.1f} |" for name, ms in summary["layers"].items()]
    mixed = summary["mixed"]
    lines += [
        "",
        f"Mixed: {mixed['honest_ok']} of {mixed['honest']} honest scripts ended well; "
        f"different outputs of each kind: {mixed['outputs']}; hostile ones ended "
        f"{mixed['hostile']}.",
    ]
    return "\n".join(lines)
