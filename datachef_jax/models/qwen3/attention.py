"""Grouped-query attention: the module, and its implementation in plain jnp."""

import functools
from typing import NamedTuple

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from datachef_jax.models.qwen3 import kernels
from datachef_jax.models.qwen3 import norm
from datachef_jax.models.qwen3 import rope
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Lora
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.projection import Projection
from datachef_jax.parallel import sharding

_QUERY_BLOCK = 128
_LONGEST_UNROLLED = 1024


class KeysValues(NamedTuple):
    """Keys and values of one layer; slot t of a row holds its token t.

    Keys are transposed, as the product with queries wants them.
    """

    keys: Float[Array, "batch kv_heads head_dim slots"]
    values: Float[Array, "batch kv_heads slots head_dim"]


class Attention(nnx.Module):
    """Self-attention of Qwen3: GQA, RoPE, RMSNorm on each query and key head.

    Source: Qwen3 technical report, arXiv:2505.09388, section 2. The heads of one
    projection stand side by side.
    """

    def __init__(
        self,
        config: Qwen3Config,
        compute: Compute,
        *,
        lora: Lora | None,
        rngs: nnx.Rngs,
    ):
        """Creates the weights; arguments as for `Qwen3`. Softmax is in float32."""
        self.config = config
        embed = config.hidden_size
        heads = config.num_heads * config.head_dim
        kv_heads = config.num_kv_heads * config.head_dim
        shared = dict(compute=compute, lora=lora, rngs=rngs)
        keyed = dict(shape=(embed, kv_heads), axes=("embed", "kv_heads"), **shared)
        self.query = Projection(
            (embed, heads), axes=("embed", "heads"), name="q_proj", **shared
        )
        self.key = Projection(name="k_proj", **keyed)
        self.value = Projection(name="v_proj", **keyed)
        self.out = Projection(
            (heads, embed), axes=("heads", "embed"), name="o_proj", **shared
        )
        if config.qk_norm:
            self.query_norm, self.key_norm = (
                norm.RmsNorm(config.head_dim, "head_dim", config, compute)
                for _ in range(2)
            )

    @jax.named_scope("attention")
    def __call__(
        self,
        x: Float[Array, "tokens embed"],
        angles: rope.Rotation,
        segments: Int[Array, "batch time"] | None,
        window: Int[Array, ""] | None,
    ) -> Float[Array, "tokens embed"]:
        """Attends within the given tokens.

        Args:
          x: Normalized residual stream, row after row.
          angles: Of every token's position.
          segments: See `causal`.
          window: How many tokens a token sees, itself included; None for all.

        Returns:
          What is added to the residual stream.
        """
        query, key, value = self.project(x, angles)
        return self.output(self._mix(query, key, value, segments, window))

    def project(
        self, x: Float[Array, "tokens embed"], angles: rope.Rotation
    ) -> tuple[
        Float[Array, "*batch heads head_dim"],
        Float[Array, "*batch kv_heads head_dim"],
        Float[Array, "*batch kv_heads head_dim"],
    ]:
        """Returns rotated queries and keys, and values, shaped like the angles."""
        batch = angles.cos.shape[:-1]
        whole = (None,) * (len(batch) - 1)

        def split(projected: Float[Array, "tokens out"], axis: str):
            heads = projected.reshape(*batch, -1, self.config.head_dim)
            return sharding.constrain(heads, "batch", *whole, axis, None)

        query = split(self.query(x), "heads")
        key, value = split(self.key(x), "kv_heads"), split(self.value(x), "kv_heads")
        if self.config.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        return rope.rotate(query, angles), rope.rotate(key, angles), value

    def _mix(
        self,
        query: Float[Array, "batch time heads head_dim"],
        key: Float[Array, "batch time kv_heads head_dim"],
        value: Float[Array, "batch time kv_heads head_dim"],
        segments: Int[Array, "batch time"] | None,
        window: Int[Array, ""] | None,
    ) -> Float[Array, "batch time heads head_dim"]:
        """Attends with what is fastest where the program is going to run."""
        choose = functools.partial(
            kernels.choose,
            kernels.platform(),
            query.dtype.name,
            packed=segments is not None,
        )

        def attend(window: Int[Array, ""] | int | None) -> Array:
            choice = choose(window=window is not None)
            kernels.warn(choice)
            if choice.name == "blocked":
                by_heads = query.swapaxes(1, 2)
                filled = KeysValues(
                    keys=key.transpose(0, 2, 3, 1), values=value.transpose(0, 2, 1, 3)
                )
                mixed = causal(by_heads, filled, segments, window=window)
                return mixed.swapaxes(1, 2)
            return kernels.find(choice, window=window)(query, key, value, segments)

        if window is None or choose(window=False).name == "blocked":
            return attend(window)
        # The masks of kernels are static, and all windows of a model are the same.
        size = self.config.sliding_window
        return lax.cond(window == size, lambda: attend(size), lambda: attend(None))

    def output(
        self, mixed: Float[Array, "*batch heads head_dim"]
    ) -> Float[Array, "tokens embed"]:
        """Returns what attention adds to the residual stream."""
        return self.out(mixed.reshape(-1, mixed.shape[-2] * mixed.shape[-1]))


