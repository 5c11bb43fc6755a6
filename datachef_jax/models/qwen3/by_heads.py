"""Kernels over pages on a mesh: each device looks at its own heads."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, PyTree

from datachef_jax.parallel import sharding


def run(
    kernel: Callable[..., Array],
    query: Float[Array, "tokens heads head_dim"],
    pool: PyTree,
    *rest: Any,
    kv_heads: int,
    axis: int,
) -> Float[Array, "tokens heads head_dim"]:
    """Calls a kernel for each device's heads.

    Query heads go with the key head that they look at: where the model axis does not
    divide the key heads, every device looks at all of them.

    Args:
      kernel: Of queries, the pool and the rest.
      query: Queries of all heads.
      pool: Arrays with the key heads, or twice as many, along one axis.
      rest: Arrays that every device needs.
      kv_heads: How many key heads there are.
      axis: Of the arrays of the pool.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return kernel(query, pool, *rest)
    (own,) = sharding.spec((kv_heads,), ("kv_heads",))
    heads = PartitionSpec(None, own, None)
    mapped = jax.shard_map(
        kernel,
        in_specs=(
            heads,
            PartitionSpec(*[None] * axis, own),
            *[PartitionSpec()] * len(rest),
        ),
        out_specs=heads,
        axis_names=sharding.open_axes(),
        check_vma=False,  # Pallas calls do not say over which axes results vary
    )
    return mapped(query, pool, *rest)
