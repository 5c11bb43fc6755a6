"""One vector for each row of a dataset: a model's hidden states, pooled.

Whoever asks chooses the pooling. "last" takes the state of the last token, the only
one that has seen the whole row: so do DEITA's embedder (github.com/hkust-nlp/deita,
clm_embedder.py) and the reward models of transformers' `ForSequenceClassification`.
"mean" takes the mean over the row's tokens, as the authors of IFD do to spread their
first choice of rows (github.com/tianyi-lab/Cherry_LLM, data_analysis.py). The last
tokens of a chat are the same in all rows, so "mean" is our choice where diversity is
all that counts. Which of the two is better there has not been measured.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from datachef_jax.text.tokenizer import ChatTokenizer

POOLINGS = ("last", "mean")

_NARROWEST = 32  # tokens; narrower batches save nothing and cost a program each


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedded:
    """Rows as vectors.

    Attributes:
      vectors: float32, not normalised.
      cut: Which rows were too long and lost their end.
    """

    vectors: Float[np.ndarray, "rows embed"]
    cut: Bool[np.ndarray, " rows"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedder:
    """A model's view of rows; a row's vector depends on the row alone.

    Rows of like length are read together, in batches whose widths are powers of two:
    one compiled program for each width. To be used in one process.

    Attributes:
      graphdef: Of the model, from `nnx.split(model, nnx.Param)`.
      params: Its weights.
      tokenizer: Its tokenizer.
      pooling: "last" or "mean", over the tokens of the chat of question and answer,
        the line break after the answer included.
      max_tokens: Longer rows lose their end.
      batch_tokens: Of one batch, padding included, but at least one row.
    """

    graphdef: nnx.GraphDef
    params: nnx.State
    tokenizer: ChatTokenizer
    pooling: str
    max_tokens: int
    batch_tokens: int

    def __post_init__(self):
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling {self.pooling!r} is none of {POOLINGS}")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}")
        if self.batch_tokens < 1:
            raise ValueError(
                f"batch_tokens must be at least 1, got {self.batch_tokens}"
            )

    def embed(self, pairs: Sequence[tuple[str, str]]) -> Embedded:
        """Returns a vector for each row.

        Args:
          pairs: Question and answer of each row.
        """
        chats = [self._chat(*pair) for pair in pairs]
        rows = [chat[: self.max_tokens] for chat in chats]
        batches = list(self._batches(rows))
        # All are under way before the first is waited for.
        pooled = [
            _pool(
                self.params,
                tokens,
                lengths,
                graphdef=self.graphdef,
                pooling=self.pooling,
            )
            for _, tokens, lengths in batches
        ]
        width = nnx.merge(self.graphdef, self.params).config.hidden_size
        vectors = np.zeros((len(pairs), width), np.float32)
        for (places, *_), found in zip(batches, jax.device_get(pooled), strict=True):
            vectors[places] = found[: len(places)]
        cut = np.array([len(chat) > self.max_tokens for chat in chats], bool)
        return Embedded(vectors=vectors, cut=cut)

    def _chat(self, question: str, answer: str) -> list[int]:
        messages = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        return self.tokenizer.chat(messages, generation_prompt=False)

    def _batches(
        self, rows: Sequence[list[int]]
    ) -> Iterator[
        tuple[list[int], Int[np.ndarray, "batch time"], Int[np.ndarray, " batch"]]
    ]:
        """Yields which rows, their tokens and their lengths, filled up with padding."""
        by_width: dict[int, list[int]] = {}
        for i, row in enumerate(rows):
            by_width.setdefault(self._width(len(row)), []).append(i)
        for width, members in sorted(by_width.items()):
            size = max(self.batch_tokens // width, 1)
            for first in range(0, len(members), size):
                places = members[first : first + size]
                tokens = np.full((size, width), self.tokenizer.pad_id, np.int32)
                lengths = np.ones(size, np.int32)  # a row of padding is one token long
                for line, place in enumerate(places):
                    tokens[line, : len(rows[place])] = rows[place]
                    lengths[line] = len(rows[place])
                yield places, tokens, lengths

    def _width(self, length: int) -> int:
        width = _NARROWEST
        while width < length:
            width *= 2
        return min(width, self.max_tokens)


def unit(vectors: Float[np.ndarray, "rows embed"]) -> Float[np.ndarray, "rows embed"]:
    """Returns vectors divided by their Euclidean lengths, as float64; zeros stay."""
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0.0, 1.0, lengths)


@functools.partial(jax.jit, static_argnames=("graphdef", "pooling"))
def _pool(
    params: nnx.State,
    tokens: Int[Array | np.ndarray, "batch time"],
    lengths: Int[Array | np.ndarray, " batch"],
    *,
    graphdef: nnx.GraphDef,
    pooling: str,
) -> Float[Array, "batch embed"]:
    """Pools the hidden states after the final norm over each row's own tokens."""
    batch, time = tokens.shape
    positions = jnp.broadcast_to(jnp.arange(time), (batch, time))
    hidden = nnx.merge(graphdef, params)(tokens, positions, None)
    hidden = hidden.astype(jnp.float32)
    lengths = lengths[:, None]
    if pooling == "last":
        last = jnp.take_along_axis(hidden, lengths[:, :, None] - 1, axis=1)
        return last[:, 0]
    real = (positions < lengths)[:, :, None]
    return jnp.where(real, hidden, 0.0).sum(axis=1) / lengths
