"""Where every array lives: the one table from logical axes to mesh axes."""

from collections.abc import Sequence
import math

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, PartitionSpec
from jaxtyping import Array, PyTree, Shaped

# (logical axis, mesh axis). Models name the left column only, so a new layout is a
# new table and no change of any model. None means replicated.
AXIS_RULES = (
    ("batch", "data"),
    ("tokens", "data"),  # of the residual stream, row after row ...
    ("split_tokens", ("data", "model")),  # ... and with sequence sharding
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
      ValueError: If the axes do not cover the devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    if data == -1:
        if len(devices) % model:
            raise ValueError(f"model {model} does not divide {len(devices)} devices")
        data = len(devices) // model
    if data * model != len(devices):
        raise ValueError(f"mesh {data} x {model} does not cover {len(devices)} devices")
    # Split: 16 x 16 chips make 32 x 8 as well.
    grid = mesh_utils.create_device_mesh(
        (data, model), devices, allow_split_physical_axes=True
    )
    # Auto: the compiler places the collectives. JAX 0.10 would default to Explicit.
    return Mesh(grid, ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def constrain(x: Shaped[Array, "..."], *axes: str | None) -> Shaped[Array, "..."]:
    """Says inside jit how an array is split over the mesh that is set, if one is.

    Args:
      x: The array.
      axes: The logical name of each of its axes; None for one that stays whole. So
        does one that its mesh axis cannot divide: 8 key heads on 16 devices.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, spec(x.shape, axes))


def spec(shape: Sequence[int], axes: Sequence[str | None]) -> PartitionSpec:
    """Returns how an array is split over the mesh; arguments as for `constrain`."""
    return PartitionSpec(
        *(
            _rule(axis) if axis and size % ways(axis) == 0 else None
            for axis, size in zip(axes, shape, strict=True)
        )
    )


def ways(axis: str) -> int:
    """Returns over how many devices a logical axis is split, if that divides it."""
    mesh, rule = jax.sharding.get_abstract_mesh(), _rule(axis)
    names = (rule,) if isinstance(rule, str) else rule or ()
    return 1 if mesh.empty else math.prod(mesh.shape[name] for name in names)


def open_axes() -> frozenset[str]:
    """Returns the axes of the mesh that is set over which arrays may be split.

    Inside a `shard_map` over some axes, each device has its own part already.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return frozenset(mesh.axis_names) - frozenset(mesh.manual_axes)


def _rule(axis: str) -> str | tuple[str, ...] | None:
    """Returns the mesh axes of a logical one, less those that are not open."""
    rule = dict(AXIS_RULES)[axis]
    closed = frozenset(jax.sharding.get_abstract_mesh().manual_axes)
    if isinstance(rule, tuple):
        return tuple(name for name in rule if name not in closed) or None
    return None if rule in closed else rule


def everywhere(tree: PyTree) -> PyTree:
    """Puts whole arrays on every device, so that every host can read them."""
    return jax.tree.map(lambda x: constrain(x, *(None,) * x.ndim), tree)


def gathered(spec: PartitionSpec) -> PartitionSpec:
    """Returns a placement without the data axis: that of weights for sampling."""

    def without(axis: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if isinstance(axis, tuple):
            return tuple(name for name in axis if name != "data") or None
        return None if axis == "data" else axis

    return PartitionSpec(*(without(axis) for axis in spec))
