"""RMSNorm."""

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config


class RmsNorm(nnx.Module):
    """`x / sqrt(mean(x^2) + eps) * scale` over the last axis, in float32.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    def __init__(self, width: int, axis: str, config: Qwen3Config, compute: Compute):
        """Creates the scale, all ones.

        Args:
          width: Size of the normalized axis.
          axis: Its logical name.
          config: Has what is added to the mean square.
          compute: Dtypes of the scale and of the output.
        """
        self.eps = config.rms_norm_eps
        self.dtype = jnp.dtype(compute.dtype)
        scale = jnp.ones((width,), compute.param_dtype)
        self.scale = nnx.Param(scale, out_sharding=(axis,))

    @jax.named_scope("norm")
    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        x = x.astype(jnp.float32)
        x = x * lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + self.eps)
        scale = jnp.expand_dims(self.scale[...], range(x.ndim - 1))
        # Rounded before the scale is applied, as transformers does.
        return x.astype(self.dtype) * scale.astype(self.dtype)
