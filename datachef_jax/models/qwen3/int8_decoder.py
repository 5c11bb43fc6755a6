"""A decoder whose weights are int8.

Reading weights is most of what decoding does, and int8 is half of bfloat16. Each output
of a matrix has a scale. Products take the bare numbers and are scaled afterwards, so
that no wider copy of a matrix ever exists.
"""

import functools

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from datachef_jax.models.qwen3 import quantize
from datachef_jax.models.qwen3.decoder import Decoder
from datachef_jax.models.qwen3.model import Layer
from datachef_jax.models.qwen3.model import Qwen3
from datachef_jax.models.qwen3.projection import Projection
from datachef_jax.parallel import sharding

_SCORED = 64  # tokens whose scores over the whole vocabulary exist at a time


def decoder(model: Qwen3, stored: quantize.Stored) -> Decoder:
    """Takes a model apart, with weights as they are to be stored."""
    return Int8Decoder(model) if stored.weights == "int8" else Decoder(model)


class Int8Projection(Projection):
    """A projection with int8 weights; an adapter beside it stays as it is."""

    def __init__(self, whole: Projection):
        """Rounds the weights of another one."""
        self.axes, self.dtype, self.scale = whole.axes, whole.dtype, whole.scale
        if whole.scale is not None:
            self.down, self.up = whole.down, whole.up
        numbers, scales = _rounded(whole.weights[...], axis=0)
        self.weights, self.scales = nnx.Param(numbers), nnx.Param(scales)

    def base(self, x: Float[Array, "tokens in"]) -> Float[Array, "tokens out"]:
        """Applies the map without its adapter."""
        # In float32: sums of so large numbers do not fit float16.
        y = jnp.matmul(
            x, self.gathered(self.weights), preferred_element_type=jnp.float32
        )
        return (y * self.scales[...][None]).astype(self.dtype)


class Int8Decoder(Decoder):
    """A decoder with int8 weights; its norms stay as they are."""

    def __init__(self, model: Qwen3):
        """Takes a model apart and rounds its weights, layer by layer."""
        super().__init__(model)
        numbers, scales = _rounded(model.embedding[...], axis=1)
        self.embedding, self.embedding_scales = nnx.Param(numbers), nnx.Param(scales)
        if not model.config.tie_embeddings:
            numbers, scales = _rounded(model.head[...], axis=1)
            self.head, self.head_scales = nnx.Param(numbers), nnx.Param(scales)

    def prepare(self, layer: Layer) -> Layer:
        """Returns a layer as it is to be stored."""
        for block in (layer.attention, layer.mlp):
            for name, part in list(vars(block).items()):
                if isinstance(part, Projection):
                    setattr(block, name, Int8Projection(part))
        return layer

    def logits(self, hidden: Float[Array, "*batch embed"]) -> Float[Array, "*batch v"]:
        """Returns the float32 scores of every possible next token."""
        tied = self.config.tie_embeddings
        scales = self.embedding_scales if tied else self.head_scales
        scores = super().logits(hidden)
        return scores * scales[...].reshape((1,) * (scores.ndim - 1) + (-1,))

    def token_logprobs(
        self,
        hidden: Float[Array, "*batch embed"],
        chosen: Int[Array, "*batch"],
        *,
        temperature: float,
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """Returns log-probabilities and entropies of some tokens at a time."""

        def one(item: tuple[Array, Array]) -> tuple[Array, Array]:
            logprobs = jax.nn.log_softmax(self.logits(item[0][None])[0] / temperature)
            return logprobs[item[1]], -(jnp.exp(logprobs) * logprobs).sum()

        rows = hidden.reshape(-1, hidden.shape[-1]), chosen.reshape(-1)
        logprobs, entropies = lax.map(one, rows, batch_size=_SCORED)
        return logprobs.reshape(chosen.shape), entropies.reshape(chosen.shape)

    def _embed(
        self, tokens: Int[Array, " tokens"], axis: str | None
    ) -> Float[Array, "tokens embed"]:
        x = sharding.constrain(self.embedding[...], "vocab", None)[tokens]
        x = x * self.embedding_scales[...][tokens][:, None]
        return sharding.constrain(x.astype(self.compute.dtype), axis, None)


@functools.partial(jax.jit, static_argnames="axis")
def _rounded(weights: Array, *, axis: int) -> tuple[Array, Array]:
    return quantize.int8(weights, axis=axis)
