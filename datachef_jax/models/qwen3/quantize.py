"""Int8 in place of wider numbers: how the engine stores what it reads for every token.

Numbers are rounded to 255 levels around zero, with a scale for each stretch of them
(Dettmers et al. 2022, arXiv:2208.07339, section 2, without its outliers).
"""

import dataclasses

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int8

WEIGHTS = ("same", "int8")
PAGES = ("same", "int8", "float8")
FLOAT8 = jnp.dtype(jnp.float8_e4m3fn)
_LEVELS = 127
_SMALLEST = 1e-30  # a scale, so that zeros stay zeros


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """In which numbers the engine keeps what it reads for every token.

    Attributes:
      weights: "same" as the model's, or "int8".
      pages: Keys and values, "same" as the activations, "int8" with a scale for each
        token and head, or "float8" (4 bits of exponent, 3 of mantissa) without one.
        Not all exist everywhere; see `decoder.empty`.
    """

    weights: str = "same"
    pages: str = "same"

    def __post_init__(self):
        if self.weights not in WEIGHTS:
            raise ValueError(f"weights {self.weights!r} are none of {WEIGHTS}")
        if self.pages not in PAGES:
            raise ValueError(f"pages {self.pages!r} are none of {PAGES}")

    def pages_dtype(self, dtype: str) -> str:
        """Returns that of keys and values, where activations have `dtype`."""
        return {"same": dtype, "int8": "int8", "float8": FLOAT8.name}[self.pages]


def int8(
    x: Float[Array, "..."], *, axis: int
) -> tuple[Int8[Array, "..."], Float[Array, "..."]]:
    """Rounds numbers to multiples of a scale, the largest to 127 of them.

    Args:
      x: The numbers.
      axis: That shares a scale.

    Returns:
      How many multiples, and the float32 scales, without that axis.
    """
    x = x.astype(jnp.float32)
    scales = jnp.maximum(jnp.abs(x).max(axis) / _LEVELS, _SMALLEST)
    return jnp.round(x / jnp.expand_dims(scales, axis)).astype(jnp.int8), scales


def cast(x: Float[Array, "..."], dtype: DTypeLike) -> Float[Array, "..."]:
    """Converts numbers, to the largest that there is if they are too large."""
    if jnp.dtype(dtype) == FLOAT8:
        largest = float(jnp.finfo(FLOAT8).max)
        x = jnp.clip(x, -largest, largest)
    return x.astype(dtype)
