"""From the trainer's weights to those that the engine samples with."""

import functools
import math

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from datachef_jax.parallel import sharding


def for_sampling(params: nnx.State, *, dtype: str) -> nnx.State:
    """Returns weights converted to a dtype and collected over the data axis.

    Decoding reads all weights for each token. Split over the data axis, as training
    wants them, they would take longer to come together than to use.

    Args:
      params: Of a model, split as `parallel.sharding` says.
      dtype: Of the engine's matrix products.

    Returns:
      New arrays, or `params` itself where nothing is to be done.
    """
    mesh = jax.sharding.get_abstract_mesh()
    alone = mesh.empty or mesh.shape["data"] == 1
    if alone and all(x.dtype == dtype for x in jax.tree.leaves(params)):
        return params
    with nnx.logical_axis_rules(sharding.AXIS_RULES):
        specs = nnx.get_partition_spec(params)
    # One by one: what is exchanged on the way has to lie somewhere, too.
    return jax.tree.map(
        lambda x, spec: convert(x, spec=spec, dtype=dtype), params, specs
    )


def local_bytes(params: nnx.State, *, dtype: str) -> int:
    """Returns what weights take on each device once they are collected so."""
    mesh = jax.sharding.get_abstract_mesh()
    with nnx.logical_axis_rules(sharding.AXIS_RULES):
        specs = nnx.get_partition_spec(params)

    def one(x: jax.Array, spec: jax.sharding.PartitionSpec) -> int:
        names = jax.tree.leaves(tuple(sharding.gathered(spec)))
        ways = 1 if mesh.empty else math.prod(mesh.shape[name] for name in names)
        return x.size * jnp.dtype(dtype).itemsize // ways

    return sum(jax.tree.leaves(jax.tree.map(one, params, specs)))


@functools.partial(jax.jit, static_argnames=("spec", "dtype"))
def convert(
    x: Float[Array, "..."], *, spec: jax.sharding.PartitionSpec, dtype: str
) -> Float[Array, "..."]:
    """Does so with one array, split by `spec`, as a program."""
    x = x.astype(dtype)
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, sharding.gathered(spec))
