"""Sources and tasks that hold nothing but what a test says of them."""

import pathlib
from typing import Any

from datachef_jax import types

_HANDLING = types.Handling(user="", assistant="")


def source(id: str, **fields: Any) -> types.Source:
    """Returns a JSON-lines source of one row with the column "a"."""
    blank = dict(
        path=pathlib.Path(id),
        format="jsonl",
        records="",
        columns=("a",),
        num_rows=1,
        card="",
        plain=_HANDLING,
        expert=_HANDLING,
    )
    return types.Source(id=id, **(blank | fields))


def task(name: str, **fields: Any) -> types.Task:
    """Returns a task of plain answers without examples and without sources."""
    blank = dict(
        domain="",
        instruction="",
        benchmark="",
        benchmark_description="",
        contract="plain",
        metric="exact_match",
        examples=(),
        sources=(),
    )
    return types.Task(name=name, **(blank | fields))


def completion(tokens, *, logprobs=None, ended="end"):
    """Returns a completion that the model's own distribution gave."""
    logprobs = (0.0,) * len(tokens) if logprobs is None else logprobs
    return types.Completion(
        tokens=tuple(tokens),
        logprobs=tuple(logprobs),
        raw_logprobs=tuple(logprobs),
        versions=(0,) * len(tokens),
        ended=ended,
    )
