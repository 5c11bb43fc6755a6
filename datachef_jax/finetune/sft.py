"""Supervised fine-tuning: next-token prediction on the targets of packed rows."""

from collections.abc import Callable, Iterator
import functools
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import optax

from datachef_jax.finetune import packing


class SftState(NamedTuple):
    """Everything that a step changes; with the batches' state, all of a checkpoint."""

    params: nnx.State  # those that learn
    opt_state: optax.OptState
    step: Int[Array, ""]  # updates done


OnStep = Callable[[int, SftState, Float[Array, ""]], None]
"""Called with the updates done, the state and the loss of the last update. The state
is consumed by the next update: what must outlive the call has to be copied."""


def start(params: nnx.State, optimizer: optax.GradientTransformation) -> SftState:
    """Returns the state before the first step, on a copy of the parameters."""
    params = jax.tree.map(jnp.copy, params)  # `fit` consumes its state
    return SftState(params, optimizer.init(params), jnp.zeros((), jnp.int32))


def target_loss(
    graphdef: nnx.GraphDef, params: nnx.State, batch: packing.Batch
) -> Float[Array, ""]:
    """Mean negative log-likelihood of the batch's targets, in nats per token.

    The mean is over all targets of the batch: a long answer weighs more than a short
    one. Logits are computed at the targets only, which at the mini sizes saves 10 to
    50 % of a step.

    Args:
      graphdef: Of a model like `models.qwen3.model.Qwen3`.
      params: Its parameters.
      batch: The rows; 0 is returned if they have no target.
    """
    model = nnx.merge(graphdef, params)
    hidden = model(batch.tokens, batch.positions, batch.segments)
    before = jnp.maximum(batch.targets - 1, 0)
    hidden = jnp.take_along_axis(hidden, before[:, :, None], axis=1)
    labels = jnp.take_along_axis(batch.tokens, batch.targets, axis=1)
    logprobs, _ = model.token_logprobs(hidden, labels, temperature=1.0)
    is_target = batch.targets > 0
    return -jnp.where(is_target, logprobs, 0.0).sum() / jnp.maximum(is_target.sum(), 1)


@functools.partial(
    jax.jit, static_argnames=("graphdef", "optimizer"), donate_argnames="state"
)
def update(
    state: SftState,
    frozen: nnx.State,
    batch: packing.Batch,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
) -> tuple[SftState, Float[Array, ""]]:
    """Does one step; returns the new state and the loss before the step."""

    def loss_of(params: nnx.State) -> Float[Array, ""]:
        return target_loss(graphdef, nnx.merge_state(params, frozen), batch)

    loss, gradients = jax.value_and_grad(loss_of)(state.params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return SftState(params, opt_state, state.step + 1), loss


def fit(
    graphdef: nnx.GraphDef,
    state: SftState,
    batches: Iterator[packing.Batch],
    *,
    steps: int,
    optimizer: optax.GradientTransformation,
    sync_every: int,
    on_step: OnStep,
    frozen: nnx.State = nnx.State({}),
) -> tuple[SftState, Float[np.ndarray, " done"]]:
    """Trains until `steps` updates are done, counting those of a restored state.

    The step is compiled once for each graphdef, optimizer and batch shape: several
    fits that share the very same optimizer object compile once.

    Args:
      graphdef: Of the model.
      state: From `start`, or from a checkpoint. It is consumed.
      batches: From `packing.batches`; the caller restores its position.
      steps: Updates in total.
      optimizer: The one that `state` was started with.
      sync_every: Losses are fetched, and checked to be finite, after so many steps.
        In between the host runs ahead and packs while the device computes.
      on_step: Called after every update, e.g. to save a checkpoint.
      frozen: The model's parameters that do not learn: those beside its adapters.

    Returns:
      The last state, and the loss of each update that was done here.

    Raises:
      FloatingPointError: If a loss is not finite; names the step.
    """
    pending, losses = [], []
    for done in range(int(state.step) + 1, steps + 1):
        state, loss = update(
            state, frozen, next(batches), graphdef=graphdef, optimizer=optimizer
        )
        pending.append(loss)
        if len(pending) == sync_every or done == steps:
            fetched = np.asarray(jax.device_get(pending), np.float32)
            _check_finite(fetched, first=done - len(pending) + 1)
            losses.append(fetched)
            pending.clear()
        on_step(done, state, loss)
    return state, np.concatenate([np.zeros(0, np.float32), *losses])


def _check_finite(losses: Float[np.ndarray, " steps"], *, first: int) -> None:
    finite = np.isfinite(losses)
    if not finite.all():
        where = int(np.argmin(finite))
        raise FloatingPointError(f"loss is {losses[where]} at step {first + where}")
