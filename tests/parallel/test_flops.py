"""Tests for datachef_jax/parallel/flops.py."""

import jax
from jax import lax
from jax.experimental import pallas as pl
import jax.numpy as jnp
import pytest

from datachef_jax.parallel import flops

_A, _B = jnp.ones((3, 5)), jnp.ones((5, 7))
_ONCE = 2 * 3 * 5 * 7


def _scanned(a, b):
    return lax.scan(lambda total, _: (total + a @ b, None), jnp.zeros((3, 7)), length=4)


def _looped(a, b):
    body = lambda carry: (carry[0] + 1, carry[1] + a @ b)
    return lax.while_loop(lambda carry: carry[0] < 9, body, (0, jnp.zeros((3, 7))))


def _chosen(a, b):
    return lax.cond(a[0, 0] > 0, lambda: a @ b + a @ b, lambda: a @ b)


def _recomputed(a, b):
    inner = jax.checkpoint(lambda a: jnp.sin(jnp.sin(a @ b) @ b.T))
    return jax.value_and_grad(lambda a: inner(a).sum())(a)


@pytest.mark.parametrize(
    "program, products",
    [
        (lambda a, b: a @ b, 1),
        (_scanned, 4),
        (_looped, 10),
        (_chosen, 2),
        (jax.jit(_scanned), 4),
        (lambda a, b: jax.vmap(lambda row: row @ b)(a), 1),
        (_recomputed, 2 + 2 + 2),  # forward, again, and the gradient of each
    ],
)
def test_every_matrix_product_counts_as_often_as_it_runs(program, products):
    jaxpr = jax.make_jaxpr(program)(_A, _B).jaxpr
    assert flops.count(jaxpr, while_trips=10) == products * _ONCE


def test_a_kernel_counts_for_each_block_of_its_grid():
    def kernel(a, b, out):
        out[...] = a[...] @ b[...]

    def program(a, b):
        shape = jax.ShapeDtypeStruct((12, 7), jnp.float32)
        rows = pl.BlockSpec((3, 5), lambda i: (i, 0))
        whole = pl.BlockSpec((5, 7), lambda i: (0, 0))
        out = pl.BlockSpec((3, 7), lambda i: (i, 0))
        call = pl.pallas_call(
            kernel, shape, grid=(4,), in_specs=[rows, whole], out_specs=out
        )
        return call(a, b)

    jaxpr = jax.make_jaxpr(program)(jnp.ones((12, 5)), _B).jaxpr
    assert flops.count(jaxpr, while_trips=1) == 4 * _ONCE


def test_what_runs_on_every_device_counts_on_every_device(mesh):
    spec = jax.P("data")
    whole = jnp.ones((12, 5))
    part = jax.shard_map(
        lambda a, b: a @ b, mesh=mesh, in_specs=(spec, jax.P()), out_specs=spec
    )
    jaxpr = jax.make_jaxpr(part)(whole, _B).jaxpr
    # On each of the 8 devices, though the two of a row do the same.
    assert flops.count(jaxpr, while_trips=1) == 8 * _ONCE
