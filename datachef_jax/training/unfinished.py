"""Completions of a step that is not done: a killed run does not sample them again."""

from collections.abc import Callable, Sequence
import dataclasses
import json
import os
import pathlib

from datachef_jax import types


Ready = Callable[[int, types.Completion], None]


class Unfinished:
    """Keeps what the present step has sampled in a file."""

    def __init__(self, path: str | os.PathLike):
        """Reads nothing yet.

        Args:
          path: The file; a damaged one counts as none.
        """
        self._path = pathlib.Path(path)

    def sampled(
        self,
        step: int,
        name: str,
        sample: Callable[[Ready], Sequence[types.Completion]],
        ready: Ready,
    ) -> list[types.Completion]:
        """Returns completions, sampled unless they are kept.

        Args:
          step: Number of the step; what was kept of others is dropped.
          name: Of these completions within the step.
          sample: Samples them and tells of each.
          ready: Told of each completion and its place, as soon as it is there.
        """
        samples = self._samples(step)
        kept = name in samples
        if not kept:
            made = [dataclasses.asdict(completion) for completion in sample(ready)]
            samples[name] = made
            partial = self._path.with_name(self._path.name + ".partial")
            partial.write_text(json.dumps({"step": step, "samples": samples}))
            os.replace(partial, self._path)
        completions = [
            types.Completion(
                tokens=tuple(made["tokens"]),
                logprobs=tuple(made["logprobs"]),
                raw_logprobs=tuple(made["raw_logprobs"]),
                versions=tuple(made["versions"]),
                ended=made["ended"],
            )
            for made in samples[name]
        ]
        if kept:
            for place, completion in enumerate(completions):
                ready(place, completion)
        return completions

    def _samples(self, step: int) -> dict[str, list[dict]]:
        try:
            kept = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return kept["samples"] if kept["step"] == step else {}
