"""The arithmetic of attention in parts: of some queries to the keys of some pages."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

LOWEST = jnp.finfo(jnp.float32).min  # finite, so that a query without keys stays so


class Content(NamedTuple):
    """Keys and values of some pages, in the dtype of the queries or narrower."""

    keys: Num[Array, "pages kv_heads head_dim page"]
    values: Num[Array, "pages kv_heads page head_dim"]
    # Of int8: what each key and each value is to be multiplied with.
    scales: Float[Array, "pages 2 kv_heads page"] | None


class Part(NamedTuple):
    """Attention of some queries to some keys, not yet divided by its weight."""

    top: Float[Array, "*batch"]  # largest score
    weight: Float[Array, "*batch"]  # sum of exp(score - top)
    mixed: Float[Array, "*batch head_dim"]  # values, weighted so


def mix(
    query: Float[Array, "batch time kv_heads group head_dim"],
    content: Content,
    visible: Bool[Array, "batch time page"],
) -> Part:
    """Returns [batch, time, kv_heads, group]; the group is stacked into one matrix."""
    batch, time, kv_heads, group, width = query.shape
    stacked = query.swapaxes(1, 2).reshape(batch, kv_heads, time * group, width)
    keys, values = (x.astype(query.dtype) for x in content[:2])
    scores = jnp.matmul(stacked, keys, preferred_element_type=jnp.float32)
    if content.scales is not None:
        scores = scores * content.scales[:, 0, :, None]
    scores = scores.reshape(batch, kv_heads, time, group, -1)
    scores = jnp.where(visible[:, None, :, None], scores, LOWEST)
    top = scores.max(-1)
    weights = jnp.exp(scores - top[..., None])
    each = weights.reshape(batch, kv_heads, time * group, -1)
    if content.scales is not None:
        each = each * content.scales[:, 1, :, None]
    mixed = jnp.matmul(
        each.astype(query.dtype), values, preferred_element_type=jnp.float32
    ).reshape(batch, kv_heads, time, group, width)
    part = Part(top=top, weight=_total(weights), mixed=mixed)
    return jax.tree.map(lambda x: x.swapaxes(1, 2), part)


def _total(weights: Float[Array, "*batch page"]) -> Float[Array, "*batch"]:
    """Sums over a page in an order of its own.

    In which order XLA sums depends on the shape of the batch, and with it the last bit.
    """
    while weights.shape[-1] > 1:
        half = weights.shape[-1] // 2
        weights = weights[..., :half] + weights[..., half:]
    return weights[..., 0]


def join(a: Part, b: Part) -> Part:
    """Puts two parts of the same queries together."""
    top = jnp.maximum(a.top, b.top)
    left, right = jnp.exp(a.top - top), jnp.exp(b.top - top)
    return Part(
        top=top,
        weight=left * a.weight + right * b.weight,
        mixed=left[..., None] * a.mixed + right[..., None] * b.mixed,
    )
