"""The GRPO part of an experiment, from the sections of its config; see `build`."""

from collections.abc import Callable, Sequence
import functools
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections as mlc
import optax

from datachef_jax import types
from datachef_jax.recipes.execute import Executor
from datachef_jax.rl import advantages
from datachef_jax.rl import logprobs
from datachef_jax.rl import losses
from datachef_jax.rl import rewards
from datachef_jax.rl import update
from datachef_jax.sampling.engine import Engine
from datachef_jax.training import loop
from datachef_jax.training import optimizer as optimizers
from datachef_jax.training import state as training_state
from datachef_jax.training import step as training_step
from datachef_jax.verifier.verify import Verifier
from experiments import checks
from experiments import parts
from experiments import pools


def stages(
    config: mlc.ConfigDict,
    *,
    policy: parts.Model,
    engine: Engine,
    prompt: Callable[[types.Task], Sequence[int]],
    decode: Callable[[Sequence[int]], str],
    executor: Executor,
    verifier: Verifier,
) -> training_step.Stages:
    """Builds the stages of a training step.

    Args:
      config: Its sections rl, sampling and optimizer.
      policy: The policy, whose weights are also the reference; kept as they are.
      engine: Samples from the policy.
      prompt: The prompt of a task as ids.
      decode: The text of ids.
      executor: Runs recipes.
      verifier: Grades what they leave.
    """
    rl, sampling = config.rl, config.sampling
    return training_step.Stages(
        prompt=prompt,
        sample=lambda params, prompts, seeds: engine.generate(
            params,
            prompts,
            seeds=seeds,
            group_size=rl.group_size,
            temperature=sampling.temperature,
            max_new_tokens=sampling.max_new_tokens,
        ),
        decode=decode,
        execute=functools.partial(executor.run, progress=_ignore),
        verify=functools.partial(verifier.verify, progress=_ignore),
        reward=functools.partial(
            rewards.rewards,
            lambda_empty=rl.lambda_empty,
            lambda_format=rl.lambda_format,
        ),
        advantage=functools.partial(
            advantages.group_relative, divide_by_std=rl.divide_by_std, delta=rl.delta
        ),
        update=functools.partial(
            training_state.advance,
            update=_update(config, policy.graphdef),
            ref_params=policy.params if rl.kl_weight else None,
        ),
    )


def _update(config: mlc.ConfigDict, graphdef: nnx.GraphDef) -> update.Update:
    """Builds the jitted policy update."""
    rl, sampling = config.rl, config.sampling
    completions = rl.prompts_per_step * rl.group_size
    clip = dict(clip_low=rl.clip_low, clip_high=rl.clip_high)
    budget = completions * sampling.max_new_tokens
    surrogates = {
        "token": (losses.clipped_surrogate, budget, dict(token_budget=budget)),
        "recipe": (
            losses.recipe_surrogate,
            completions,
            dict(completions=completions, max_log_ratio=rl.max_log_ratio),
        ),
    }
    surrogate, divisor, numbers = surrogates[rl.ratio]
    return update.make(
        functools.partial(
            logprobs.completion_logprobs,
            graphdef,
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
        ),
        functools.partial(surrogate, **clip, **numbers),
        _optimizer(config),
        kl_weight=rl.kl_weight,
        kl_divisor=divisor,
        micro_batch=rl.micro_batch,
        updates_per_step=rl.updates_per_step,
    )


def _optimizer(config: mlc.ConfigDict) -> optax.GradientTransformation:
    with checks.blame("config.optimizer", config.optimizer.to_dict()):
        return optimizers.adamw(**config.optimizer)


def trainer(
    config: mlc.ConfigDict,
    *,
    params: nnx.State,
    tasks: Sequence[types.Task],
    stages: training_step.Stages,
    pad_id: int,
) -> Callable[[int, pathlib.Path], nnx.State]:
    """Returns what trains the policy with a seed in a folder, and gives its weights.

    Args:
      config: Its sections rl, sampling, optimizer, checkpoint and pool.
      params: Weights to start from; kept as they are.
      tasks: To train on.
      stages: From `stages`.
      pad_id: Fills the rows of the update.
    """
    rl, sampling, pool = config.rl, config.sampling, config.pool
    optimizer = _optimizer(config)

    def train(seed: int, folder: pathlib.Path) -> nnx.State:
        start = jax.tree.map(jnp.copy, params)  # a step consumes its state
        state = loop.run(
            training_state.create(start, optimizer),
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
                row_tokens=sampling.max_prompt_tokens + sampling.max_new_tokens,
                pad_id=pad_id,
            ),
            steps=rl.steps,
            workdir=folder,
            every_steps=config.checkpoint.every_steps,
            keep=config.checkpoint.keep,
        )
        return state.params

    return train


def _ignore(count: int) -> None:
    """Reports progress to nobody: the bar of the steps is enough."""
