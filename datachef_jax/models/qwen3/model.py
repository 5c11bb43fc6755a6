"""Qwen3, dense: one definition for training, scoring, sampling and judging.

Llama is the same model without a norm on queries and keys.
"""

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from datachef_jax.models.qwen3 import attention
from datachef_jax.models.qwen3 import cache
from datachef_jax.models.qwen3 import head as heads
from datachef_jax.models.qwen3 import mlp
from datachef_jax.models.qwen3 import norm
from datachef_jax.models.qwen3 import rope
from datachef_jax.models.qwen3.config import Qwen3Config

_embedding_init = nnx.initializers.normal(0.02)
_head_init = nnx.initializers.variance_scaling(
    1.0, "fan_in", "truncated_normal", in_axis=-1, out_axis=-2
)


class Layer(nnx.Module):
    """One transformer block: attention and feed-forward, each after a norm."""

    def __init__(
        self,
        config: Qwen3Config,
        *,
        window: int | None,
        dtype: DTypeLike,
        param_dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        """Creates the weights; arguments as for `Attention` and `Qwen3`."""
        dtypes = dict(dtype=dtype, param_dtype=param_dtype)
        self.attention_norm = _stream_norm(config, **dtypes)
        self.attention = attention.Attention(
            config, window=window, **dtypes, rngs=rngs
        )
        self.mlp_norm = _stream_norm(config, **dtypes)
        self.mlp = mlp.GatedMlp(
            config.hidden_size, config.intermediate_size, **dtypes, rngs=rngs
        )

    def __call__(
        self,
        x: Float[Array, "tokens embed"],
        angles: rope.Rotation,
        segments: Int[Array, "batch time"],
    ) -> tuple[Float[Array, "tokens embed"], cache.LayerCache]:
        """Returns the residual stream, and the keys and values for a cache."""
        mixed, filled = self.attention(self.attention_norm(x), angles, segments)
        x = x + mixed
        return x + self.mlp(self.mlp_norm(x)), filled

    def decode(
        self,
        x: Float[Array, "batch embed"],
        angles: rope.Rotation,
        filled: cache.LayerCache,
        lengths: Int[Array, " batch"],
    ) -> tuple[Float[Array, "batch embed"], cache.LayerCache]:
        """Does the same for one new token per row; see `Attention.decode`."""
        mixed, filled = self.attention.decode(
            self.attention_norm(x), angles, filled, lengths
        )
        x = x + mixed
        return x + self.mlp(self.mlp_norm(x)), filled


class Qwen3(nnx.Module):
    """A dense Qwen3 language model (arXiv:2505.09388, section 2)."""

    def __init__(
        self,
        config: Qwen3Config,
        *,
        dtype: DTypeLike,
        param_dtype: DTypeLike,
        remat: bool,
        rngs: nnx.Rngs,
    ):
        """Creates random weights; `weights.py` is the usual way to a model.

        Args:
          config: The model's sizes.
          dtype: Of activations and matrix products.
          param_dtype: Of the stored weights.
          remat: Whether the backward pass recomputes each layer instead of
            keeping what is inside it.
          rngs: Only the "params" stream is drawn from.
        """
        dtypes = dict(dtype=dtype, param_dtype=param_dtype)
        shape = (config.vocab_size, config.hidden_size)
        self.config = config
        self.dtype = jnp.dtype(dtype)
        self.remat = remat
        self.embedding = nnx.Param(
            _embedding_init(rngs.params(), shape, param_dtype),
            out_sharding=("vocab", "embed"),
        )
        # Unrolled: on CPU a scan over layers was never faster.
        self.layers = nnx.List(
            [
                Layer(config, window=config.window(i), **dtypes, rngs=rngs)
                for i in range(config.num_layers)
            ]
        )
        self.norm = _stream_norm(config, **dtypes)
        if not config.tie_embeddings:
            self.head = nnx.Param(
                _head_init(rngs.params(), shape, param_dtype),
                out_sharding=("vocab", "embed"),
            )

    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        segments: Int[Array, "batch time"],
    ) -> Float[Array, "batch time embed"]:
        """Computes the final hidden state of every token.

        Args:
          tokens: Ids.
          positions: Of each token in its own sequence, from 0.
          segments: Which sequence of its row a token belongs to, from 1; 0 is
            padding. Tokens see earlier tokens of their own sequence only.

        Returns:
          Hidden states after the final norm, for `logits`. Those of padding mean
          nothing.
        """
        return self._forward(tokens, positions, segments)[0]

    def logits(self, hidden: Float[Array, "*batch embed"]) -> Float[Array, "*batch v"]:
        """Returns the float32 scores of every possible next token."""
        scores = jnp.matmul(
            hidden.reshape(-1, hidden.shape[-1]).astype(self.dtype),
            self._head().astype(self.dtype).T,
            preferred_element_type=jnp.float32,
        )
        return scores.reshape(*hidden.shape[:-1], -1)

    def token_logprobs(
        self,
        hidden: Float[Array, "*batch embed"],
        chosen: Int[Array, "*batch"],
        *,
        temperature: float,
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """Returns log-probabilities and entropies; see `head.token_logprobs`."""
        logprobs, entropies = heads.token_logprobs(
            hidden.reshape(-1, hidden.shape[-1]).astype(self.dtype),
            self._head(),
            chosen.reshape(-1),
            temperature=temperature,
        )
        return logprobs.reshape(chosen.shape), entropies.reshape(chosen.shape)

    def prefill(
        self,
        tokens: Int[Array, "batch time"],
        lengths: Int[Array, " batch"],
        *,
        max_length: int,
    ) -> tuple[Float[Array, "batch embed"], cache.KVCache]:
        """Reads prompts and fills a cache with them.

        Args:
          tokens: Prompts, padded on the right.
          lengths: Tokens of each prompt, at least 1.
          max_length: Slots of the cache: longest prompt and completion together.

        Returns:
          The hidden state of each prompt's last token, and the cache.
        """
        steps = jnp.arange(tokens.shape[1])[None, :]
        positions = jnp.broadcast_to(steps, tokens.shape)
        segments = (steps < lengths[:, None]).astype(jnp.int32)
        hidden, layers = self._forward(tokens, positions, segments)
        layers = tuple(cache.widen(filled, slots=max_length) for filled in layers)
        filled = cache.KVCache(layers=layers, lengths=lengths)
        return hidden[jnp.arange(tokens.shape[0]), lengths - 1], filled

    def decode(
        self, tokens: Int[Array, " batch"], filled: cache.KVCache
    ) -> tuple[Float[Array, "batch embed"], cache.KVCache]:
        """Appends one token to each row.

        Args:
          tokens: Ids of the new tokens, one per row.
          filled: The tokens before them.

        Returns:
          The hidden state of each new token, and the longer cache.
        """
        x = self.embedding[...][tokens].astype(self.dtype)
        angles = self._angles(filled.lengths)
        layers = []
        for layer, before in zip(self.layers, filled.layers, strict=True):
            x, after = layer.decode(x, angles, before, filled.lengths)
            layers.append(after)
        longer = cache.KVCache(layers=tuple(layers), lengths=filled.lengths + 1)
        return self.norm(x), longer

    def _forward(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        segments: Int[Array, "batch time"],
    ) -> tuple[Float[Array, "batch time embed"], list[cache.LayerCache]]:
        """Returns final hidden states, and the keys and values of every layer."""
        # Flat: with [batch, time, embed] XLA transposes activations before the
        # gradient of every matrix, a third of the time of a small model's step.
        x = self.embedding[...][tokens.reshape(-1)].astype(self.dtype)
        angles = self._angles(positions)
        layers = []
        for layer in self.layers:
            run = jax.checkpoint(layer) if self.remat else layer
            x, filled = run(x, angles, segments)
            layers.append(filled)
        return self.norm(x).reshape(*tokens.shape, -1), layers

    def _head(self) -> Float[Array, "vocab embed"]:
        tied = self.config.tie_embeddings
        return self.embedding[...] if tied else self.head[...]

    def _angles(self, positions: Int[Array, "*batch"]) -> rope.Rotation:
        return rope.rotation(
            positions,
            head_dim=self.config.head_dim,
            theta=self.config.rope_theta,
            scaling=self.config.rope_scaling,
        )


def _stream_norm(
    config: Qwen3Config, *, dtype: DTypeLike, param_dtype: DTypeLike
) -> norm.RmsNorm:
    return norm.RmsNorm(
        config.hidden_size,
        axis="embed",
        eps=config.rms_norm_eps,
        dtype=dtype,
        param_dtype=param_dtype,
    )
