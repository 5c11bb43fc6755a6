"""The weights that an engine works with, and which of them it has had."""

import weakref

from flax import nnx
import jax

from datachef_jax.models.qwen3 import int8_decoder
from datachef_jax.models.qwen3.quantize import Stored


class Epochs:
    """Takes a model's weights apart for decoding, once for as long as they stay.

    What has been read with other weights is of no use. The device tells weights apart
    by their epoch, from 1, so that nobody's version can repeat another's.

    Attributes:
      versions: What the caller calls the weights of each epoch.
      graphdef: Of the decoder, once there are weights.
    """

    def __init__(self, stacked: nnx.GraphDef, stored: Stored):
        """Begins without weights.

        Args:
          stacked: Of the model, from `nnx.split(model, nnx.Param)`.
          stored: In which numbers weights are kept.
        """
        self.versions: list[int] = []
        self.graphdef: nnx.GraphDef | None = None
        self._stacked = stacked
        self._stored = stored
        self._decoder: nnx.State | None = None
        self._sources: list[weakref.ref[jax.Array]] = []  # what it was made of

    @property
    def current(self) -> int:
        """Returns the epoch of the last weights."""
        return len(self.versions)

    def take(self, params: nnx.State, version: int) -> nnx.State:
        """Returns the decoder's weights; those of the last call are kept.

        Args:
          params: The model's.
          version: Other weights, or another version, than before begin an epoch.
        """
        given = jax.tree.leaves(params)
        # Every one: where only adapters learn, all else stays the very same.
        same = len(given) == len(self._sources) and all(
            source() is x for source, x in zip(self._sources, given, strict=True)
        )
        if not same:
            self._decoder = None  # frees them before there are new ones
            model = nnx.merge(self._stacked, params)
            decoder = int8_decoder.decoder(model, self._stored)
            self.graphdef, self._decoder = nnx.split(decoder, nnx.Param)
            self._sources = [weakref.ref(x) for x in given]
        if not same or version != self.versions[-1]:
            self.versions.append(version)
        return self._decoder

    def forget(self) -> None:
        """Frees the decoder's weights."""
        self._decoder = None
        self._sources = []
