"""Qwen3 as the generation engine runs it: layer by layer, its cache in pages."""

import types

from flax import nnx
import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from datachef_jax.models.qwen3 import block_tables
from datachef_jax.models.qwen3 import kernels
from datachef_jax.models.qwen3 import paged
from datachef_jax.models.qwen3 import ragged
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
        x = self._embed(tokens, None)
        angles = self._angles(positions)
        paging, filled = layout(pages[0]), []
        for i, (layer, before) in enumerate(zip(self.layers, pages, strict=True)):
            query, key, value = layer.attention.project(layer.attention_norm(x), angles)
            after = paging.write(before, key, value, places)
            mixed = paging.attend(query, after, reads, window=self.config.window(i))
            x = x + layer.attention.output(mixed)
            x = x + layer.mlp(layer.mlp_norm(x))
            filled.append(after)
        return self.norm(x), tuple(filled)
