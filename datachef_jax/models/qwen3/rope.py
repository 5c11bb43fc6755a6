"""Rotary position embedding, in the "rotate half" form of transformers."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Yarn:
    """Stretches the wavelengths that are longer than what a model was trained on.

    Source: Peng et al. 2023, arXiv:2309.00071, section 3; as in transformers.

    Attributes:
      factor: How much longer sequences become.
      original_positions: Longest sequence before.
      beta_fast: Wavelengths that turn more often than this stay as they are.
      beta_slow: Those that turn less often are stretched by `factor`; between the two
        it is a ramp.
      attention_factor: Of queries and keys, for sharper attention.
    """

    factor: float
    original_positions: int
    beta_fast: float
    beta_slow: float
    attention_factor: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Llama3:
    """Stretches long wavelengths as Llama 3.1 does (arXiv:2407.21783, section 3.4.2).

    Attributes:
      factor: How much longer sequences become.
      low_freq_factor: Wavelengths above `original_positions / low_freq_factor` are
        stretched by `factor`.
      high_freq_factor: Those below `original_positions / high_freq_factor` stay.
      original_positions: Longest sequence before.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_positions: int


Scaling = Yarn | Llama3


class Rotation(NamedTuple):
    """The angles of one set of positions, shared by all layers."""

    cos: Float[Array, "*batch half"]
    sin: Float[Array, "*batch half"]


def rotation(
    positions: Int[Array, "*batch"],
    *,
    head_dim: int,
    theta: float,
    scaling: Scaling | None,
) -> Rotation:
    """Returns cosine and sine of `position / theta^(2i / head_dim)`, in float32.

    Source: Su et al. 2021, arXiv:2104.09864, section 3.2.2.

    Args:
      positions: Of each token in its own sequence, from 0.
      head_dim: Width of one head; the angles are half as many.
      theta: Base of the wavelengths.
      scaling: How they are stretched.
    """
    frequencies = _frequencies(head_dim, theta, scaling)
    frequencies = jnp.expand_dims(frequencies, range(positions.ndim))
    angles = positions[..., None].astype(jnp.float32) * frequencies
    scale = getattr(scaling, "attention_factor", 1.0)
    return Rotation(cos=jnp.cos(angles) * scale, sin=jnp.sin(angles) * scale)


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


def _frequencies(
    head_dim: int, theta: float, scaling: Scaling | None
) -> Float[np.ndarray, " half"]:
    """Returns radians per position.

    On the host, powers in float64: at position 40,000 the last bit of a float32 turns
    an angle by 0.004, and checkpoints were trained with the correctly rounded ones.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    wavelengths = (theta ** exponents.astype(np.float64)).astype(np.float32)
    plain = np.float32(1.0) / wavelengths
    match scaling:
        case None:
            return plain
        case Yarn() as yarn:
            stretched = np.float32(1.0) / (np.float32(yarn.factor) * wavelengths)
            kept = 1 - _yarn_ramp(head_dim, theta, yarn)
            return stretched * (1 - kept) + plain * kept
        case Llama3() as llama:
            turns = llama.original_positions * plain / (2 * np.float32(np.pi))
            low, high = llama.low_freq_factor, llama.high_freq_factor
            kept = np.clip((turns - low) / (high - low), 0.0, 1.0).astype(np.float32)
            return (1 - kept) * plain / np.float32(llama.factor) + kept * plain


def _yarn_ramp(head_dim: int, theta: float, yarn: Yarn) -> Float[np.ndarray, " half"]:
    """Returns 0 for pairs that stay as they are, 1 for those that are stretched."""

    def pair(turns: float) -> float:
        """Returns the index of the pair that turns so often over a sequence."""
        positions = yarn.original_positions / (turns * 2 * math.pi)
        return head_dim * math.log(positions) / (2 * math.log(theta))

    first = max(math.floor(pair(yarn.beta_fast)), 0)
    last = min(math.ceil(pair(yarn.beta_slow)), head_dim - 1)
    steps = np.arange(head_dim // 2, dtype=np.float32) - np.float32(first)
    return np.clip(steps / np.float32(max(last - first, 0.001)), 0.0, 1.0)
