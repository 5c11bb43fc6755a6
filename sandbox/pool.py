"""The sandbox: runs the scripts of recipes, isolated, and says how each one ended.

Every script runs in its own process, forked from a warm one that holds no secrets,
without network, environment, other processes or files but its sources (read-only) and
its own directory. How it ended is judged from outside: a script can fake a failure,
never a success. What is not covered stands in `sandbox.guard`.
"""

from collections.abc import Callable, Sequence
import dataclasses
import os
import pathlib
import signal
import sys
import tempfile
from typing import Any, Self

from sandbox import canary
from sandbox import directories
from sandbox import launch
from sandbox import program
from sandbox import supervisor
from sandbox.program import Ending
from sandbox.program import Messages
from sandbox.program import Program

KINDS = (
    "ok",
    "syntax_error",
    "runtime_error",
    "timeout",
    "oom",
    "disk",
    "forbidden",
    "crash",
    "no_output",
    "invalid_output",
    "sandbox_error",
)
"""How a recipe can end. What is in the output ("no_output", "invalid_output") is seen
by whoever reads it; "sandbox_error" is our own fault, all else the recipe's."""

_EXIT_KINDS = {
    0: "ok",
    program.SYNTAX_ERROR: "syntax_error",
    program.RUNTIME_ERROR: "runtime_error",
    program.MEMORY_ERROR: "oom",
    program.DISK_ERROR: "disk",
    program.FORBIDDEN: "forbidden",
}
_SIGNAL_KINDS = {
    signal.SIGXCPU: "timeout",
    signal.SIGXFSZ: "disk",
    signal.SIGSYS: "forbidden",
    signal.SIGKILL: "oom",  # not by us: by the kernel, which was out of memory
}
_ATTEMPTS = 2  # of a program that ends in a fault of ours


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What one script may use.

    Attributes:
      cpu_seconds: Processor time; the limit that counts, for a busy host fails nobody.
      wall_seconds: From the fork, without waiting for LLM answers; for sleepers.
      memory_bytes: Address space beyond what the warm interpreter has.
      processes: Threads; there is only one process.
      file_bytes: Size of one file.
      output_bytes: Kept of the end of what it prints; the rest is discarded.
      dataset_bytes: All that its directory may hold.
      llm_calls: Chats with the language model, of both scripts of a recipe together.
    """

    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    processes: int
    file_bytes: int
    output_bytes: int
    dataset_bytes: int
    llm_calls: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A raw dataset that a script may load by its id; fields as in `types.Source`."""

    id: str
    path: pathlib.Path
    format: str
    records: str
    split: str
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A recipe to run.

    Attributes:
      processing: The script that writes `data/processed/*.jsonl`.
      verification: The script that then checks them, "" for none.
      sources: What `load_remote_dataset` finds.
      row_cap: How many rows of a source are loaded, drawn by the seed; 0 for all.
      seed: Determines all randomness that scripts get from `random` and numpy.
      directory: Where the scripts run and write; emptied first, or made.
    """

    processing: str
    verification: str
    sources: tuple[SourceFile, ...]
    row_cap: int
    seed: int
    directory: pathlib.Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """How a recipe's scripts ended.

    Attributes:
      kind: One of `KINDS`, of the processing script; "ok" says nothing of its output.
      log: End of what the scripts printed, tracebacks included.
      cpu_seconds: Of the processing script, as all that follows.
      wall_seconds: Without waiting for LLM answers.
      peak_bytes: Largest resident set, of which the warm interpreter's share is most.
      calls: Toolkit calls in order: function, rows in, rows out.
      verification: One of `KINDS`, of the verification script; "" if it did not run.
    """

    kind: str
    log: str
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    calls: tuple[tuple[str, int, int], ...]
    verification: str


def classify(ending: Ending, cpu_seconds: float) -> str:
    """Returns the kind of an ending, from what cannot be forged first.

    Args:
      ending: How the child ended.
      cpu_seconds: How much processor time it was allowed.
    """
    if ending.status is None or not ending.ready:
        return "sandbox_error"
    if ending.killed:
        return ending.killed
    if ending.cpu_seconds >= cpu_seconds:
        return "timeout"
    if os.WIFSIGNALED(ending.status):
        return _SIGNAL_KINDS.get(os.WTERMSIG(ending.status), "crash")
    return _EXIT_KINDS.get(os.WEXITSTATUS(ending.status), "runtime_error")


def _explain(ending: Ending, kind: str) -> str:
    """Returns the log, with a word on what the script itself could not say."""
    if ending.killed or kind == "timeout" or os.WIFSIGNALED(ending.status or 0):
        return (
            f"{ending.log}\n[stopped: {kind}, after {ending.cpu_seconds:.1f} s of CPU"
            f" and {ending.wall_seconds:.1f} s]\n"
        )
    return ending.log


class _Recipe:
    """A job under way: one script after the other, each tried again if need be."""

    def __init__(self, job: Job, limits: Limits) -> None:
        self._job, self._limits = job, limits
        self._processed: Ending | None = None
        self._attempts = 0
        self.result: Result | None = None

    def first(self) -> Program:
        """Prepares the directory. Returns the processing script's program."""
        directories.wipe(self._job.directory)
        for folder in ("data/processed", "tmp"):
            (self._job.directory / folder).mkdir(parents=True)
        return self._program("processing.py", self._job.processing, 0)

    def next(self, ending: Ending) -> Program | None:
        """Takes note of an ending. Returns what to run next, None if this was all."""
        kind = classify(ending, self._limits.cpu_seconds)
        self._attempts += 1
        if kind == "sandbox_error" and self._attempts < _ATTEMPTS:
            return self._second() if self._processed else self.first()
        self._attempts = 0
        if self._processed is None and kind == "ok" and self._job.verification.strip():
            self._processed = ending
            return self._second()
        self._conclude(ending, kind)
        return None

    def _second(self) -> Program:
        made = self._processed.llm_calls
        return self._program("verification.py", self._job.verification, made)

    def _conclude(self, ending: Ending, kind: str) -> None:
        first, log, verification = ending, _explain(ending, kind), ""
        if self._processed is not None:
            first, verification, kind = self._processed, kind, "ok"
            log = f"{first.log}\n[verification: {verification}]\n{log}"
        self.result = Result(
            kind=kind,
            log=log,
            cpu_seconds=first.cpu_seconds,
            wall_seconds=first.wall_seconds,
            peak_bytes=first.peak_bytes,
            calls=first.calls,
            verification=verification,
        )

    def _program(self, name: str, script: str, llm_calls_made: int) -> Program:
        directory = self._job.directory.resolve()
        sources: list[dict[str, Any]] = [
            dataclasses.asdict(source) | {"path": str(source.path.resolve())}
            for source in self._job.sources
        ]
        return Program(
            job={
                "name": name,
                "script": script,
                "sources": sources,
                "row_cap": self._job.row_cap,
                "seed": self._job.seed,
                "directory": str(directory),
                "limits": dataclasses.asdict(self._limits),
            },
            directory=directory,
            wall_seconds=self._limits.wall_seconds,
            threads=self._limits.processes,
            disk_bytes=self._limits.dataset_bytes,
            log_bytes=self._limits.output_bytes,
            llm_calls=self._limits.llm_calls,
            llm_calls_made=llm_calls_made,
        )


