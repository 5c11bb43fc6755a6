"""One GRPO step, as a list of its stages."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32
import numpy as np

from datachef_jax import types
from datachef_jax.training import batching
from datachef_jax.training import rollouts
from datachef_jax.training.metrics import Stopwatch
from datachef_jax.training.state import TrainState

Seeds = UInt32[np.ndarray, " batch"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stages:
    """The replaceable parts of a step; build.py makes them from the config.

    Whatever has one entry per completion is prompt-major: row p * group + g. All
    results depend on the arguments alone, seeds included, not on who finished first.

    Attributes:
      prompt: The prompt of a task as ids, with the chat template.
      sample: (weights, prompts, seeds) -> `group` completions of each prompt.
      decode: The text of ids, without special tokens.
      execute: (tasks, texts, seeds) -> how each recipe ended and what it left.
      verify: (tasks, executions, seeds) -> the opinion of each dataset.
      reward: `rl.rewards.rewards` with its penalties bound.
      advantage: `rl.advantages.group_relative` with its settings bound.
      update: (state, batch) -> the next state and metrics; gives up the old state.
    """

    prompt: Callable[[types.Task], Sequence[int]]
    sample: Callable[
        [Any, Sequence[Sequence[int]], Seeds], Sequence[types.Completion]
    ]
    decode: Callable[[Sequence[int]], str]
    execute: Callable[
        [Sequence[types.Task], Sequence[str], Seeds], Sequence[types.Execution]
    ]
    verify: Callable[
        [Sequence[types.Task], Sequence[types.Execution], Seeds],
        Sequence[types.Verdict],
    ]
    reward: Callable[
        [Sequence[types.Verdict]],
        tuple[Float[np.ndarray, " batch"], Bool[np.ndarray, " batch"]],
    ]
    advantage: Callable[
        [Float[Array, "prompts group"], Bool[Array, "prompts group"]],
        Float[Array, "prompts group"],
    ]
    update: Callable[
        [TrainState, types.RolloutBatch], tuple[TrainState, dict[str, float]]
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What a step leaves besides the next state.

    Attributes:
      metrics: Determined by the seed: `rollouts.statistics` and those of the update.
      seconds: Wall-clock time of each stage; differs from run to run.
      rollouts: One per completion.
    """

    metrics: dict[str, float]
    seconds: dict[str, float]
    rollouts: Sequence[rollouts.Rollout]


def train_step(
    state: TrainState,
    tasks: Sequence[types.Task],
    *,
    stages: Stages,
    seed: int,
    group_size: int,
    row_tokens: int,
    pad_id: int,
) -> tuple[TrainState, StepRecord]:
    """Samples recipes for the tasks, scores their datasets, and learns from it.

    Args:
      state: Before the step; must not be used again.
      tasks: One per prompt.
      stages: What does the work.
      seed: Of the run. All randomness comes from it and the number of the step.
      group_size: Completions per prompt.
      row_tokens: Longest prompt and longest completion together.
      pad_id: Fills the rows of the update.

    Returns:
      The next state, and the record of this step.
    """
    clock = Stopwatch()
    asked = [task for task in tasks for _ in range(group_size)]
    seeds = [request_seeds(seed, state.step, stage, len(asked)) for stage in range(3)]

    with clock("sample"):
        prompts = [stages.prompt(task) for task in tasks]
        completions = stages.sample(state.params, prompts, seeds[0])
        texts = [stages.decode(completion.tokens) for completion in completions]
    with clock("execute"):
        executions = stages.execute(asked, texts, seeds[1])
    with clock("verify"):
        verdicts = stages.verify(asked, executions, seeds[2])

    shape = (len(tasks), group_size)
    rewards, valid = (x.reshape(shape) for x in stages.reward(verdicts))
    advantages = np.asarray(stages.advantage(jnp.asarray(rewards), jnp.asarray(valid)))

    with clock("update"):
        batch = batching.assemble(
            prompts, completions, advantages, valid, time=row_tokens, pad_id=pad_id
        )
        state, metrics = stages.update(state, batch)

    metrics |= rollouts.statistics(executions, verdicts, completions, rewards, valid)
    records = [
        rollouts.record(
            asked[i],
            completions[i],
            executions[i],
            verdicts[i],
            prompt=stages.decode(prompts[i // group_size]),
            text=texts[i],
            reward=float(rewards.flat[i]) if valid.flat[i] else None,
            advantage=float(advantages.flat[i]),
        )
        for i in range(len(asked))
    ]
    return state, StepRecord(metrics=metrics, seconds=clock.seconds, rollouts=records)


def request_seeds(seed: int, step: int, stage: int, count: int) -> Seeds:
    """Returns one seed for each request of a stage of a step.

    The i-th seed does not depend on `count`: a request keeps its noise in a crowd.
    """
    return np.asarray(_seeds(seed, step, stage, count=count))


@functools.partial(jax.jit, static_argnames="count")
def _seeds(
    seed: Int[Array, ""], step: Int[Array, ""], stage: Int[Array, ""], *, count: int
) -> UInt32[Array, " batch"]:
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), stage)
    return jax.vmap(lambda i: jax.random.bits(jax.random.fold_in(key, i)))(
        jnp.arange(count)
    )
