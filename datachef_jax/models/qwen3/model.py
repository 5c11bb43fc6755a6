"""Qwen3, dense: one definition for training, scoring, sampling and judging.

Llama is the same model without a norm on queries and keys.
"""

from collections.abc import Callable
from typing import Any

from flax import nnx
import jax
from jax import lax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from datachef_jax.models.qwen3 import attention
from datachef_jax.models.qwen3 import head as heads
from datachef_jax.models.qwen3 import mlp
from datachef_jax.models.qwen3 import norm
from datachef_jax.models.qwen3 import rope
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Lora
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.parallel import sharding

_embedding_init = nnx.initializers.normal(0.02)
_head_init = nnx.initializers.variance_scaling(
    1.0, "fan_in", "truncated_normal", in_axis=-1, out_axis=-2
)
_STREAM = "residual_stream"


class Layer(nnx.Module):
    """One transformer block: attention and feed-forward, each after a norm."""

    def __init__(
        self,
        config: Qwen3Config,
        compute: Compute,
        *,
        lora: Lora | None,
        rngs: nnx.Rngs,
    ):
        """Creates the weights; arguments as for `Qwen3`."""
        self.stream = compute.stream
        self.attention_norm = _stream_norm(config, compute)
        self.attention = attention.Attention(config, compute, lora=lora, rngs=rngs)
        self.mlp_norm = _stream_norm(config, compute)
        self.mlp = mlp.GatedMlp(config, compute, lora=lora, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "tokens embed"],
        angles: rope.Rotation,
        segments: Int[Array, "batch time"] | None,
        window: Int[Array, ""] | None,
    ) -> Float[Array, "tokens embed"]:
        """Returns the residual stream."""
        mixed = self.attention(self.attention_norm(x), angles, segments, window)
        x = sharding.constrain(x + mixed, self.stream, None)
        x = x + self.mlp(self.mlp_norm(x))
        return sharding.constrain(x, self.stream, None)


class Qwen3(nnx.Module):
    """A dense Qwen3 language model (arXiv:2505.09388, section 2).

    The weights of all layers are stacked: every array in `layers` has a leading axis.
    """

    def __init__(
        self,
        config: Qwen3Config,
        compute: Compute,
        *,
        lora: Lora | None = None,
        rngs: nnx.Rngs,
    ):
        """Creates random weights; `weights.py` is the usual way to a model.

        Args:
          config: The model's sizes.
          compute: How it computes.
          lora: Adapters beside the projections of each layer, if any; see `lora.py`.
          rngs: Only the "params" stream is drawn from.
        """
        shape = (config.vocab_size, config.hidden_size)
        self.config = config
        self.compute = compute
        self.lora = lora
        self.embedding = nnx.Param(
            _embedding_init(rngs.params(), shape, compute.param_dtype),
            out_sharding=("vocab", "embed"),
        )
        self.layers = _stacked_layers(
            config, compute, lora, rngs.split(config.num_layers)
        )
        self.norm = _stream_norm(config, compute)
        if not config.tie_embeddings:
            self.head = nnx.Param(
                _head_init(rngs.params(), shape, compute.param_dtype),
                out_sharding=("vocab", "embed"),
            )

    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        segments: Int[Array, "batch time"] | None,
    ) -> Float[Array, "batch time embed"]:
        """Computes the final hidden state of every token.

        Args:
          tokens: Ids.
          positions: Of each token in its own sequence, from 0.
          segments: Which sequence of its row a token belongs to, from 1; 0 is
            padding. Tokens see earlier tokens of their own sequence only. None if
            each row is one sequence and then padding, for which more kernels exist.

        Returns:
          Hidden states after the final norm, for `logits`. Those of padding mean
          nothing.
        """
        # Flat: with [batch, time, embed] XLA transposes activations before the
        # gradient of every matrix, a third of the time of a small model's step.
        x = self._embed(tokens.reshape(-1), self.compute.stream)
        angles = self._angles(positions)
        graphdef, stacked = nnx.split(self.layers)

        def run(x, scanned):
            params, window = scanned
            x = checkpoint_name(x, _STREAM)
            return nnx.merge(graphdef, params)(x, angles, segments, window), None

        x, _ = lax.scan(
            _remat(run, self.compute.remat),
            x,
            (stacked, self.config.windows()),
            unroll=_unroll(self.compute, self.config.num_layers),
        )
        hidden = self.norm(x).reshape(*tokens.shape, -1)
        return sharding.constrain(hidden, "batch", None, None)

    def logits(self, hidden: Float[Array, "*batch embed"]) -> Float[Array, "*batch v"]:
        """Returns the float32 scores of every possible next token."""
        scores = jnp.matmul(
            hidden.reshape(-1, hidden.shape[-1]).astype(self.compute.dtype),
            self._head().T,
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
            hidden.reshape(-1, hidden.shape[-1]).astype(self.compute.dtype),
            self._head(),
            chosen.reshape(-1),
            temperature=temperature,
        )
        return logprobs.reshape(chosen.shape), entropies.reshape(chosen.shape)

    def _embed(
        self, tokens: Int[Array, " tokens"], axis: str | None
    ) -> Float[Array, "tokens embed"]:
        table = self.embedding[...].astype(self.compute.dtype)
        x = sharding.constrain(table, "vocab", None)[tokens]
        return sharding.constrain(x, axis, None)

    def _head(self) -> Float[Array, "vocab embed"]:
        """Returns the output embedding in the dtype of the products."""
        table = self.embedding if self.config.tie_embeddings else self.head
        table = table[...].astype(self.compute.dtype)
        return sharding.constrain(table, "vocab", None)

    def _angles(self, positions: Int[Array, "*batch"]) -> rope.Rotation:
        return rope.rotation(
            positions,
            head_dim=self.config.head_dim,
            theta=self.config.rope_theta,
            scaling=self.config.rope_scaling,
        )


def _stacked_layers(
    config: Qwen3Config, compute: Compute, lora: Lora | None, rngs: nnx.Rngs
) -> Layer:
    """Returns all layers as one, from as many random streams."""

    @nnx.vmap(transform_metadata={nnx.PARTITION_NAME: "layers"})
    def make(rngs: nnx.Rngs) -> Layer:
        return Layer(config, compute, lora=lora, rngs=rngs)

    return make(rngs)


def _remat(run: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Makes the backward pass recompute what `Compute.remat` says."""
    policies = jax.checkpoint_policies
    match name:
        case "none":
            return run
        case "full":
            policy = None
        case "dots":
            policy = policies.dots_with_no_batch_dims_saveable
        case "offload":
            policy = policies.save_and_offload_only_these_names(
                names_which_can_be_saved=[],
                names_which_can_be_offloaded=[_STREAM],
                offload_src="device",
                offload_dst="pinned_host",
            )
    return jax.checkpoint(run, policy=policy, prevent_cse=False)


def _unroll(compute: Compute, num_layers: int) -> int:
    """Returns how many layers one iteration of the loop over them has.

    With remat never all: of a program without a loop XLA schedules what is to be
    recomputed early, and then keeps it (seen on CPU, where eight layers under a small
    head took 1.8 GiB instead of 1.2).
    """
    most = num_layers if compute.remat == "none" else max(num_layers // 2, 1)
    return min(compute.unroll, most)


def _stream_norm(config: Qwen3Config, compute: Compute) -> norm.RmsNorm:
    return norm.RmsNorm(config.hidden_size, "embed", config, compute)
