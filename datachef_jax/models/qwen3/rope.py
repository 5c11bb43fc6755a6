"""Rotary position embedding, in the "rotate half" form of transformers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Rotation(NamedTuple):
    """The angles of one set of positions, shared by all layers."""

    cos: Float[Array, "*batch half"]
    sin: Float[Array, "*batch half"]


def rotation(
    positions: Int[Array, "*batch"], *, head_dim: int, theta: float
) -> Rotation:
    """Returns cosine and sine of `position / theta^(2i / head_dim)`, in float32.

    Source: Su et al. 2021, arXiv:2104.09864, section 3.2.2.

    Args:
      positions: Of each token in its own sequence, from 0.
      head_dim: Width of one head; the angles are half as many.
      theta: Base of the wavelengths.
    """
    exponents = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
    frequencies = 1.0 / theta**exponents
    frequencies = jnp.expand_dims(frequencies, range(positions.ndim))
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return Rotation(cos=jnp.cos(angles), sin=jnp.sin(angles))


@jax.named_scope("rope")
def rotate(
    x: Float[Array, "*batch heads head_dim"], angles: Rotation
) -> Float[Array, "*batch heads head_dim"]:
    """Turns each pair (i, i + head_dim / 2) of every head by its angle."""
    first, second = jnp.split(x, 2, axis=-1)
    cos = angles.cos[..., None, :].astype(x.dtype)
    sin = angles.sin[..., None, :].astype(x.dtype)
    return jnp.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    )
