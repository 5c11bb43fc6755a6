"""Several fine-tunes of one model, each on a dataset of its own.

Three ways to the same results. `in_one_program` is for accelerators, which a small
model leaves idle: the fine-tunes are an axis of every array. `in_threads` is for CPUs,
where that axis saves nothing. `one_by_one` is what both are measured against; see
`configs/bench/finetunes.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
import contextlib
import dataclasses
import functools
import threading
from typing import Any, NamedTuple, Protocol

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import optax

from datachef_jax.finetune import packing
from datachef_jax.finetune import sft
from datachef_jax.parallel import sharding


class Fitted(NamedTuple):
    """What has become of one fine-tune."""

    params: nnx.State  # those that learn
    losses: Float[np.ndarray, " steps"]  # before each update, nats per target


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What several fine-tunes have in common.

    Attributes:
      graphdef: Of the model.
      params: Where every fine-tune starts; they are not consumed.
      frozen: The model's parameters that do not learn.
      optimizer: One object for all calls, or every call compiles anew.
      steps: Updates of each.
      sync_every: See `sft.fit`.
    """

    graphdef: nnx.GraphDef
    params: nnx.State
    frozen: nnx.State
    optimizer: optax.GradientTransformation
    steps: int
    sync_every: int


Batches = Mapping[str, Iterator[packing.Batch]]
"""Of each fine-tune by its name, from `packing.batches`; all of one shape."""


class Fit(Protocol):
    """A way to fine-tune several."""

    def __call__(
        self,
        training: Training,
        batches: Batches,
        *,
        width: int,
        progress: Callable[[int], Any],
    ) -> dict[str, Fitted]:
        """Fine-tunes once for each dataset, as `sft.fit` does from `sft.start`.

        Args:
          training: What they have in common.
          batches: What each learns from.
          width: How many are trained at once, at most.
          progress: Called with the number of updates done since its last call, those of
            all fine-tunes together.

        Returns:
          What each has become, by name, in the order of `batches`.

        Raises:
          ValueError: If batches end before the last step; names the fine-tune.
          FloatingPointError: If a loss is not finite; names the fine-tune and the step.
            What the others of its group have learned is lost.
        """


def one_by_one(
    training: Training,
    batches: Batches,
    *,
    width: int,
    progress: Callable[[int], Any],
) -> dict[str, Fitted]:
    """Calls `sft.fit` for one dataset after another, whatever the width; see `Fit`."""
    del width

    def count(done: int, state: sft.SftState, loss: Array) -> None:
        del done, state, loss
        progress(1)

    return {
        name: _fit_one(training, name, own, on_step=count)
        for name, own in batches.items()
    }


def in_one_program(
    training: Training,
    batches: Batches,
    *,
    width: int,
    progress: Callable[[int], Any],
) -> dict[str, Fitted]:
    """Fine-tunes groups of `width`, each group by one program; see `Fit`.

    Results equal those of `sft.fit` but for rounding, for sums are done in another
    order. A smaller last group is filled up with copies of its last fine-tune, so that
    nothing compiles twice. Memory has to hold `width` copies of what learns and of the
    optimizer's state.

    Where the mesh has a data axis that divides `width`, each of its devices trains its
    own share of the fine-tunes and talks to no other; else the rows of every batch are
    split over it, as in `sft.fit`. No accelerator has run it yet, eight virtual devices
    of a CPU have.
    """
    names = list(batches)
    fitted = {}
    for first in range(0, len(names), width):
        group = {name: batches[name] for name in names[first : first + width]}
        state, losses = _fit_group(training, group, width=width, progress=progress)
        for i, name in enumerate(group):
            own = jax.tree.map(
                lambda x, like: jax.device_put(x, like.sharding),
                _take(state.params, jnp.int32(i)),
                training.params,
            )
            fitted[name] = Fitted(own, losses[i])
    return fitted


def in_threads(
    training: Training,
    batches: Batches,
    *,
    width: int,
    progress: Callable[[int], Any],
) -> dict[str, Fitted]:
    """Calls `sft.fit` in `width` threads, which share its compiled step; see `Fit`.

    Results are those of `sft.fit` to the bit. Only for a run of one process: several
    would start programs in different orders and wait for each other.
    """
    mesh = jax.sharding.get_mesh()
    stopped, lock = threading.Event(), threading.Lock()

    def count(done: int, state: sft.SftState, loss: Array) -> None:
        del done, state, loss
        if stopped.is_set():
            raise _Stopped
        with lock:
            progress(1)

    def fit(name: str) -> Fitted:
        # A mesh is set for each thread apart.
        with contextlib.nullcontext() if mesh.empty else jax.set_mesh(mesh):
            return _fit_one(training, name, batches[name], on_step=count)

    with futures.ThreadPoolExecutor(width, thread_name_prefix="fine-tune") as threads:
        under_way = {name: threads.submit(fit, name) for name in batches}
        try:
            done, _ = futures.wait(
                under_way.values(), return_when=futures.FIRST_EXCEPTION
            )
            for future in done:
                future.result()  # raises what a failed one did
            return {name: future.result() for name, future in under_way.items()}
        finally:  # also where this thread is interrupted
            stopped.set()
            threads.shutdown(wait=False, cancel_futures=True)


