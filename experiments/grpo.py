"""The GRPO part of an experiment, from the sections of its config; see `build`."""

from collections.abc import Callable, Sequence
import functools
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import ml_collections as mlc
import optax

from datachef_jax import types
from datachef_jax.recipes.execute import Executor
from datachef_jax.rl import advantages
from datachef_jax.rl import logprobs
from datachef_jax.rl import losses
from datachef_jax.rl import rewards
from datachef_jax.rl import update
from datachef_jax.serving.client import Client
from datachef_jax.training import alarm
from datachef_jax.training import loop
from datachef_jax.training import optimizer as optimizers
from datachef_jax.training import state as training_state
from datachef_jax.training import step as training_step
from datachef_jax.training import writing
from datachef_jax.training.conversation import Conversation
from datachef_jax.verifier.verify import Verifier
from experiments import checks
from experiments import models
from experiments import pools
from experiments import workdirs


def stages(
    config: mlc.ConfigDict,
    *,
    policy: models.Model,
    client: Callable[..., Client],
    sleep: Callable[[], None],
    prompt: Callable[[types.Task], Sequence[int]],
    decode: Callable[[Sequence[int]], str],
    conversation: Conversation,
    executor: Executor,
    verifier: Verifier,
) -> training_step.Stages:
    """Builds the stages of a training step.

    Args:
      config: Its sections rl, proxy, sampling and optimizer.
      policy: The policy, whose weights are also the reference; kept as they are.
      client: Of the policy's model with weights, and their `version`.
      sleep: Frees the memory of engines, before it is needed for the update.
      prompt: The prompt of a task as ids.
      decode: The text of ids.
      conversation: In how many answers recipes are written.
      executor: Runs recipes.
      verifier: Grades what they leave.
    """
    rl, sampling = config.rl, config.sampling
    _, frozen = policy.learned_and_frozen()
    return training_step.Stages(
        prompt=prompt,
        sample=_sample(config, client, frozen),
        decode=decode,
        conversation=conversation,
        execute=functools.partial(executor.run, progress=_ignore),
        verify=functools.partial(verifier.verify, progress=_ignore),
        reward=functools.partial(
            rewards.rewards,
            worth=_worth(config),
            lambda_empty=rl.lambda_empty,
            lambda_format=rl.lambda_format,
            lambda_unverified=rl.lambda_unverified,
            lambda_overlong=rl.lambda_overlong,
            overlong_tokens=rl.overlong_tokens,
            max_new_tokens=sampling.max_new_tokens,
        ),
        reference=_reference(config, policy, sleep),
        penalty=_penalty(config),
        advantage=functools.partial(
            advantages.group_relative, divide_by_std=rl.divide_by_std, delta=rl.delta
        ),
        update=functools.partial(
            training_state.advance,
            update=update.make(
                score(config, policy.graphdef),
                objective(config),
                optimizer(config),
                micro_batch=rl.micro_batch,
                updates_per_step=rl.updates_per_step,
            ),
            frozen=frozen,
        ),
    )


def _worth(config: mlc.ConfigDict) -> Callable[[types.Verdict], float]:
    """Builds what a scored verdict is worth, from the sections rl and proxy."""
    worth = {"mean": rewards.mean, "lower_bound": rewards.lower_bound}[config.rl.worth]
    if not config.proxy.weight:
        return worth
    weight = config.proxy.weight
    return functools.partial(rewards.with_forecast, worth=worth, weight=weight)


def _sample(
    config: mlc.ConfigDict, client: Callable[..., Client], frozen: nnx.State
) -> Callable[..., Sequence[types.Completion]]:
    """Builds the stage that writes recipes."""
    temperature = config.sampling.temperature

    def sample(
        params: nnx.State,
        version: int,
        prompts: Sequence[Sequence[int]],
        seeds: writing.Seeds,
        limits: Sequence[int],
        ready: writing.Ready,
    ) -> Sequence[types.Completion]:
        model = client(nnx.merge_state(params, frozen), version=version)
        return writing.sample(
            model, prompts, seeds, limits, ready, temperature=temperature
        )

    return sample


def score(config: mlc.ConfigDict, graphdef: nnx.GraphDef) -> update.Score:
    """Builds what scores completions under a policy."""
    return functools.partial(
        logprobs.completion_logprobs,
        graphdef,
        max_new_tokens=config.sampling.max_new_tokens,
        temperature=config.sampling.temperature,
    )


