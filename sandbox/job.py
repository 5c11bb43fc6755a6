"""What the sandbox is asked to run, within which limits, and how it ended."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

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
"""How a recipe can end; "sandbox_error" is our own fault, all else the recipe's."""

Messages = list[dict[str, str]]
"""A chat for the language model: `{"role": ..., "content": ...}`."""


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
      dataset_rows: Most rows that are read of what it leaves.
      line_bytes: Longest of them.
      script_bytes: Of its own text.
      llm_calls: Chats with the language model, of both scripts of a recipe together,
        as are the next two.
      llm_tokens: That the model may write for them.
      llm_seconds: That they may wait for it.
    """

    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    processes: int
    file_bytes: int
    output_bytes: int
    dataset_bytes: int
    dataset_rows: int
    line_bytes: int
    script_bytes: int
    llm_calls: int
    llm_tokens: int
    llm_seconds: float


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
    """

    processing: str
    verification: str
    sources: tuple[SourceFile, ...]
    row_cap: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Returns the job as JSON types."""
        job = dataclasses.asdict(self)
        for source in job["sources"]:
            source["path"] = str(source["path"].resolve())
        return job


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """What a recipe left under `data/processed/`.

    Attributes:
      rows: Its rows, `{"dialogs": [...]}`, some with a "source".
      malformed: Lines that are JSON, but no such row.
      first_error: What is wrong with the first of them.
      ignored: Names of some files that do not end in `.jsonl`.
    """

    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    malformed: int = 0
    first_error: str = ""
    ignored: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """How a recipe's scripts ended.

    Attributes:
      kind: One of `KINDS`, of the processing script and what it left.
      log: End of what the scripts printed, tracebacks included.
      output: What the processing script left.
      cpu_seconds: Of the processing script, as all that follows.
      wall_seconds: Without waiting for LLM answers.
      peak_bytes: Largest resident set, of which the warm interpreter's share is most.
      written_bytes: What its directory held at its end.
      calls: Toolkit calls in order: function, rows in, rows out.
      verification: One of `KINDS`, of the verification script; "" if it did not run.
      lost: Those of `layout.GUARANTEES` that did not hold.
    """

    kind: str
    log: str
    output: Output = dataclasses.field(default_factory=Output)
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_bytes: int = 0
    written_bytes: int = 0
    calls: tuple[tuple[str, int, int], ...] = ()
    verification: str = ""
    lost: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Result":
        """Returns the result that `dataclasses.asdict` was sent of."""
        output = Output(
            **fields["output"] | {"ignored": tuple(fields["output"]["ignored"])}
        )
        calls = tuple(tuple(call) for call in fields["calls"])
        lists = {"calls": calls, "lost": tuple(fields["lost"])}
        return cls(**{**fields, "output": output, **lists})
