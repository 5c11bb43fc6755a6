"""One process that measures our verifier, or its judge alone; see `bench_verifier.py`.

Beside what `measure_engine.py` notes, the result has of the judge's engine in the run:
`engine_cpu_seconds`, while it was asked; `read_tokens`, of prompts, which are fewer
than there are where they begin alike.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import json
import pathlib
import pickle
import sys
from typing import Any

from flax import nnx
import jax
import ml_collections as mlc

from datachef_jax import types
from datachef_jax.parallel import sharding
from datachef_jax.sampling.request import Part
from datachef_jax.sampling.request import Request
from datachef_jax.serving.client import Client
from datachef_jax.verifier.judges.grade import Item
from datachef_jax.verifier.verify import Verifier
from experiments import allocator
from experiments import models
from experiments import parts
from experiments import verifiers
from experiments.peers import measure
from experiments.peers import measure_engine


_FEW = 4  # rows of each dataset in the warm-up ...
_OTHER = " Warm up."  # ... which end like this


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """What is to be verified, and by what.

    Attributes:
      config: The sections tokenizer, policy, judge, engine, serving and verifier.
      pool: All tasks, whose held-out benchmarks no row may give away.
      tasks: What each recipe was for.
      executions: What each recipe left.
      seeds: One for each.
      items: The drawn rows that no gate stops, in the order in which they are judged.
    """

    config: Mapping[str, Any]
    pool: Sequence[types.Task]
    tasks: Sequence[types.Task]
    executions: Sequence[types.Execution]
    seeds: Sequence[int]
    items: Sequence[Item] = ()


class Watched(Client):
    """Notes what a client last answered, and what that cost.

    Attributes:
      scores: Of the candidates of each prompt, in nats.
      cpu_seconds: Of this process.
      read_tokens: Of prompts.
    """

    def __init__(self, client: Client, counts: Callable[[], Mapping[str, int]]):
        """Has noted nothing yet.

        Args:
          client: Who answers.
          counts: What its engine has done so far; see `sampling.state.Counts`.
        """
        self._client, self._counts = client, counts
        self.scores: list[list[float]] = []
        self.cpu_seconds, self.read_tokens = 0.0, 0

    def serve(self, requests: Sequence[Request]) -> Iterator[tuple[int, Part]]:
        """See `Client`. Everything is ready before the first part is handed on."""
        cpu, read = measure.cpu_seconds(), self._counts()["read"]
        answered = list(self._client.serve(requests))
        self.cpu_seconds = measure.cpu_seconds() - cpu
        self.read_tokens = self._counts()["read"] - read
        self.scores = [[] for _ in requests]
        for i, part in answered:
            self.scores[i] = list(part.scores.candidates)
        yield from answered


def read(path: pathlib.Path) -> Inputs:
    """Reads inputs."""
    return pickle.loads(path.read_bytes())


def verifier(inputs: Inputs, client: Client, root: pathlib.Path) -> Verifier:
    """Builds the verifier of some inputs around a client of the judge's model."""
    config = mlc.ConfigDict(inputs.config)
    tokenizer = parts.tokenizer(config.tokenizer, root)
    return verifiers.verifier(config, client, tokenizer, inputs.pool, held_out=None)


def make(
    inputs: Inputs, *, judge_alone: bool, root: pathlib.Path
) -> tuple[measure_engine.Program, Watched]:
    """Returns what answers for each prompt how likely the grades are, and its client.

    It is to be run once: the verifier remembers rows. The warm-up leaves nothing that
    the run could go on from but what is compiled, or made once for a benchmark.
    """
    config = mlc.ConfigDict(inputs.config)
    tokenizer = parts.tokenizer(config.tokenizer, root)
    loaded = {"judge": models.load(config, "judge", tokenizer, root)}
    engines = parts.engines(config, loaded, tokenizer, root)
    counts = functools.partial(engines.counts, "judge")
    client = Watched(engines.client("judge"), counts)
    whole = verifier(inputs, client, root)
    alone = verifiers.judge(config, "judge", client, tokenizer)

    def warm_up() -> None:
        others = [_other_rows(execution) for execution in inputs.executions]
        whole.verify(inputs.tasks, others, inputs.seeds, progress=_ignore)
        task, question, answer = inputs.items[0]
        alone.grade([(task, question + _OTHER, answer)], [0], progress=_ignore)
        engines.sleep()

    def run() -> list[list[float]]:
        if judge_alone:
            seeds = range(len(inputs.items))
            alone.grade(inputs.items, seeds, progress=_ignore)
        else:
            whole.verify(
                inputs.tasks, inputs.executions, inputs.seeds, progress=_ignore
            )
        return client.scores

    program = measure_engine.Program(
        warm_up=warm_up, run=run, greedy=lambda: [], host_share=lambda: None
    )
    return program, client


def _other_rows(execution: types.Execution) -> types.Execution:
    """Returns an execution that has left a few rows, which are in no dataset."""
    rows = tuple(
        {
            "dialogs": [
                {**turn, "content": turn["content"] + _OTHER} for turn in row["dialogs"]
            ]
        }
        for row in execution.dataset.rows[:_FEW]
    )
    few = dataclasses.replace(execution.dataset, rows=rows)
    return dataclasses.replace(execution, dataset=few)


def _ignore(count: int) -> None:
    """Reports progress to nobody."""


def main(job_path: pathlib.Path, result: pathlib.Path) -> None:
    """Measures what the job names and adds what the engine took to the result."""
    job = json.loads(job_path.read_text())
    program, client = make(
        read(pathlib.Path(job["inputs"])),
        judge_alone=job["judge_alone"],
        root=pathlib.Path(job["root"]),
    )
    measure_engine.main(
        lambda job: None, lambda *_: program, packages=("jax", "jaxlib", "flax")
    )
    figures = json.loads(result.read_text()) | {
        "engine_cpu_seconds": client.cpu_seconds,
        "read_tokens": client.read_tokens,
    }
    result.write_text(json.dumps(figures))


if __name__ == "__main__":
    allocator.keep_freed_memory()  # as `run.py` does
    mesh = sharding.make_mesh(data=1, model=1)
    with jax.set_mesh(mesh), nnx.logical_axis_rules(sharding.AXIS_RULES):
        main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
