"""A recipe under way: one script after the other, both again if we are at fault."""

import dataclasses
import os
from typing import Any

from sandbox import directories
from sandbox import output
from sandbox import verdict
from sandbox.job import Limits
from sandbox.job import Result
from sandbox.program import Ending
from sandbox.program import Program
from sandbox.program import Spent
from sandbox.slots import Slot

_MOST_NAMED = 5  # files that a script left elsewhere
_ATTEMPTS = 2  # of scripts that end in a fault of ours


class Recipe:
    """The scripts of one job, in one slot.

    Attributes:
      number: Of the job.
      slot: Its own until it has ended.
      result: How it ended, once `next` has returned None.
    """

    def __init__(
        self, number: int, job: dict[str, Any], slot: Slot, limits: Limits
    ) -> None:
        """Begins without having run anything.

        Args:
          number: Of the job.
          job: `Job.to_json`.
          slot: Its own until it has ended.
          limits: Of each script.
        """
        self.number = number
        self.result: Result | None = None
        self._job, self.slot, self._limits = job, slot, limits
        self._attempts = 0

    def first(self) -> Program:
        """Prepares the slot. Returns the processing script's program."""
        self.slot.prepare()
        return self._program("processing.py", self._job["processing"], Spent())

    def next(self, ending: Ending) -> Program | None:
        """Takes note of an ending. Returns what to run next, None if this was all."""
        kind = verdict.classify(ending, self._limits.cpu_seconds)
        self._attempts += kind == "sandbox_error"
        if kind == "sandbox_error" and self._attempts < _ATTEMPTS:
            self.result = None  # with a zygote, its slots may be gone
            return self.first()
        if self.result is not None:
            log = f"{self.result.log}\n[verification: {kind}]\n"
            log += verdict.explain(ending, kind, self._limits)
            self.result = dataclasses.replace(self.result, log=log, verification=kind)
            return None
        self.result = self._processed(ending, kind)
        if self.result.kind != "ok" or not self._job["verification"].strip():
            return None
        return self._program("verification.py", self._job["verification"], ending.spent)

    def _processed(self, ending: Ending, kind: str) -> Result:
        """Returns how the processing script ended, by what it left, too."""
        log, left = verdict.explain(ending, kind, self._limits), None
        if kind == "ok":
            try:
                left = output.read(self.slot.fd, self._limits)
                if not left.rows and not left.malformed:
                    kind = "no_output"
                    log += "\n[no rows in data/processed/*.jsonl]\n"
                    log += self._instead(left, ending)
            except output.InvalidOutput as error:
                kind, log = "invalid_output", f"{log}\n[{error}]\n"
        return Result(
            kind=kind,
            log=log,
            **({"output": left} if left else {}),
            cpu_seconds=ending.cpu_seconds,
            wall_seconds=ending.wall_seconds,
            peak_bytes=ending.peak_bytes,
            written_bytes=directories.used(
                self.slot.fd, enough=self._limits.dataset_bytes
            ),
            calls=ending.calls,
        )

    def _instead(self, left: output.Output, ending: Ending) -> str:
        """Returns what there is where no rows are, and where they were lost."""
        log = ""
        for name in directories.files(self.slot.fd, most=_MOST_NAMED):
            log += f"[{name} is there]\n"
        for name in left.ignored:
            log += f"[{name} does not end in .jsonl]\n"
        for name, taken, kept in ending.calls:
            if taken and not kept:
                log += f"[{name}: {taken} rows in, none out]\n"
        return log

    def _program(self, name: str, script: str, spent: Spent) -> Program:
        shown = [
            {key: value for key, value in source.items() if key != "path"}
            for source in self._job["sources"]
        ]
        return Program(
            job={
                "name": name,
                "script": script,
                "sources": shown,
                "row_cap": self._job["row_cap"],
                "seed": self._job["seed"],
                "directory": self.slot.path,
                "limits": dataclasses.asdict(self._limits),
            },
            files=[os.fspath(source["path"]) for source in self._job["sources"]],
            slot=self.slot,
            limits=self._limits,
            spent=spent,
        )
