"""The engine's programs on every shard of the data axis.

Each shard has a `State` of its own; here they stand side by side, with one axis more in
front of every array. Where there is no data axis, that is one long.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple

from flax import nnx
import jax
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree
import numpy as np

from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.parallel import sharding
from datachef_jax.sampling import grammar
from datachef_jax.sampling import rounds
from datachef_jax.sampling import schedule
from datachef_jax.sampling.state import Counts
from datachef_jax.sampling.state import empty as empty_state
from datachef_jax.sampling.state import Prompts
from datachef_jax.sampling.state import Sizes
from datachef_jax.sampling.state import State

_AXIS = "data"


class Report(NamedTuple):
    """What the host wants to know after every call."""

    moved: Bool[Array, ""]  # whether anything happened
    done: Int[Array, " shards"]  # lines that have ended
    counts: Counts  # of all shards, modulo 2**32


def count() -> int:
    """Returns how many shards the mesh that is set has."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.shape[_AXIS]


@functools.partial(jax.jit, static_argnames=("config", "dtype", "sizes", "pages_dtype"))
def empty(
    config: Qwen3Config, dtype: DTypeLike, sizes: Sizes, pages_dtype: DTypeLike
) -> State:
    """Returns the state of an engine that nobody has asked anything; see `state`."""
    return _each(lambda: empty_state(config, dtype, sizes, pages_dtype))


@functools.partial(
    jax.jit, static_argnames=("graphdef", "sizes", "end_id"), donate_argnames="state"
)
def run(
    params: nnx.State,
    state: State,
    grammars: grammar.Table,
    version: Int[Array, ""],
    most_rounds: Int[Array, ""],
    enough: Int[Array, ""],
    *,
    graphdef: nnx.GraphDef,
    sizes: Sizes,
    end_id: int,
) -> tuple[State, Report]:
    """Works for a number of rounds, or until there is nothing to do.

    Args:
      params: Weights of the `Decoder`.
      state: Donated.
      grammars: That requests may name.
      version: Of the weights; see `rounds.work`, as for the next two.
      most_rounds: How many at most.
      enough: Stops when so much has ended.
      graphdef: Of the `Decoder`.
      sizes: Of the engine.
      end_id: The token that ends a completion.
    """

    def work(state: State, params: nnx.State, *numbers: Any) -> tuple[State, Array]:
        return rounds.work(
            nnx.merge(graphdef, params),
            state,
            *numbers,
            sizes=sizes,
            end_id=end_id,
            axis=_AXIS if count() > 1 else None,
        )

    numbers = grammars, version, most_rounds, enough
    state, moved = _each(work, state, whole=(params, *numbers))
    counts = jax.tree.map(lambda x: x.sum(), state.counts)
    counts = counts._replace(rounds=state.counts.rounds.max())  # the same for all
    report = Report(moved=moved.any(), done=state.done.count, counts=counts)
    return state, sharding.everywhere(report)


@functools.partial(jax.jit, donate_argnames="state")
def feed(
    state: State,
    at: Int[Array, "shards n"],
    prompts: Prompts,
    cancelled: Int[Array, "m 2"],
) -> State:
    """Takes new prompts and cancels old requests.

    Args:
      state: Donated.
      at: Where the prompts go; the number of prompts' places for lines without one.
      prompts: The lines.
      cancelled: Requests, -1 for none, and completions; see `schedule.cancel`.
    """

    def take(state: State, at: Array, prompts: Prompts, cancelled: Array) -> State:
        new = jax.tree.map(
            lambda x, y: x.at[at].set(y, mode="drop"), state.prompts, prompts
        )
        return schedule.cancel(state._replace(prompts=new), cancelled)

    return _each(take, state, at, prompts, whole=(cancelled,))


@functools.partial(jax.jit, donate_argnames="state")
def fetched(state: State) -> State:
    """Forgets what is done, as the host has it."""
    none = jnp.zeros_like(state.done.count)
    return state._replace(done=state.done._replace(count=none))


@jax.jit
def read(part: PyTree) -> PyTree:
    """Lets every host read a part of the state."""
    return sharding.everywhere(part)


def no_prompts(state: State, lines: int) -> Prompts:
    """Returns so many empty lines for each shard, of NumPy, to be filled in."""
    return jax.tree.map(
        lambda x: np.zeros((x.shape[0], lines, *x.shape[2:]), x.dtype), state.prompts
    )


def _each(
    function: Callable[..., PyTree], *split: PyTree, whole: Sequence[PyTree] = ()
) -> PyTree:
    """Calls a function for every shard.

    Args:
      function: Of one shard's arrays.
      split: Arguments of which each shard has its own.
      whole: Further arguments, the same for all.
    """

    def one(split: tuple, whole: tuple) -> PyTree:
        own = jax.tree.map(lambda x: x[0], split)
        return jax.tree.map(lambda x: x[None], function(*own, *whole))

    if count() > 1:
        one = jax.shard_map(
            one,
            in_specs=(PartitionSpec(_AXIS), PartitionSpec()),
            out_specs=PartitionSpec(_AXIS),
            axis_names={_AXIS},
            check_vma=False,  # nothing is said of kernels' results
        )
    return one(split, tuple(whole))
