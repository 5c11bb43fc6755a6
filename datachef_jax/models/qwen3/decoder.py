"""Qwen3 as the generation engine runs it: layer by layer, its cache in pages."""

import types

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from datachef_jax.models.qwen3 import block_tables
from datachef_jax.models.qwen3 import kernels
from datachef_jax.models.qwen3 import paged
from datachef_jax.models.qwen3 import ragged
from datachef_jax.models.qwen3 import rope
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.model import Layer
from datachef_jax.models.qwen3.model import Qwen3

Pages = paged.Pages | ragged.Pages | block_tables.Pages
Reads = paged.Reads | paged.Tiles | ragged.Reads | block_tables.Reads

_PLATFORMS = {"tpu": ragged, "gpu": block_tables}


def empty(
    config: Qwen3Config, dtype: DTypeLike, *, count: int, size: int, decodes: bool
) -> tuple[Pages, ...]:
    """Returns pages for every layer, in the layout of what is compiled for.

    Args:
      config: The model's sizes.
      dtype: Of keys and values; on a TPU anything but int8, on a GPU but float8.
      count: How many pages there are.
      size: Positions of a page.
      decodes: Whether rows decode from them: plain jnp keeps others in another way.

    Raises:
      ValueError: If the platform's kernel cannot read such keys and values.
    """
    module = _PLATFORMS.get(kernels.platform())
    if module is None:
        return paged.empty(config, dtype, count=count, size=size, decodes=decodes)
    return module.empty(config, dtype, count=count, size=size)


def layout(pages: Pages) -> types.ModuleType:
    """Returns the module that knows the layout: `write`, `copy`, `attend` and so on."""
    return next((x for x in _PLATFORMS.values() if isinstance(pages, x.Pages)), paged)


class Decoder(Qwen3):
    """A Qwen3 with an array of its own for each weight of each layer.

    What is stacked would be copied out of the stack for every token.
    """

    def __init__(self, model: Qwen3):
        """Takes the stacked weights of a model apart."""
        self.config = model.config
        self.compute = model.compute
        self.embedding = model.embedding
        self.norm = model.norm
        if not model.config.tie_embeddings:
            self.head = model.head
        graphdef, stacked = nnx.split(model.layers)
        self.layers = nnx.List(
            self.prepare(nnx.merge(graphdef, jax.tree.map(lambda x: x[i], stacked)))
            for i in range(model.config.num_layers)
        )

    def prepare(self, layer: Layer) -> Layer:
        """Returns a layer as it is to be stored."""
        return layer

    def extend(
        self,
        tokens: Int[Array, " tokens"],
        positions: Int[Array, " tokens"],
        pages: tuple[Pages, ...],
        places: paged.Places,
        reads: Reads,
    ) -> tuple[Float[Array, "tokens embed"], tuple[Pages, ...]]:
        """Appends tokens to many sequences.

        Args:
          tokens: Ids of the new tokens.
          positions: Of each in its own sequence, from 0.
          pages: Of every layer.
          places: Where the new tokens' keys and values go.
          reads: Which pages each token sees: what `reads_of_rows` of the pages' layout
            returns if every sequence gets one token, or `reads_of_prompts`.

        Returns:
          The hidden state of each new token after the final norm, and the pages.
        """
        x, angles = self._embed(tokens, None), self._angles(positions)
        filled = []
        for i, before in enumerate(pages):
            query, after = self._write(i, x, angles, before, places)
            x = self._mix(i, x, query, after, reads)
            filled.append(after)
        return self.norm(x), tuple(filled)

    def read(
        self,
        tokens: Int[Array, " tokens"],
        positions: Int[Array, " tokens"],
        pages: tuple[Pages, ...],
        places: paged.Places,
        packed: paged.Packed,
        *,
        every: Bool[Array, ""],
    ) -> tuple[
        Float[Array, "sequences embed"],
        Float[Array, "tokens embed"],
        tuple[Pages, ...],
    ]:
        """Appends tokens to prompts, of which mostly the last one's state is asked for.

        The last layer's keys and values are needed of every token. What follows them
        there, most of a layer, is computed for each sequence's last new token alone.

        Args:
          tokens: Ids of the new tokens.
          positions: Of each in its own sequence, from 0.
          pages: Of every layer.
          places: Where the new tokens' keys and values go.
          packed: The new tokens' sequences.
          every: Whether the states of all tokens are asked for.

        Returns:
          The hidden state of each sequence's last new token after the final norm, which
          means nothing where there is none; that of each token, 0 unless asked for; and
          the pages.
        """
        x, angles = self._embed(tokens, None), self._angles(positions)
        paging, filled, last = layout(pages[0]), [], len(pages) - 1
        reads = paging.reads_of_prompts(pages[0], packed)
        for i, before in enumerate(pages):
            query, after = self._write(i, x, angles, before, places)
            filled.append(after)
            if i < last:
                x = self._mix(i, x, query, after, reads)
        ends = jnp.maximum(jnp.cumsum(packed.counts) - 1, 0)
        alone = packed._replace(
            starts=packed.starts + packed.counts - 1,
            counts=jnp.minimum(packed.counts, 1),
            sequence=jnp.arange(ends.size),
            position=positions[ends],
            valid=packed.counts > 0,
        )
        at_ends = self._mix(
            last,
            x[ends],
            query[ends],
            after,
            paging.reads_of_prompts(pages[0], alone),
        )
        everywhere = lax.cond(
            every,
            lambda: self.norm(self._mix(last, x, query, after, reads)),
            lambda: jnp.zeros_like(x),
        )
        return self.norm(at_ends), everywhere, tuple(filled)

    def _write(
        self,
        i: int,
        x: Float[Array, "tokens embed"],
        angles: rope.Rotation,
        pages: Pages,
        places: paged.Places,
    ) -> tuple[Float[Array, "tokens heads head_dim"], Pages]:
        """Returns the queries of a layer, and its pages with the new keys."""
        layer = self.layers[i]
        query, key, value = layer.attention.project(layer.attention_norm(x), angles)
        return query, layout(pages).write(pages, key, value, places)

    def _mix(
        self,
        i: int,
        x: Float[Array, "tokens embed"],
        query: Float[Array, "tokens heads head_dim"],
        pages: Pages,
        reads: Reads,
    ) -> Float[Array, "tokens embed"]:
        """Returns what a layer makes of tokens whose keys are in its pages."""
        layer, window = self.layers[i], self.config.window(i)
        mixed = layout(pages).attend(query, pages, reads, window=window)
        x = x + layer.attention.output(mixed)
        return x + layer.mlp(layer.mlp_norm(x))
