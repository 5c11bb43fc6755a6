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
from datachef_jax.training import unfinished
from datachef_jax.training import writing
from datachef_jax.training.conversation import Conversation
from datachef_jax.training.metrics import Stopwatch
from datachef_jax.training.state import TrainState
from datachef_jax.training.writing import Ready
from datachef_jax.training.writing import Seeds


_LATER = 2**20  # more stages than the rounds of a step have: see `_sample_groups`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stages:
    """The replaceable parts of a step; build.py makes them from the config.

    Whatever has one entry per completion is prompt-major: row p * group + g. All
    results depend on the arguments alone, seeds included, not on who finished first.

    Attributes:
      prompt: The prompt of a task as ids, with the chat template.
      sample: (weights, their version, and what `writing.Means.sample` takes) -> what
        that returns.
      decode: The text of ids, without special tokens.
      conversation: In how many answers a recipe is written.
      execute: (tasks, texts, seeds) -> how each recipe ended and what it left.
      verify: (tasks, executions, seeds) -> the opinion of each dataset.
      reward: `rl.rewards.rewards` with its penalties bound.
      reference: (weights, batch) -> the batch with the log-probabilities that the
        trainer itself has to find before the update, if the objective asks for any.
      penalty: (batch) -> what is taken off each reward, e.g. `rl.losses.kl_penalty`.
      advantage: `rl.advantages.group_relative` with its settings bound.
      update: (state, batch) -> the next state and metrics; gives up the old state.
    """

    prompt: Callable[[types.Task], Sequence[int]]
    sample: Callable[
        [Any, int, Sequence[Sequence[int]], Seeds, Sequence[int], Ready],
        Sequence[types.Completion],
    ]
    decode: Callable[[Sequence[int]], str]
    conversation: Conversation
    execute: Callable[
        [Sequence[types.Task], Sequence[str], Seeds], Sequence[types.Execution]
    ]
    verify: Callable[
        [Sequence[types.Task], Sequence[types.Execution], Seeds],
        Sequence[types.Verdict],
    ]
    reward: Callable[
        [
            Sequence[types.Verdict],
            Sequence[types.Completion],
            Sequence[types.Execution],
        ],
        tuple[Float[np.ndarray, " batch"], Bool[np.ndarray, " batch"]],
    ]
    reference: Callable[[Any, types.RolloutBatch], types.RolloutBatch]
    penalty: Callable[[types.RolloutBatch], Float[Array, " batch"]]
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
    more_tasks: Callable[[], Sequence[types.Task]],
    pause: Callable[[], None],
    kept: unfinished.Unfinished,
    *,
    stages: Stages,
    seed: int,
    group_size: int,
    max_rounds: int,
    row_tokens: int,
    pad_id: int,
) -> tuple[TrainState, StepRecord]:
    """Samples recipes for some tasks, scores their datasets, and learns from it.

    Groups whose rewards are all equal teach nothing. With `max_rounds` above 1 further
    tasks are sampled until as many groups as one round has do differ (DAPO's dynamic
    sampling, arXiv:2503.14476, section 3.2); if rounds run out, equal ones fill up.

    Args:
      state: Before the step; must not be used again.
      more_tasks: Gives the tasks of a round, one per prompt.
      pause: Called between stages, while `state` is whole; may raise.
      kept: What this step has sampled already, before it was interrupted.
      stages: What does the work.
      seed: Of the run. All randomness comes from it and the number of the step.
      group_size: Completions per prompt.
      max_rounds: Rounds of sampling, at least 1.
      row_tokens: Longest prompt and longest completion together.
      pad_id: Fills the rows of the update.

    Returns:
      The next state, and the record of this step, all rounds together.
    """
    clock = Stopwatch()
    groups = []
    for round_number in range(max_rounds):
        tasks = more_tasks()
        groups += _sample_groups(
            state, tasks, round_number, stages, seed, group_size, clock, pause, kept
        )
        useful = [group for group in groups if group.differs()]
        if len(useful) >= len(tasks):
            break
    equal = [group for group in groups if not group.differs()]
    chosen = (useful + equal)[: len(tasks)]

    with clock("reference"):
        batch = batching.assemble(
            [group.prompt for group in chosen],
            [completion for group in chosen for completion in group.completions],
            np.stack([group.valid for group in chosen]),
            time=row_tokens,
            pad_id=pad_id,
        )
        batch = stages.reference(state.params, batch)
        rewards = np.stack([group.rewards for group in chosen])
        penalty = np.asarray(stages.penalty(batch)).reshape(rewards.shape)
    advantages = np.asarray(
        stages.advantage(
            jnp.asarray(rewards - penalty), jnp.stack([g.valid for g in chosen])
        )
    )
    with clock("update"):
        batch = batch._replace(advantages=jnp.asarray(advantages.reshape(-1)))
        state, metrics = stages.update(state, batch)

    learned = {id(group): row for group, row in zip(chosen, advantages, strict=True)}
    unused = np.zeros(group_size, np.float32)
    records = [
        record
        for group in groups
        for record in group.records(
            stages.decode, stages.conversation.spoken, learned.get(id(group), unused)
        )
    ]
    metrics |= _statistics(groups)
    return state, StepRecord(metrics=metrics, seconds=clock.seconds, rollouts=records)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Group:
    """All that happened to one prompt; sequences have an entry per completion."""

    task: types.Task
    prompt: Sequence[int]
    completions: Sequence[types.Completion]
    texts: Sequence[str]
    executions: Sequence[types.Execution]
    verdicts: Sequence[types.Verdict]
    rewards: Float[np.ndarray, " group"]
    valid: Bool[np.ndarray, " group"]

    def differs(self) -> bool:
        """Says whether two valid rewards are unequal: the others teach nothing."""
        rewards = self.rewards[self.valid]
        return len(set(rewards.tolist())) > 1

    def records(
        self,
        decode: Callable[[Sequence[int]], str],
        spoken: Callable[[types.Completion], Sequence[str]],
        advantages: Float[np.ndarray, " group"],
    ) -> list[rollouts.Rollout]:
        """Returns one for each completion."""
        prompt = decode(self.prompt)
        return [
            rollouts.record(
                self.task,
                self.completions[i],
                self.executions[i],
                self.verdicts[i],
                prompt=prompt,
                text=self.texts[i],
                spoken=spoken(self.completions[i]),
                reward=float(self.rewards[i]) if self.valid[i] else None,
                advantage=float(advantages[i]),
            )
            for i in range(len(self.texts))
        ]