def objective(config: mlc.ConfigDict) -> update.Objective:
    """Builds what is minimized from the functions that the config names."""
    rl = config.rl
    ratio = {
        "token": losses.token_ratio,
        "sequence": losses.sequence_ratio,
        "recipe": functools.partial(
            losses.recipe_ratio, max_log_ratio=rl.max_log_ratio
        ),
    }[rl.ratio]
    surrogate = {"clipped": losses.clipped, "cispo": losses.cispo}[rl.surrogate]
    engine_weights = functools.partial(
        losses.engine_weights, level=rl.engine_weights, cap=rl.max_engine_weight
    )
    in_loss = rl.kl != "k1"
    return update.Objective(
        gain=functools.partial(
            losses.objective,
            ratio=ratio,
            surrogate=functools.partial(
                surrogate, clip_low=rl.clip_low, clip_high=rl.clip_high
            ),
        ),
        weights=functools.partial(
            losses.token_weights,
            per=rl.weights_per,
            max_new_tokens=config.sampling.max_new_tokens,
        ),
        engine_weights=None if rl.engine_weights == "none" else engine_weights,
        kl=functools.partial(
            losses.kl_to_reference, estimator=rl.kl if in_loss else "k3"
        ),
        kl_weight=rl.kl_weight if in_loss else 0.0,
    )


def _reference(
    config: mlc.ConfigDict, policy: models.Model, sleep: Callable[[], None]
) -> Callable[[nnx.State, types.RolloutBatch], types.RolloutBatch]:
    """Builds the stage that scores a batch before the update, as far as it must be."""
    rl = config.rl
    _, frozen = policy.learned_and_frozen()
    scored = update.scorer(score(config, policy.graphdef), micro_batch=rl.micro_batch)
    old_is_needed = rl.engine_weights != "none" and rl.updates_per_step > 1

    def reference(params: nnx.State, batch: types.RolloutBatch) -> types.RolloutBatch:
        sleep()
        return batch._replace(
            old_logprobs=(
                scored(nnx.merge_state(params, frozen), batch)
                if old_is_needed
                else None
            ),
            ref_logprobs=scored(policy.params, batch) if rl.kl_weight else None,
        )

    return reference


def _penalty(
    config: mlc.ConfigDict,
) -> Callable[[types.RolloutBatch], Float[Array, " batch"]]:
    """Builds the stage that takes the KL off the rewards, if it does not stand in the
    loss."""
    rl = config.rl

    def penalty(batch: types.RolloutBatch) -> Float[Array, " batch"]:
        if rl.kl != "k1" or not rl.kl_weight:
            return jnp.zeros(batch.tokens.shape[0])
        kl = losses.kl_penalty(
            batch.behavior_logprobs, batch.ref_logprobs, batch.completion_mask
        )
        return rl.kl_weight * kl

    return penalty


def optimizer(config: mlc.ConfigDict) -> optax.GradientTransformation:
    """Builds the policy's optimizer."""
    with checks.blame("config.optimizer", config.optimizer.to_dict()):
        return optimizers.adamw(**config.optimizer)


def trainer(
    config: mlc.ConfigDict,
    *,
    policy: models.Model,
    tasks: Sequence[types.Task],
    stages: training_step.Stages,
    pad_id: int,
) -> Callable[[int, pathlib.Path], nnx.State]:
    """Returns what trains the policy with a seed in a folder, and gives its weights.

    Args:
      config: Its sections rl, sampling, optimizer, checkpoint, alarm and pool.
      policy: To start from; its weights are kept as they are.
      tasks: To train on.
      stages: From `stages`.
      pad_id: Fills the rows of the update.
    """
    rl, sampling, pool = config.rl, config.sampling, config.pool
    adamw = optimizer(config)
    learned, frozen = policy.learned_and_frozen()
    with checks.blame("config.alarm", config.alarm.to_dict()):
        settings = alarm.AlarmSettings(**config.alarm)

    def train(seed: int, folder: pathlib.Path) -> nnx.State:
        start = jax.tree.map(jnp.copy, learned)  # a step consumes its state
        state = loop.run(
            training_state.create(start, adamw),
            tasks=pools.stream(
                tasks,
                prompts_per_step=rl.prompts_per_step,
                smallest=pool.smallest,
                largest=pool.largest,
                exchange_ids=pool.exchange_ids,
                seed=seed,
            ),
            step=functools.partial(
                training_step.train_step,
                stages=stages,
                seed=seed,
                group_size=rl.group_size,
                max_rounds=rl.max_rounds,
                row_tokens=sampling.max_prompt_tokens + sampling.max_new_tokens,
                pad_id=pad_id,
            ),
            steps=rl.steps,
            workdir=folder,
            checkpoints=workdirs.shared(folder) / "checkpoints",
            every_steps=config.checkpoint.every_steps,
            keep=config.checkpoint.keep,
            hacking=functools.partial(alarm.hacking, settings=settings),
        )
        return nnx.merge_state(state.params, frozen)

    return train


def _ignore(count: int) -> None:
    """Reports progress to nobody: the bar of the steps is enough."""
