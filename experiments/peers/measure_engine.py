"""What a process measures of its own generation: the same for us and for the peers.

Only the standard library: the peers run this with interpreters of their own. A
program is started as `python -m experiments.peers.<name> JOB RESULT`: the first file
says what to do (`bench_engine.py` writes it) and names the workload
(`bench_workloads.py` writes that), the second gets the figures.
"""

from collections.abc import Callable, Mapping, Sequence
import gc
from importlib import metadata
import json
import pathlib
import sys
import time
from typing import Any, NamedTuple

from experiments.peers import measure

Answers = list[list[int]] | list[list[float]]
"""For each row its new tokens or, where candidates are scored, their log-probabilities
in nats."""


class Program(NamedTuple):
    """What is measured.

    Attributes:
      warm_up: Compiles what `run` needs, and does as little else as it can; what it
        returns is dropped.
      run: Answers all rows of the workload.
      greedy: Returns the likeliest tokens after the prompts that are compared.
      host_share: Returns the share of a run that is not spent in compiled programs, or
        None where nothing tells it.
    """

    warm_up: Callable[[], Any]
    run: Callable[[], Answers]
    greedy: Callable[[], list[list[int]]]
    host_share: Callable[[], float | None]


Make = Callable[[Mapping[str, Any], Mapping[str, Any], Any], Program]
"""Makes a program from the job, the workload and the loaded model."""


def main(
    load: Callable[[Mapping[str, Any]], Any],
    make: Make,
    *,
    packages: Sequence[str],
) -> None:
    """Measures a program and writes its figures to the file of the command line.

    Keys of the result:

      seconds, cpu_seconds: of one run; CPU-seconds are those of user and system;
      warm_up_cpu_seconds: of what precedes it, compilation above all;
      answered: new tokens, or scored rows;
      loaded_gib: resident set once the weights are there;
      peak_gib: the largest resident set during the run;
      host_share: see `Program`;
      greedy: see `Program`;
      scores: what `run` has answered, if candidates are scored;
      versions: of the packages.

    Args:
      load: Reads the model that the job names.
      make: Makes the program.
      packages: Whose versions to note.
    """
    # Should memory run out, this process is the one to end.
    pathlib.Path("/proc/self/oom_score_adj").write_text("1000")
    job = json.loads(pathlib.Path(sys.argv[1]).read_text())
    workload = json.loads(pathlib.Path(job["workload"]).read_text())
    model = load(job)
    gc.collect()
    loaded = measure.memory("VmRSS")
    program = make(job, workload, model)
    del model
    figures = _figures(program, workload) | {
        "loaded_gib": loaded / measure.GIB,
        "greedy": program.greedy(),
        # A pass of its own: waiting for each compiled program may slow a run down.
        "host_share": program.host_share() if job["watch_host"] else None,
        "versions": {name: metadata.version(name) for name in packages},
    }
    pathlib.Path(sys.argv[2]).write_text(json.dumps(figures))


def _figures(program: Program, workload: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the figures of the warm-up and of one run."""
    _, warm_up = _timed(program.warm_up)
    gc.collect()
    measure.reset_peak()
    answers, timed = _timed(program.run)
    peak = measure.memory("VmHWM")
    check(workload, answers)
    scored = bool(workload["candidates"])
    return timed | {
        "warm_up_cpu_seconds": warm_up["cpu_seconds"],
        "peak_gib": peak / measure.GIB,
        "answered": len(answers) if scored else sum(map(len, answers)),
        "scores": answers if scored else [],
    }


def _timed(call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    cpu, wall = measure.cpu_seconds(), time.perf_counter()
    result = call()
    return result, {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": measure.cpu_seconds() - cpu,
    }


def check(workload: Mapping[str, Any], answers: Answers) -> None:
    """Makes sure that a program has done what was asked, no less and no more.

    Raises:
      ValueError: Names the first row that has another number of tokens or scores.
    """
    asked = workload["new_tokens"]
    if workload["candidates"]:
        asked = [len(workload["candidates"])] * len(workload["prompts"])
    if len(answers) != len(asked):
        raise ValueError(f"{len(answers)} rows were answered of {len(asked)}")
    for i, (answer, count) in enumerate(zip(answers, asked, strict=True)):
        if len(answer) != count:
            raise ValueError(f"row {i} got {len(answer)} tokens, {count} were asked")


def batches(count: int, rows: int) -> list[range]:
    """Returns the rows of each batch, in order; the last one may be smaller."""
    return [range(i, min(i + rows, count)) for i in range(0, count, rows)]
