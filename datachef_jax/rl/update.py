"""The policy update: one jitted program from a batch of rollouts to new weights."""

from collections.abc import Callable, Mapping
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
from datachef_jax.rl import losses

Score = Callable[
    [
        nnx.State,
        Int[Array, "batch time"],
        Int[Array, " batch"],
        Bool[Array, "batch time"],
    ],
    tuple[Float[Array, "batch time"], Float[Array, "batch time"]],
]
"""`logprobs.completion_logprobs` with all but its arrays bound."""

Surrogate = Callable[
    [
        Float[Array, "batch time"],
        Float[Array, "batch time"],
        Float[Array, " batch"],
        Bool[Array, "batch time"],
    ],
    tuple[Float[Array, ""], losses.Diagnostics],
]
"""A policy loss of `losses` with all but its arrays bound."""

Update = Callable[
    [nnx.State, optax.OptState, nnx.State | None, types.RolloutBatch],
    tuple[nnx.State, optax.OptState, dict[str, float]],
]
"""(weights, optimizer state, reference weights, batch) -> the first two, metrics."""

_Loss = Callable[..., tuple[Float[Array, ""], dict[str, Float[Array, ""]]]]


def make(
    score: Score,
    surrogate: Surrogate,
    optimizer: optax.GradientTransformation,
    *,
    kl_weight: float,
    kl_divisor: int,
    micro_batch: int,
    updates_per_step: int,
) -> Update:
    """Builds the update; it compiles once, at its first call.

    The weights and the optimizer state that go in are donated: their memory becomes
    that of the result, so the caller must not use them again, and the reference
    weights must be another copy.

    Every update sums the gradients of micro-batches over one batch and takes one
    optimizer step. All updates measure their ratios against the log-probabilities
    of the sampler.

    Args:
      score: Log-probabilities and entropies of completion tokens.
      surrogate: The policy loss; a sum over a constant, so that micro-batches add up.
      optimizer: Clips the gradients too, if they are to be clipped.
      kl_weight: Of the KL to the reference policy in the loss, >= 0. With 0 the
        reference weights may be None, and no KL is measured.
      kl_divisor: The constant that `surrogate` divides by.
      micro_batch: Completions per backward pass; divides the batch.
      updates_per_step: Optimizer steps on each batch.

    Returns:
      The update. Its metrics are means over updates, tokens or completions, except
      that `policy/mismatch`, the mean distance in nats between the trainer's and the
      sampler's log-probabilities, is taken before the first optimizer step.
      It raises FloatingPointError naming the metrics that are not finite.
    """
    loss = _loss(score, surrogate, kl_weight=kl_weight, kl_divisor=kl_divisor)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def apply(
        params: nnx.State,
        opt_state: optax.OptState,
        ref_params: nnx.State | None,
        batch: types.RolloutBatch,
    ) -> tuple[nnx.State, optax.OptState, dict[str, Float[Array, ""]]]:
        rows = _split(batch, micro_batch)
        ref_logprobs = None
        if ref_params is not None:
            ref_logprobs = lax.map(
                lambda b: score(ref_params, b.tokens, b.lengths, b.completion_mask)[0],
                rows,
            )

        def step(carry, _):
            params, opt_state = carry
            gradients, sums = _accumulate(loss, params, (rows, ref_logprobs))
            updates, opt_state = optimizer.update(gradients, opt_state, params)
            metrics = _metrics(sums) | {"policy/grad_norm": optax.tree.norm(gradients)}
            return (optax.apply_updates(params, updates), opt_state), metrics

        (params, opt_state), metrics = lax.scan(
            step, (params, opt_state), length=updates_per_step
        )
        first = {"policy/mismatch": metrics["policy/mismatch"][0]}
        return params, opt_state, jax.tree.map(jnp.mean, metrics) | first

    def update(
        params: nnx.State,
        opt_state: optax.OptState,
        ref_params: nnx.State | None,
        batch: types.RolloutBatch,
    ) -> tuple[nnx.State, optax.OptState, dict[str, float]]:
        if ref_params is None and kl_weight != 0.0:
            raise ValueError(f"kl_weight is {kl_weight}, but there is no reference")
        params, opt_state, metrics = apply(params, opt_state, ref_params, batch)
        return params, opt_state, _finite(metrics)

    return update


def _loss(
    score: Score, surrogate: Surrogate, *, kl_weight: float, kl_divisor: int
) -> _Loss:
    """Returns the loss of a micro-batch, with sums for the metrics beside it."""

    def loss(
        params: nnx.State,
        batch: types.RolloutBatch,
        ref_logprobs: Float[Array, "batch time"] | None,
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        mask = batch.completion_mask
        logprobs, entropy = score(params, batch.tokens, batch.lengths, mask)
        total, diagnostics = surrogate(
            logprobs, batch.behavior_logprobs, batch.advantages, mask
        )
        distance = jnp.where(mask, jnp.abs(logprobs - batch.behavior_logprobs), 0.0)
        sums = diagnostics._asdict() | {
            "tokens": mask.sum().astype(jnp.float32),
            "entropy": entropy.sum(),
            "mismatch": distance.sum(),
        }
        if ref_logprobs is not None:
            sums["kl"] = losses.kl_to_reference(logprobs, ref_logprobs, mask)
            total = total + kl_weight * sums["kl"] / kl_divisor
        return total, sums | {"loss": total}

    return loss


def _split(batch: types.RolloutBatch, rows: int) -> types.RolloutBatch:
    """Gives every array a leading axis of micro-batches."""
    whole = batch.tokens.shape[0]
    if whole % rows:
        raise ValueError(f"micro_batch {rows} does not divide the batch of {whole}")
    return jax.tree.map(lambda x: x.reshape(-1, rows, *x.shape[1:]), batch)


def _accumulate(
    loss: _Loss, params: nnx.State, batches: Any
) -> tuple[nnx.State, dict[str, Float[Array, ""]]]:
    """Sums gradients, in float32, and the loss's sums over the micro-batches."""

    def add(total, batch):
        gradients, sums = jax.grad(loss, has_aux=True)(params, *batch)
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
    if "kl" in sums:
        means["policy/kl"] = sums["kl"] / tokens
    return means


def _finite(metrics: Mapping[str, Float[Array, ""]]) -> dict[str, float]:
    """Brings the metrics to the host, where they are numbers or stop the run."""
    numbers = {name: float(x) for name, x in jax.device_get(metrics).items()}
    broken = [f"{k} is {v}" for k, v in numbers.items() if not math.isfinite(v)]
    if broken:
        raise FloatingPointError(f"the update is not finite: {', '.join(broken)}")
    return numbers
