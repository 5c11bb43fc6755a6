"""Runs of several processes, each with devices of its own.

Every process runs the same program on the same inputs, as multi-controller JAX wants
it; only recipes are shared out, and what they left is passed round.
"""

from collections.abc import Iterator, Sequence
import contextlib
import pickle
from typing import TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from datachef_jax.parallel import sharding

T = TypeVar("T")


def start(*, coordinator: str, processes: int, process: int) -> None:
    """Joins the processes of a run; before anything asks JAX for its devices.

    Args:
      coordinator: `host:port` of process 0; "auto" on a cluster that JAX knows (TPU
        pods, Slurm, Kubernetes), which then says the other two.
      processes: How many there are.
      process: Which one this is, from 0.
    """
    if coordinator == "auto":
        jax.distributed.initialize()
    else:
        jax.distributed.initialize(
            coordinator_address=coordinator,
            num_processes=processes,
            process_id=process,
        )


def own_mesh() -> jax.sharding.Mesh:
    """Returns a mesh of this process's own devices, for what it alone computes.

    A program on the mesh of all processes waits until each has started it. What one
    process does at its own time, as to answer a recipe, must not be such a program.
    """
    devices = jax.local_devices()
    return sharding.make_mesh(data=1, model=len(devices), devices=devices)


@contextlib.contextmanager
def own() -> Iterator[None]:
    """Sets `own_mesh` in a run of several processes, for what each does by itself."""
    if jax.process_count() == 1:
        yield
        return
    with jax.set_mesh(own_mesh()):
        yield


def share(items: Sequence[T]) -> Sequence[T]:
    """Returns the items that are this process's to work on."""
    return items[jax.process_index() :: jax.process_count()]


def join(done: Sequence[T], count: int) -> list[T]:
    """Returns what all processes made of their shares, in the order of the items.

    Args:
      done: What this one made of `share(items)`, any objects that can be pickled.
      count: Of all items.
    """
    if jax.process_count() == 1:
        return list(done)
    joined: list[T | None] = [None] * count
    for process, part in enumerate(_gather(pickle.dumps(list(done)))):
        joined[process :: jax.process_count()] = pickle.loads(part)
    return joined


def _gather(content: bytes) -> list[bytes]:
    """Returns the bytes of every process."""
    own = np.frombuffer(content, np.uint8)
    sizes = multihost_utils.process_allgather(np.array([own.size]))[:, 0]
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: own.size] = own
    gathered = multihost_utils.process_allgather(padded)
    return [row[:size].tobytes() for row, size in zip(gathered, sizes, strict=True)]
