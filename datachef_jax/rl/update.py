"""The policy update: one jitted program from a batch of rollouts to new weights."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import math
from typing import Any

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import optax

from datachef_jax import types
from datachef_jax.parallel import sharding
from datachef_jax.rl import losses

Score = Callable[
    [
        nnx.State,
        Int[Array, "batch time"],
        Bool[Array, "batch time"],
    ],
    tuple[Float[Array, "batch time"], Float[Array, "batch time"]],
]
"""`logprobs.completion_logprobs` with all but its arrays bound."""

Reference = Callable[[nnx.State, types.RolloutBatch], Float[Array, "batch time"]]
"""(weights, batch) -> log-probabilities of its completions, in micro-batches."""

Update = Callable[
    [nnx.State, optax.OptState, nnx.State, types.RolloutBatch],
    tuple[nnx.State, optax.OptState, dict[str, float]],
]
"""(weights that learn, optimizer state, all other weights, batch) -> the first two,
metrics."""

Program = Callable[
    [nnx.State, optax.OptState, nnx.State, types.RolloutBatch],
    tuple[nnx.State, optax.OptState, dict[str, Float[Array, ""]]],
]
"""The same with the metrics on the device: what `jax.jit` returned."""

_Rows = Float[Array, "batch time"]
_Sums = dict[str, Float[Array, ""]]
_Loss = Callable[..., tuple[Float[Array, ""], _Sums]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """What an update minimizes: functions of `losses` with their numbers bound.

    Attributes:
      gain: `losses.objective`.
      weights: `losses.token_weights`.
      engine_weights: `losses.engine_weights`, which makes the old policy that of the
        trainer; None measures ratios against the log-probabilities of the engine.
      kl: `losses.kl_to_reference`.
      kl_weight: Of the KL in the loss, >= 0; with 0 it is at most measured.
    """

    gain: Callable[
        [_Rows, _Rows, Float[Array, " batch"], Bool[Array, "batch time"]],
        tuple[_Rows, losses.Diagnostics],
    ]
    weights: Callable[[Bool[Array, "batch time"]], _Rows]
    engine_weights: Callable[[_Rows, _Rows, Bool[Array, "batch time"]], _Rows] | None
    kl: Callable[[_Rows, _Rows, Bool[Array, "batch time"]], _Rows]
    kl_weight: float


def scorer(score: Score, *, micro_batch: int) -> Reference:
    """Builds the program that scores a batch under weights that do not learn."""

    @jax.jit
    def reference(
        params: nnx.State, batch: types.RolloutBatch
    ) -> Float[Array, "batch time"]:
        rows = _split((batch.tokens, batch.completion_mask), micro_batch)
        scored = lax.map(lambda row: score(params, *row)[0], rows)
        return sharding.everywhere(scored.reshape(batch.tokens.shape))

    return reference


def make(
    score: Score,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    micro_batch: int,
    updates_per_step: int,
) -> Update:
    """Builds the update around `program`, which compiles at its first call.

    Args:
      score: As for `program`; so are all others.
      objective: What is minimized.
      optimizer: Clips the gradients too, if they are to be clipped.
      micro_batch: Completions per backward pass; divides the batch.
      updates_per_step: Optimizer steps on each batch.

    Returns:
      The update, with metrics on the host. It raises ValueError if the objective needs
      `ref_logprobs` or `old_logprobs` and the batch has none, and FloatingPointError
      naming the metrics that are not finite.
    """
    apply = program(
        score,
        objective,
        optimizer,
        micro_batch=micro_batch,
        updates_per_step=updates_per_step,
    )

    def update(
        params: nnx.State,
        opt_state: optax.OptState,
        frozen: nnx.State,
        batch: types.RolloutBatch,
    ) -> tuple[nnx.State, optax.OptState, dict[str, float]]:
        if batch.ref_logprobs is None and objective.kl_weight:
            raise ValueError(
                f"kl_weight is {objective.kl_weight}, but there is no reference"
            )
        old_is_needed = objective.engine_weights and updates_per_step > 1
        if batch.old_logprobs is None and old_is_needed:
            raise ValueError(
                f"{updates_per_step} updates need the log-probabilities before them"
            )
        params, opt_state, metrics = apply(params, opt_state, frozen, batch)
        return params, opt_state, _finite(metrics)

    return update


def program(
    score: Score,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    micro_batch: int,
    updates_per_step: int,
) -> Program:
    """Builds the jitted update.

    The weights that learn and the optimizer state are donated: their memory becomes
    that of the result, so the caller must not use them again. The others, those beside
    low-rank adapters, get no gradient and stay as they are.

    Every update sums the gradients of micro-batches over one batch and takes one
    optimizer step. All updates measure their ratios against the same old policy.

    Args:
      score: Log-probabilities and entropies of completion tokens.
      objective: What is minimized.
      optimizer: Clips the gradients too, if they are to be clipped.
      micro_batch: Completions per backward pass; divides the batch.
      updates_per_step: Optimizer steps on each batch.

    Returns:
      The program. Its metrics are means over updates, tokens or completions, except
      that `policy/mismatch`, the mean distance in nats between the trainer's and the
      sampler's log-probabilities, is taken before the first optimizer step.
    """
    loss = _loss(score, objective)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def apply(
        params: nnx.State,
        opt_state: optax.OptState,
        frozen: nnx.State,
        batch: types.RolloutBatch,
    ) -> tuple[nnx.State, optax.OptState, _Sums]:
        rows = _split((batch, objective.weights(batch.completion_mask)), micro_batch)

        def step(carry, _):
            params, opt_state = carry
            gradients, sums = _accumulate(loss, params, frozen, rows)
            updates, opt_state = optimizer.update(gradients, opt_state, params)
            metrics = _metrics(sums) | {"policy/grad_norm": optax.tree.norm(gradients)}
            return (optax.apply_updates(params, updates), opt_state), metrics

        (params, opt_state), metrics = lax.scan(
            step, (params, opt_state), length=updates_per_step
        )
        first = {"policy/mismatch": metrics["policy/mismatch"][0]}
        metrics = jax.tree.map(jnp.mean, metrics) | first
        return params, opt_state, sharding.everywhere(metrics)

    return apply


def _loss(score: Score, objective: Objective) -> _Loss:
    """Returns the loss of a micro-batch, with sums for the metrics beside it."""

    def loss(
        params: nnx.State,
        frozen: nnx.State,
        batch: types.RolloutBatch,
        weights: _Rows,
    ) -> tuple[Float[Array, ""], _Sums]:
        mask, behavior = batch.completion_mask, batch.behavior_logprobs
        whole = nnx.merge_state(params, frozen)
        logprobs, entropy = score(whole, batch.tokens, mask)
        old = behavior
        sums = {
            "tokens": mask.sum().astype(jnp.float32),
            "entropy": entropy.sum(),
            "mismatch": jnp.where(mask, jnp.abs(logprobs - behavior), 0.0).sum(),
        }
        trusted = weights
        if objective.engine_weights is not None:
            old = batch.old_logprobs
            if old is None:  # one update: the policy has not moved since
                old = lax.stop_gradient(logprobs)
            engine = objective.engine_weights(old, behavior, mask)
            sums["engine_weight"] = jnp.where(mask, engine, 0.0).sum()
            trusted = weights * engine
        gain, diagnostics = objective.gain(logprobs, old, batch.advantages, mask)
        total = -(trusted * gain).sum()
        if batch.ref_logprobs is not None:
            kl = objective.kl(logprobs, batch.ref_logprobs, mask)
            total = total + objective.kl_weight * (weights * kl).sum()
            sums["kl"] = kl.sum()
        return total, sums | diagnostics._asdict() | {"loss": total}

    return loss


def _split(rows: Any, size: int) -> Any:
    """Gives every array a leading axis of micro-batches, each over all devices."""
    whole = jax.tree.leaves(rows)[0].shape[0]
    if whole % size:
        raise ValueError(f"micro_batch {size} does not divide the batch of {whole}")

    def split(x: Array) -> Array:
        parts = x.reshape(-1, size, *x.shape[1:])
        return sharding.constrain(parts, None, "batch", *(None,) * (x.ndim - 1))

    return jax.tree.map(split, rows)


def _accumulate(
    loss: _Loss, params: nnx.State, frozen: nnx.State, batches: Any
) -> tuple[nnx.State, dict[str, Float[Array, ""]]]:
    """Sums gradients, in float32, and the loss's sums over the micro-batches."""

    def add(total, batch):
        gradients, sums = jax.grad(loss, has_aux=True)(params, frozen, *batch)
        return jax.tree.map(jnp.add, total, gradients), sums

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)
    gradients, sums = lax.scan(add, zeros, batches)
    return gradients, jax.tree.map(lambda x: x.sum(0), sums)


def _metrics(sums: Mapping[str, Float[Array, ""]]) -> dict[str, Float[Array, ""]]:
    """Divides each sum by its count, which is 0 if nothing in the batch is valid."""
    tokens = jnp.maximum(sums["tokens"], 1.0)
    ratios = jnp.maximum(sums["count"], 1.0)
    means = {
        "policy/loss": sums["loss"],
        "policy/ratio": sums["ratio"] / ratios,
        "policy/clip_fraction": sums["clipped"] / ratios,
        "policy/approx_kl": sums["approx_kl"] / ratios,
        "policy/entropy": sums["entropy"] / tokens,
        "policy/mismatch": sums["mismatch"] / tokens,
    }
    for name in ("kl", "engine_weight"):
        if name in sums:
            means[f"policy/{name}"] = sums[name] / tokens
    return means


def _finite(metrics: Mapping[str, Float[Array, ""]]) -> dict[str, float]:
    """Brings the metrics to the host, where they are numbers or stop the run."""
    numbers = {name: float(x) for name, x in jax.device_get(metrics).items()}
    broken = [f"{k} is {v}" for k, v in numbers.items() if not math.isfinite(v)]
    if broken:
        raise FloatingPointError(f"the update is not finite: {', '.join(broken)}")
    return numbers
