"""Qwen3's feed-forward block."""

from flax import nnx
import jax
from jaxtyping import Array, Float

from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Lora
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.projection import Projection


class GatedMlp(nnx.Module):
    """SwiGLU: `down(silu(gate(x)) * up(x))`, no biases.

    Source: Qwen3 technical report, arXiv:2505.09388, section 2; Shazeer 2020,
    arXiv:2002.05202.
    """

    def __init__(
        self,
        config: Qwen3Config,
        compute: Compute,
        *,
        lora: Lora | None,
        rngs: nnx.Rngs,
    ):
        """Creates the weights; arguments as for `Qwen3`."""
        embed, hidden = config.hidden_size, config.intermediate_size
        shared = dict(compute=compute, lora=lora, rngs=rngs)
        widen = dict(shape=(embed, hidden), axes=("embed", "mlp"), **shared)
        narrow = dict(shape=(hidden, embed), axes=("mlp", "embed"), **shared)
        self.gate = Projection(name="gate_proj", **widen)
        self.up = Projection(name="up_proj", **widen)
        self.down = Projection(name="down_proj", **narrow)

    @jax.named_scope("mlp")
    def __call__(self, x: Float[Array, "tokens embed"]) -> Float[Array, "tokens embed"]:
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))
