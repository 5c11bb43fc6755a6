"""One process that measures Tunix's update of GRPO; see `measure.py`.

Runs in an environment of its own with `google-tunix`. The step is that of its
`GRPOLearner`: the learner hands its loss to `rl.trainer.Trainer`, as here, and calls
the trainer's `train` with one example for each update, as here.
"""

from collections.abc import Mapping
import pathlib
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tunix.models.qwen3 import model as qwen3
from tunix.rl import algo_core  # noqa: F401  (registers the loss)
from tunix.rl import common
from tunix.rl import function_registry
from tunix.rl import trainer as trainers
from tunix.rl.grpo import grpo_learner
from tunix.sft import peft_trainer

from experiments.peers import measure
from experiments.peers import tunix_model

_REMAT = {"none": qwen3.RematConfig.NONE, "full": qwen3.RematConfig.DECODER}


def load(job: Mapping[str, Any]) -> qwen3.Qwen3:
    """Reads the weights."""
    return tunix_model.load(
        job,
        dtype=job["dtype"],
        param_dtype=job["param_dtype"],
        remat_config=_REMAT[job["remat"]],
    )


def program(job: Mapping[str, Any], model: qwen3.Qwen3) -> measure.Step:
    """Returns one call of the trainer, on the same micro-batches again and again."""
    examples = _examples(job)
    numbers = job["optimizer"]
    optimizer = optax.chain(
        optax.clip_by_global_norm(numbers["max_grad_norm"]),
        optax.adamw(
            numbers["learning_rate"],
            b1=numbers["b1"],
            b2=numbers["b2"],
            weight_decay=numbers["weight_decay"],
        ),
    )
    trainer = trainers.Trainer(
        model,
        optimizer,
        peft_trainer.TrainingConfig(
            eval_every_n_steps=1_000_000,
            gradient_accumulation_steps=len(examples) if len(examples) > 1 else None,
        ),
        custom_checkpoint_metadata_fn=dict,
    )
    trainer.is_managed_externally = True  # as the learner sets it
    figures = _watch(trainer)
    _give_loss(trainer, job["objective"])

    def step() -> tuple[float, float | None]:
        figures.clear()
        with tunix_model.mesh():
            trainer.train(examples)
        jax.block_until_ready(nnx.state(trainer.model))
        losses, norms = zip(*figures, strict=True)
        # The trainer tells the norms of micro-batches, not that of their sum.
        norm = float(norms[0]) if len(norms) == 1 else None
        return float(np.mean(losses)), norm

    return step


def _give_loss(trainer: trainers.Trainer, objective: Mapping[str, float]) -> None:
    """Does what `GRPOLearner.__init__` does with a trainer."""
    config = grpo_learner.GRPOConfig(
        loss_agg_mode="token-mean", beta=0.0, epsilon=objective["clip_low"]
    )
    config.epsilon_high = objective["clip_high"]
    config.temperature = 1.0
    policy_loss = function_registry.get_policy_loss_fn(config.policy_loss_fn)

    def loss(model, train_example, algo_config):
        del algo_config
        return policy_loss(
            model, train_example, algo_config=config, pad_id=0, eos_id=-1
        )

    trainer.with_loss_fn(loss, has_aux=True)
    trainer.with_gen_model_input_fn(
        lambda example: {"train_example": example, "algo_config": config}
    )
    trainer.with_rl_metrics_to_log({"kl": np.mean, "pg_clipfrac": np.mean})


def _watch(trainer: trainers.Trainer) -> list[tuple[jax.Array, jax.Array]]:
    """Returns a list that gets loss and gradient norm of each update."""
    seen = []
    buffer = trainer._buffer_metrics

    def watched(metrics, loss, step, additional_metrics=None):
        seen.append((loss, additional_metrics["grad_norm"][0]))
        return buffer(metrics, loss, step, additional_metrics)

    trainer._buffer_metrics = watched
    return seen


def _examples(job: Mapping[str, Any]) -> list[common.TrainExample]:
    """Returns the micro-batches; all prompts have the same length."""
    with np.load(pathlib.Path(job["batch"])) as arrays:
        tokens, mask = arrays["tokens"], arrays["completion_mask"]
        behavior, advantages = arrays["behavior_logprobs"], arrays["advantages"]
    prompt, size = tokens.shape[1] - job["new_tokens"], job["micro_batch"]
    return [
        grpo_learner.TrainExample(
            prompt_ids=jnp.asarray(tokens[rows, :prompt]),
            prompt_mask=jnp.ones((size, prompt), bool),
            completion_ids=jnp.asarray(tokens[rows, prompt:]),
            completion_mask=jnp.asarray(mask[rows, prompt:]),
            advantages=jnp.asarray(advantages[rows]),
            ref_per_token_logps=None,
            old_per_token_logps=jnp.asarray(behavior[rows, prompt:]),
        )
        for rows in (slice(i, i + size) for i in range(0, len(tokens), size))
    ]


def _device_peak_bytes() -> int:
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use", 0)


if __name__ == "__main__":
    measure.main(
        load,
        program,
        packages=("google-tunix", "jax", "flax", "optax"),
        device_peak_bytes=_device_peak_bytes,
    )