def _sample_groups(
    state: TrainState,
    tasks: Sequence[types.Task],
    round_number: int,
    stages: Stages,
    seed: int,
    group_size: int,
    clock: Stopwatch,
    pause: Callable[[], None],
    kept: unfinished.Unfinished,
) -> list[_Group]:
    """Does one round: from tasks to rewards."""
    prompts = [stages.prompt(task) for task in tasks]
    asked = [task for task in tasks for _ in range(group_size)]

    def seeds(stage: int) -> Seeds:  # 0 samples; _LATER, 2 * _LATER ... further answers
        return request_seeds(seed, state.step, 3 * round_number + stage, len(asked))

    # Common random numbers: the recipes of a group are run on the same rows of their
    # sources and graded by the same draw, so that what their rewards differ by is not
    # their luck.
    executing, verifying = (
        np.repeat(seeds(stage)[: len(tasks)], group_size) for stage in (1, 2)
    )

    def of(places: Sequence[int]) -> list[types.Task]:
        return [asked[place] for place in places]

    means = writing.Means(
        conversation=stages.conversation,
        sample=functools.partial(stages.sample, state.params, int(state.step)),
        execute=lambda places, texts: stages.execute(
            of(places), texts, executing[list(places)]
        ),
        verify=lambda places, done: stages.verify(
            of(places), done, verifying[list(places)]
        ),
        kept=lambda number, sample, ready: kept.sampled(
            state.step, f"{round_number}.{number}", sample, ready
        ),
    )
    written = writing.write(
        prompts, lambda number: seeds(_LATER * number), means, clock=clock
    )
    pause()
    completions, executions = written.completions, written.executions
    rewards, valid = stages.reward(written.verdicts, completions, executions)

    def own(values: Any, i: int) -> Any:
        return values[i * group_size : (i + 1) * group_size]

    return [
        _Group(
            task=task,
            prompt=prompts[i],
            completions=own(completions, i),
            texts=own(written.texts, i),
            executions=own(executions, i),
            verdicts=own(written.verdicts, i),
            rewards=own(rewards, i),
            valid=own(valid, i),
        )
        for i, task in enumerate(tasks)
    ]


def _statistics(groups: Sequence[_Group]) -> dict[str, float]:
    """Returns `rollouts.statistics` of all groups, and how many of them differ."""
    joined = [
        [x for group in groups for x in getattr(group, name)]
        for name in ("executions", "verdicts", "completions")
    ]
    rewards, valid = (
        np.stack([getattr(group, name) for group in groups])
        for name in ("rewards", "valid")
    )
    useful = float(np.mean([group.differs() for group in groups]))
    return rollouts.statistics(*joined, rewards, valid) | {"reward/useful": useful}


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
