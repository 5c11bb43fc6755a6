"""What a training run changes: weights, optimizer state, and how far it is."""

from typing import NamedTuple

from flax import nnx
import optax

from datachef_jax import types
from datachef_jax.rl.update import Update


class TrainState(NamedTuple):
    """Everything that the next step needs besides the tasks and the seed.

    There is no random key: the randomness of a step comes from the seed and the
    number of the step alone.
    """

    step: int  # training steps done, which is the number of the next one
    params: nnx.State  # of the policy: those that learn
    opt_state: optax.OptState


def create(params: nnx.State, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state before the first step."""
    return TrainState(step=0, params=params, opt_state=optimizer.init(params))


def advance(
    state: TrainState,
    batch: types.RolloutBatch,
    *,
    update: Update,
    frozen: nnx.State,
) -> tuple[TrainState, dict[str, float]]:
    """Applies the policy update of one step; `state` must not be used again.

    Args:
      state: Before the step.
      batch: To learn from.
      update: From `rl.update.make`.
      frozen: The policy's weights that do not learn, if any.

    Raises:
      FloatingPointError: Naming the metric that is not finite.
    """
    params, opt_state, metrics = update(state.params, state.opt_state, frozen, batch)
    return TrainState(state.step + 1, params, opt_state), metrics
