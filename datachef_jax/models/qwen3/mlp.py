"""Qwen3's feed-forward block."""

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

_init = nnx.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


class GatedMlp(nnx.Module):
    """SwiGLU: `down(silu(gate(x)) * up(x))`, no biases.

    Source: Qwen3 technical report, arXiv:2505.09388, section 2; Shazeer 2020,
    arXiv:2002.05202. Weights are kept `[in, out]`, the transpose of the
    `gate_proj.weight` and its siblings in a Hugging Face checkpoint.
    """

    def __init__(
        self,
        embed: int,
        hidden: int,
        *,
        dtype: DTypeLike,
        param_dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        """Creates the weights, split over whatever mesh is set.

        Args:
          embed: Width of the residual stream.
          hidden: Width between the two projections.
          dtype: Of the matrix products and of the output.
          param_dtype: Of the stored weights.
          rngs: Only the "params" stream is drawn from.
        """
        up_axes, down_axes = ("embed", "mlp"), ("mlp", "embed")
        in_shape, out_shape = (embed, hidden), (hidden, embed)
        self.dtype = jnp.dtype(dtype)
        self.gate = nnx.Param(
            _init(rngs.params(), in_shape, param_dtype), out_sharding=up_axes
        )
        self.up = nnx.Param(
            _init(rngs.params(), in_shape, param_dtype), out_sharding=up_axes
        )
        self.down = nnx.Param(
            _init(rngs.params(), out_shape, param_dtype), out_sharding=down_axes
        )

    @jax.named_scope("mlp")
    def __call__(self, x: Float[Array, "*batch embed"]) -> Float[Array, "*batch embed"]:
        gate, up, down = (w.astype(self.dtype) for w in (self.gate, self.up, self.down))
        x = x.astype(self.dtype)
        return (jax.nn.silu(x @ gate) * (x @ up)) @ down