def causal(
    query: Float[Array, "batch heads time head_dim"],
    filled: KeysValues,
    segments: Int[Array, "batch time"] | None,
    *,
    window: Int[Array, ""] | int | None,
) -> Float[Array, "batch heads time head_dim"]:
    """Attends from every token to the tokens before it in its own segment.

    Works through the queries block by block: the scores of a block fit a CPU's cache,
    and those of all tokens never exist. A short sequence's blocks see the keys up to
    their own end, so half of the scores are never computed (for 600 tokens a forward
    and backward pass took half the time). A long one's go through one loop, which sees
    all keys and keeps nothing for the backward pass.

    Args:
      query: Queries of all tokens.
      filled: Keys and values of the same tokens, slot t for token t.
      segments: Which sequence of its row a token belongs to; 0 is padding. None if each
        row is one sequence and then padding.
      window: How many tokens a token sees, itself included; None for all.

    Returns:
      The mixed values; those of padding mean nothing.
    """
    if segments is None:
        segments = jnp.ones((query.shape[0], query.shape[2]), jnp.int32)
    if query.shape[2] > _LONGEST_UNROLLED:
        return _looped(query, filled, segments, window)
    blocks = []
    for start in range(0, query.shape[2], _QUERY_BLOCK):
        end = min(start + _QUERY_BLOCK, query.shape[2])
        seen = KeysValues(keys=filled.keys[..., :end], values=filled.values[:, :, :end])
        own, all_seen = segments[:, start:end], segments[:, :end]
        visible = _visible(own, all_seen, start, window)
        blocks.append(grouped(query[:, :, start:end], seen, visible))
    return jnp.concatenate(blocks, axis=2)


def _looped(
    query: Float[Array, "batch heads time head_dim"],
    filled: KeysValues,
    segments: Int[Array, "batch time"],
    window: Int[Array, ""] | int | None,
) -> Float[Array, "batch heads time head_dim"]:
    """Does the same with a loop over blocks, in memory that grows with `time` only."""
    batch, heads, time, head_dim = query.shape
    room = -time % _QUERY_BLOCK
    queries = jnp.pad(query, ((0, 0), (0, 0), (0, room), (0, 0)))
    queries = queries.reshape(batch, heads, -1, _QUERY_BLOCK, head_dim)
    own = jnp.pad(segments, ((0, 0), (0, room))).reshape(batch, -1, _QUERY_BLOCK)

    @jax.checkpoint
    def block(_, scanned):
        start, query, own = scanned
        return None, grouped(query, filled, _visible(own, segments, start, window))

    starts = jnp.arange(0, time + room, _QUERY_BLOCK)
    rows = (starts, jnp.moveaxis(queries, 2, 0), jnp.moveaxis(own, 1, 0))
    _, mixed = lax.scan(block, None, rows)
    mixed = jnp.moveaxis(mixed, 0, 2).reshape(batch, heads, -1, head_dim)
    return mixed[:, :, :time]


def _visible(
    own: Int[Array, "batch block"],
    segments: Int[Array, "batch slots"],
    start: Int[Array, ""] | int,
    window: Int[Array, ""] | int | None,
) -> Bool[Array, "batch block slots"]:
    """Says which slots the tokens of a block, the first of which is `start`, see."""
    step = (start + jnp.arange(own.shape[1]))[:, None]
    slot = jnp.arange(segments.shape[1])[None, :]
    reach = step >= slot
    if window is not None:
        reach &= step - slot < window
    same = (own[:, :, None] == segments[:, None, :]) & (own > 0)[:, :, None]
    return same & reach[None]


def grouped(
    query: Float[Array, "batch heads time head_dim"],
    filled: KeysValues,
    visible: Bool[Array, "batch time slots"],
) -> Float[Array, "batch heads time head_dim"]:
    """Softmax attention in which consecutive query heads share a key head.

    The queries of one key head are stacked into one matrix, so keys and values are
    neither repeated nor read twice. Source: Ainslie et al. 2023, arXiv:2305.13245.

    Args:
      query: Queries; head n looks at key head `n * kv_heads // heads`.
      filled: Keys and values.
      visible: [b, t, s] is True where query t may look at slot s. A query that sees
        nothing gets the mean of all values: no NaN, and nothing to rely on.

    Returns:
      The mixed values, in the dtype of the queries.
    """
    batch, heads, time, head_dim = query.shape
    kv_heads, slots = filled.values.shape[1:3]
    stacked = query.reshape(batch, kv_heads, -1, head_dim) * head_dim**-0.5
    scores = jnp.matmul(stacked, filled.keys, preferred_element_type=jnp.float32)
    scores = scores.reshape(batch, heads, time, slots)
    # Finite, so that a query that sees nothing stays finite too.
    scores = jnp.where(visible[:, None], scores, jnp.finfo(jnp.float32).min)
    top = lax.stop_gradient(scores.max(-1, keepdims=True))
    weights = jnp.exp(scores - top)
    total = weights.sum(-1, keepdims=True)
    weights = weights.astype(query.dtype).reshape(batch, kv_heads, -1, slots)
    mixed = jnp.matmul(weights, filled.values, preferred_element_type=jnp.float32)
    # Divided here and not before: head_dim numbers a query instead of `slots`.
    mixed = mixed.reshape(batch, heads, time, head_dim) / total
    return mixed.astype(query.dtype)
