"""Completions of a step that is not done: a killed run does not sample them again."""

from collections.abc import Callable, Sequence
import dataclasses
import json
import os
import pathlib

from datachef_jax import types


class Unfinished:
    """Keeps what the rounds of the present step sampled in a file."""

    def __init__(self, path: str | os.PathLike):
        """Reads nothing yet.

        Args:
          path: The file; a damaged one counts as none.
        """
        self._path = pathlib.Path(path)

    def sampled(
        self,
        step: int,
        round_number: int,
        sample: Callable[[], Sequence[types.Completion]],
    ) -> list[types.Completion]:
        """Returns the completions of a round, sampled unless they are kept.

        Args:
          step: Number of the step; what was kept of others is dropped.
          round_number: Of the step's rounds, from 0.
          sample: Samples them.
        """
        rounds = self._rounds(step)
        if round_number >= len(rounds):
            made = [dataclasses.asdict(completion) for completion in sample()]
            rounds = [*rounds[:round_number], made]
            partial = self._path.with_name(self._path.name + ".partial")
            partial.write_text(json.dumps({"step": step, "rounds": rounds}))
            os.replace(partial, self._path)
        return [
            types.Completion(
                tokens=tuple(made["tokens"]),
                logprobs=tuple(made["logprobs"]),
                finished=made["finished"],
            )
            for made in rounds[round_number]
        ]

    def _rounds(self, step: int) -> list[list[dict]]:
        try:
            kept = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return []
        return kept["rounds"] if kept["step"] == step else []