def _ignore(done: int) -> None:
    """Reports progress to nobody."""


class Sandbox:
    """Runs recipes; a context manager, within which its processes live.

    Args:
      limits: What one script may use.
      workers: How many scripts run at once.
      answer: Answers the scripts' chats with a language model, all those that wait at
        once; called in the thread that called `run`.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        workers: int,
        answer: Callable[[list[Messages]], list[str]],
    ) -> None:
        self._limits, self._workers, self._answer = limits, workers, answer
        self._zygote: launch.Zygote | None = None

    def __enter__(self) -> Self:
        """Starts, and proves that forbidden things are impossible.

        Raises:
          RuntimeError: If they are not, or if something is missing, naming it.
        """
        if sys.platform != "linux":
            raise RuntimeError(f"the sandbox needs Linux, this is {sys.platform}")
        try:
            self._prove()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        if self._zygote is not None:
            self._zygote.stop()
            self._zygote = None

    def _prove(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            secret = pathlib.Path(folder) / "secret"
            secret.write_text("secret")
            job = Job(
                processing=canary.script(secret),
                verification="",
                sources=(),
                row_cap=0,
                seed=0,
                directory=pathlib.Path(folder) / "canary",
            )
            (result,) = self.run([job])
            canary.check(result.kind, result.log)
            if secret.read_text() != "secret":
                raise RuntimeError("the sandbox does not hold here: files are writable")

    def run(
        self, jobs: Sequence[Job], progress: Callable[[int], None] = _ignore
    ) -> list[Result]:
        """Runs recipes and returns their results in the order of the jobs.

        Args:
          jobs: The recipes, each with a directory of its own.
          progress: Called with 1 for each recipe that has ended.

        Raises:
          RuntimeError: If the sandbox's own process died and cannot be started again.
        """
        recipes = [_Recipe(job, self._limits) for job in jobs]
        if self._zygote is None:
            self._zygote = launch.Zygote()
        watch = supervisor.Supervisor(
            self._zygote,
            [recipe.first() for recipe in recipes],
            workers=self._workers,
            ended=lambda position, ending: recipes[position].next(ending),
        )
        try:
            watch.run(self._answer, progress)
        except BaseException:
            watch.zygote.stop()
            self._zygote = None  # the next run starts a new one
            raise
        self._zygote = watch.zygote
        return [recipe.result for recipe in recipes]
