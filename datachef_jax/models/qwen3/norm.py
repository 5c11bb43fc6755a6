"""RMSNorm."""

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class RmsNorm(nnx.Module):
    """`x / sqrt(mean(x^2) + eps) * scale` over the last axis, in float32.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    def __init__(
        self,
        width: int,
        *,
        axis: str,
        eps: float,
        dtype: DTypeLike,
        param_dtype: DTypeLike,
    ):
        """Creates the scale, all ones.

        Args:
          width: Size of the normalized axis.
          axis: Its logical name.
          eps: Added to the mean square.
          dtype: Of the output.
          param_dtype: Of the stored scale.
        """
        self.eps = eps
        self.dtype = jnp.dtype(dtype)
        self.scale = nnx.Param(jnp.ones((width,), param_dtype), out_sharding=(axis,))

    @jax.named_scope("norm")
    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        x = x.astype(jnp.float32)
        x = x * lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + self.eps)
        scale = jnp.expand_dims(self.scale[...], range(x.ndim - 1))
        # Rounded before the scale is applied, as transformers does.
        return x.astype(self.dtype) * scale.astype(self.dtype)
