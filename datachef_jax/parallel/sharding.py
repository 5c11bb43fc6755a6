"""Where every array lives: the one table from logical axes to mesh axes."""

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh

# (logical axis, mesh axis). Models name the left column only, so a new layout is a
# new table and no change of any model. None means replicated.
AXIS_RULES = (
    ("batch", "data"),
    ("embed", "data"),  # FSDP: weights are split over the data axis ...
    ("heads", "model"),  # ... and over the model axis: tensor parallelism.
    ("kv_heads", "model"),
    ("mlp", "model"),
    ("vocab", "model"),
    ("head_dim", None),
    ("layers", None),
)


def make_mesh(
    *, data: int, model: int, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Builds the two-axis device mesh.

    Args:
      data: Devices along the data axis; -1 takes all that are left.
      model: Devices along the model axis.
      devices: The devices to use; None takes all there are.

    Returns:
      The mesh, for `jax.set_mesh`.

    Raises:
      ValueError: If the axes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    data = len(devices) // model if data == -1 else data
    if data * model != len(devices):
        raise ValueError(f"mesh {data} x {model} does not cover {len(devices)} devices")
    # Auto: the compiler places the collectives. JAX 0.10 would default to Explicit.
    return jax.make_mesh(
        (data, model), ("data", "model"), (AxisType.Auto,) * 2, devices=devices
    )
