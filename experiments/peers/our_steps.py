"""One process that makes GRPO steps and measures what their verifier costs.

    python -m experiments.peers.our_steps JOB RESULT

The stages of a step overlap, and the judge computes in threads that all engines share,
so neither the wall time of the stage nor the CPU of its thread is the verifier's. What
it did in all steps is therefore done again at the end, when nothing else runs: the same
calls in the same order, by another verifier, which gets to know the same rows, and
with an engine that forgets them after each step, as it does in the run. The CPU-seconds
of that are the verifier's.
"""

from collections.abc import Sequence
import dataclasses
import functools
import json
import pathlib
import pickle
import sys
import tempfile
import time
from typing import Any

from flax import nnx
import jax
import ml_collections as mlc
import psutil

from datachef_jax import types
from datachef_jax.parallel import sharding
from datachef_jax.recipes.execute import Executor
from datachef_jax.training import step as training_step
from datachef_jax.training.writing import Seeds
from experiments import allocator
from experiments import grpo
from experiments import models
from experiments import parts
from experiments import verifiers
from experiments.peers import measure

_MODELS = ("policy", "judge", "generator")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """Where the clocks are.

    Attributes:
      seconds: Of wall time.
      cpu_seconds: Of this process.
      sandbox_cpu_seconds: Of all processes that this one has started.
    """

    seconds: float
    cpu_seconds: float
    sandbox_cpu_seconds: float


def now() -> Moment:
    """Reads the clocks."""
    return Moment(
        seconds=time.perf_counter(),
        cpu_seconds=measure.cpu_seconds(),
        sandbox_cpu_seconds=sum(
            sum(process.cpu_times()[:4])  # with those of its children that have ended
            for process in psutil.Process().children(recursive=True)
        ),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """What the verifier was asked once, in which step, and how long that took."""

    step: int
    tasks: Sequence[types.Task]
    executions: Sequence[types.Execution]
    seeds: Seeds
    seconds: float


class Watch:
    """Notes the calls of the verifier, and the moment of each update's end.

    Attributes:
      calls: Of the verifier.
      moments: The beginning, and the end of each step's update.
    """

    def __init__(self):
        """Begins."""
        self.calls: list[Call] = []
        self.moments = [now()]

    def stages(self, stages: training_step.Stages) -> training_step.Stages:
        """Returns stages that are watched, and do the same."""

        def verify(
            tasks: Sequence[types.Task],
            executions: Sequence[types.Execution],
            seeds: Seeds,
        ) -> Sequence[types.Verdict]:
            start = time.perf_counter()
            verdicts = stages.verify(tasks, executions, seeds)
            self.calls.append(
                Call(
                    step=len(self.moments) - 1,
                    tasks=tasks,
                    executions=executions,
                    seeds=seeds,
                    seconds=time.perf_counter() - start,
                )
            )
            return verdicts

        def update(*arguments: Any) -> Any:
            result = stages.update(*arguments)
            self.moments.append(now())
            return result

        return dataclasses.replace(stages, verify=verify, update=update)


def figures(watch: Watch, alone: Sequence[Moment]) -> list[dict[str, float]]:
    """Returns the figures of each step.

    Keys: `seconds`, `cpu_seconds` and `sandbox_cpu_seconds`, from the end of the update
    before to that of its own; `verify_seconds`, the wall time of its calls of the
    verifier; `alone_seconds` and `alone_cpu_seconds`, those of the same calls alone.

    Args:
      watch: Of the steps.
      alone: The beginning, and the end of each step's calls, alone.
    """
    found = []
    for i in range(len(watch.moments) - 1):
        took = _between(watch.moments[i], watch.moments[i + 1])
        by_itself = _between(alone[i], alone[i + 1])
        calls = [call for call in watch.calls if call.step == i]
        found.append(
            took
            | {
                "verify_seconds": sum(call.seconds for call in calls),
                "alone_seconds": by_itself["seconds"],
                "alone_cpu_seconds": by_itself["cpu_seconds"],
            }
        )
    return found


def _between(start: Moment, end: Moment) -> dict[str, float]:
    first, last = dataclasses.asdict(start), dataclasses.asdict(end)
    return {name: last[name] - first[name] for name in first}


def measured(config: mlc.ConfigDict, root: pathlib.Path) -> list[dict[str, float]]:
    """Makes the steps of a config in a folder that does not stay; see `figures`."""
    tokenizer = parts.tokenizer(config.tokenizer, root)
    names = (*_MODELS, *verifiers.held_out(config))
    found = models.load_each(config, names, tokenizer, root)
    loaded = dict(zip(names, found, strict=True))
    style = parts.prompt_style(**config.prompt, apart=config.turns.apart)
    engines = parts.engines(config, loaded, tokenizer, root)
    sandbox = parts.sandbox(config, engines.client("generator"), tokenizer)
    with tempfile.TemporaryDirectory() as folder, sandbox:
        workdir = pathlib.Path(folder)
        tasks = parts.tasks(config, workdir, root)
        verifier, another = (
            verifiers.verifier(
                config,
                engines.client("judge"),
                tokenizer,
                tasks,
                held_out=verifiers.held_out_client(config, engines),
                forecaster=verifiers.forecaster(config, root),
                references=verifiers.references(config, sandbox, root),
            )
            for _ in range(2)
        )
        stages = grpo.stages(
            config,
            policy=loaded["policy"],
            client=functools.partial(engines.with_weights, "policy"),
            sleep=engines.sleep,
            prompt=functools.partial(parts.prompt, tokenizer=tokenizer, style=style),
            decode=tokenizer.decode,
            conversation=parts.conversation(config, tokenizer, style),
            executor=Executor(sandbox=sandbox, row_cap=config.sandbox.row_cap),
            verifier=verifier,
        )
        watch = Watch()
        train = grpo.trainer(
            config,
            policy=loaded["policy"],
            tasks=[task for task in tasks if not task.held_out],
            stages=watch.stages(stages),
            pad_id=tokenizer.pad_id,
        )
        train(config.seed, workdir / "grpo")
        alone = [now()]
        for i in range(config.rl.steps):
            engines.sleep()
            for call in watch.calls:
                if call.step == i:
                    another.verify(
                        call.tasks, call.executions, call.seeds, progress=_ignore
                    )
            alone.append(now())
        return figures(watch, alone)


def _ignore(count: int) -> None:
    """Reports progress to nobody."""


def main(job_path: pathlib.Path, result: pathlib.Path) -> None:
    """Measures what the job names and writes the result."""
    job = json.loads(job_path.read_text())
    config = mlc.ConfigDict(pickle.loads(pathlib.Path(job["config"]).read_bytes()))
    result.write_text(json.dumps(measured(config, pathlib.Path(job["root"]))))


if __name__ == "__main__":
    allocator.keep_freed_memory()  # as `run.py` does
    mesh = sharding.make_mesh(data=1, model=1)
    with jax.set_mesh(mesh), nnx.logical_axis_rules(sharding.AXIS_RULES):
        main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
