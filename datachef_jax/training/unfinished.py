"""Completions of a step that is not done: a killed run does not sample them again."""

from collections.abc import Callable, Sequence
import dataclasses
import json
import os
import pathlib

from datachef_jax import types


Ready = Callable[[int, types.Completion], None]


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
        sample: Callable[[Ready], Sequence[types.Completion]],
        ready: Ready,
    ) -> list[types.Completion]:
        """Returns the completions of a round, sampled unless they are kept.

        Args:
          step: Number of the step; what was kept of others is dropped.
          round_number: Of the step's rounds, from 0.
          sample: Samples them and tells of each.
          ready: Told of each completion and its place, as soon as it is there.
        """
        rounds = self._rounds(step)
        kept = round_number < len(rounds)
        if not kept:
            made = [dataclasses.asdict(completion) for completion in sample(ready)]
            rounds = [*rounds[:round_number], made]
            partial = self._path.with_name(self._path.name + ".partial")
            partial.write_text(json.dumps({"step": step, "rounds": rounds}))
            os.replace(partial, self._path)
        completions = [
            types.Completion(
                tokens=tuple(made["tokens"]),
                logprobs=tuple(made["logprobs"]),
                raw_logprobs=tuple(made["raw_logprobs"]),
                versions=tuple(made["versions"]),
                ended=made["ended"],
            )
            for made in rounds[round_number]
        ]
        if kept:
            for place, completion in enumerate(completions):
                ready(place, completion)
        return completions

    def _rounds(self, step: int) -> list[list[dict]]:
        try:
            kept = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return []
        return kept["rounds"] if kept["step"] == step else []