@functools.partial(jax.jit, static_argnames=("optimizer", "width"))
def start(
    params: nnx.State, *, optimizer: optax.GradientTransformation, width: int
) -> sft.SftState:
    """Returns `width` equal states before the first step, along a leading axis."""
    state = sft.start(params, optimizer)
    return _split(jax.tree.map(lambda x: jnp.broadcast_to(x, (width, *x.shape)), state))


@functools.partial(
    jax.jit, static_argnames=("graphdef", "optimizer"), donate_argnames="state"
)
def update(
    state: sft.SftState,
    frozen: nnx.State,
    batch: packing.Batch,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
) -> tuple[sft.SftState, Float[Array, " width"]]:
    """Does one step of several fine-tunes: `sft.update` with an axis before all others.

    The axis is one of `state` and of `batch`, whose arrays are `[width, rows, …]`; all
    share what is frozen.
    """
    each = jax.vmap(
        functools.partial(sft.update, graphdef=graphdef, optimizer=optimizer),
        in_axes=(0, None, 0),
    )
    if axis := _axis(*state.step.shape):
        each = jax.shard_map(
            each,
            in_specs=(jax.P(axis), jax.P(), jax.P(axis)),
            out_specs=jax.P(axis),
            axis_names={axis},
            check_vma=False,  # nothing is said of kernels' results
        )
    state, losses = each(state, frozen, batch)
    return _split(state), sharding.everywhere(losses)


def _axis(width: int) -> str | None:
    """Returns the axis of the mesh over which fine-tunes are split, if there is one."""
    (axis,) = sharding.spec((width,), ("batch",))
    return axis if sharding.ways("batch") > 1 else None


def _split(state: sft.SftState) -> sft.SftState:
    """Gives each device its own fine-tunes, before and after a step alike.

    Else the second step would compile anew, for where the first one has put them.
    """
    if _axis(*state.step.shape) is None:
        return state
    return jax.tree.map(
        lambda x: sharding.constrain(x, "batch", *(None,) * (x.ndim - 1)), state
    )


def _fit_one(
    training: Training,
    name: str,
    batches: Iterator[packing.Batch],
    *,
    on_step: Callable[[int, sft.SftState, Array], None],
) -> Fitted:
    """Calls `sft.fit` from the start, and names the fine-tune where it diverges."""
    try:
        state, losses = sft.fit(
            training.graphdef,
            sft.start(training.params, training.optimizer),
            _unended(name, batches),
            steps=training.steps,
            optimizer=training.optimizer,
            sync_every=training.sync_every,
            on_step=on_step,
            frozen=training.frozen,
        )
    except FloatingPointError as error:
        raise FloatingPointError(f"{name}: {error}") from error
    return Fitted(state.params, losses)


def _fit_group(
    training: Training,
    batches: Batches,
    *,
    width: int,
    progress: Callable[[int], Any],
) -> tuple[sft.SftState, Float[np.ndarray, "group steps"]]:
    """Trains one group; the places of the state beyond it are filled and ignored."""
    optimizer, last = training.optimizer, training.steps
    state = start(training.params, optimizer=optimizer, width=width)
    endless = [_unended(name, own) for name, own in batches.items()]
    pending, losses = [], [np.zeros((len(endless), 0), np.float32)]
    for done in range(1, last + 1):
        rows = [next(own) for own in endless]
        rows += rows[-1:] * (width - len(endless))
        batch = jax.tree.map(lambda *each: np.stack(each), *rows)
        state, loss = update(
            state,
            training.frozen,
            batch,
            graphdef=training.graphdef,
            optimizer=optimizer,
        )
        pending.append(loss)
        if len(pending) == training.sync_every or done == last:
            fetched = np.asarray(jax.device_get(pending), np.float32).T
            losses.append(fetched[: len(endless)])
            _check_finite(losses[-1], list(batches), first=done - len(pending) + 1)
            pending.clear()
        progress(len(endless))
    return state, np.concatenate(losses, axis=1)


@jax.jit
def _take(params: nnx.State, place: Int[Array, ""]) -> nnx.State:
    """Returns the parameters of one fine-tune."""
    return jax.tree.map(lambda x: x[place], params)


def _check_finite(
    losses: Float[np.ndarray, "group steps"], names: list[str], *, first: int
) -> None:
    for name, own in zip(names, losses, strict=True):
        finite = np.isfinite(own)
        if not finite.all():
            where = int(np.argmin(finite))
            raise FloatingPointError(
                f"{name}: loss is {own[where]} at step {first + where}"
            )


def _unended(name: str, batches: Iterator[packing.Batch]) -> Iterator[packing.Batch]:
    """Yields the batches; their end is an error, for more are needed."""
    count = 0
    for batch in batches:
        yield batch
        count += 1
    raise ValueError(f"{name}: its batches ended after {count}")


class _Stopped(Exception):
    """Another fine-tune has failed, so this one need not go on."""
