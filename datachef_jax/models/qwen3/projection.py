"""A linear map, with a low-rank adapter beside it where one is asked for."""

from flax import nnx
import jax.numpy as jnp
from jaxtyping import Array, Float

from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Lora
from datachef_jax.parallel import sharding

_init = nnx.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
# As PEFT does: uniform within 1 / sqrt(in).
_down_init = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Projection(nnx.Module):
    """`x @ weights`, plus `x @ down @ up * alpha / rank` with an adapter.

    Weights are kept `[in, out]`, the transpose of those in a Hugging Face file. The
    adapter (Hu et al. 2021, arXiv:2106.09685) changes nothing at first: `up` is zero.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        axes: tuple[str, str],
        name: str,
        compute: Compute,
        lora: Lora | None,
        rngs: nnx.Rngs,
    ):
        """Creates the weights, split over whatever mesh is set.

        Args:
          shape: Numbers in and out.
          axes: Their logical names.
          name: As in `Lora.targets`.
          compute: Dtypes of the weights and of the product.
          lora: The adapters of the model, if it has any.
          rngs: Only the "params" stream is drawn from.
        """
        self.axes = axes
        self.dtype = jnp.dtype(compute.dtype)
        self.scale = None
        stored = compute.param_dtype
        self.weights = nnx.Param(_init(rngs.params(), shape, stored), out_sharding=axes)
        if lora is not None and name in lora.targets:
            self.scale = lora.alpha / lora.rank
            self.down = nnx.LoRAParam(
                _down_init(rngs.params(), (shape[0], lora.rank), stored),
                out_sharding=(axes[0], None),
            )
            self.up = nnx.LoRAParam(
                jnp.zeros((lora.rank, shape[1]), stored),
                out_sharding=(None, axes[1]),
            )

    def __call__(self, x: Float[Array, "tokens in"]) -> Float[Array, "tokens out"]:
        """Applies the map."""
        x = x.astype(self.dtype)
        y = self.base(x)
        if self.scale is None:
            return y
        first, second = self._whole_axes()
        low = x @ self._gathered(self.down, first, None)
        return y + low @ self._gathered(self.up, None, second) * self.scale

    def base(self, x: Float[Array, "tokens in"]) -> Float[Array, "tokens out"]:
        """Applies the map without its adapter."""
        return x @ self.gathered(self.weights)

    def gathered(self, weights: nnx.Param) -> Float[Array, "in out"]:
        """Returns weights as they are multiplied: collected over the data axis.

        Converted first, so that devices exchange the narrower numbers.
        """
        return self._gathered(weights, *self._whole_axes())

    def _whole_axes(self) -> tuple[str | None, ...]:
        return tuple(None if axis == "embed" else axis for axis in self.axes)

    def _gathered(
        self, weights: nnx.Param, *axes: str | None
    ) -> Float[Array, "in out"]:
        return sharding.constrain(weights[...].astype(self.dtype), *axes)
