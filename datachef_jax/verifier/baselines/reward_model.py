"""A reward model: a linear head on what a model makes of a whole row.

The head is either fitted here, to grades of any kind, or read from a Hugging Face
folder of a `Qwen3ForSequenceClassification` with one label, the form in which reward
models are published; `models.qwen3.weights.load` reads the model in the same folder.
"""

from collections.abc import Sequence
import dataclasses
import json
import os
import pathlib

from jaxtyping import Float
import numpy as np
import safetensors
from sklearn import linear_model

from datachef_jax.verifier.baselines import embeddings

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_NAME = "score.weight"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """A linear function of a vector.

    Attributes:
      weights: float64.
      bias: The reward of the zero vector.
    """

    weights: Float[np.ndarray, " embed"]
    bias: float

    def __call__(
        self, vectors: Float[np.ndarray, "rows embed"]
    ) -> Float[np.ndarray, " rows"]:
        """Returns the reward of each vector."""
        return vectors.astype(np.float64) @ self.weights + self.bias


def fit(
    vectors: Float[np.ndarray, "rows embed"],
    labels: Float[np.ndarray, " rows"],
    *,
    penalty: float,
) -> Head:
    """Fits a head by ridge regression.

    Minimises the sum of squared errors + penalty x the sum of squared weights; the bias
    is free.

    Args:
      vectors: Of graded rows.
      labels: Their grades, on any scale, which becomes that of the rewards.
      penalty: At least 0.

    Raises:
      ValueError: If there are no rows, or any number is not finite.
    """
    ridge = linear_model.Ridge(alpha=penalty)
    ridge.fit(vectors.astype(np.float64), labels.astype(np.float64))
    return Head(weights=ridge.coef_, bias=float(ridge.intercept_))


def load(folder: str | os.PathLike) -> Head:
    """Reads the head of a `Qwen3ForSequenceClassification` with one label.

    Args:
      folder: With the weights as one `model.safetensors`, or as several with an index.

    Raises:
      ValueError: If there is no head, or one with several labels.
    """
    folder = pathlib.Path(folder)
    name = _SINGLE
    if (folder / _INDEX).exists():
        places = json.loads((folder / _INDEX).read_text())["weight_map"]
        name = places.get(_NAME, name)
    if not (folder / name).exists():
        raise ValueError(f"{folder} has no {name} with {_NAME}")
    with safetensors.safe_open(folder / name, framework="numpy") as file:
        if _NAME not in file.keys():
            raise ValueError(f"{folder / name} lacks {_NAME}")
        weights = file.get_tensor(_NAME)
    if weights.ndim != 2 or weights.shape[0] != 1:
        raise ValueError(
            f"{folder / name}: {_NAME} has shape {weights.shape}, wanted is (1, embed)"
        )
    return Head(weights=weights[0].astype(np.float64), bias=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rewards:
    """What the head thinks of the rows of a dataset.

    Attributes:
      rewards: One for each row, on the scale of the head, float64.
      cut: How many rows were too long and lost their end.
    """

    rewards: Float[np.ndarray, " rows"]
    cut: int

    @property
    def score(self) -> float:
        """Returns the mean reward, NaN if there is no row."""
        return float(self.rewards.mean()) if self.rewards.size else float("nan")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardModel:
    """Measures datasets by the mean reward of their rows.

    Attributes:
      embedder: Of the backbone; its pooling must be "last", for which published heads
        are made.
      head: On its vectors.
    """

    embedder: embeddings.Embedder
    head: Head

    def __post_init__(self):
        if self.embedder.pooling != "last":
            raise ValueError(
                f"pooling must be 'last' for a reward, got {self.embedder.pooling!r}"
            )

    def rate(self, pairs: Sequence[tuple[str, str]]) -> Rewards:
        """Scores rows, given as question and answer."""
        embedded = self.embedder.embed(pairs)
        cut = int(embedded.cut.sum())
        return Rewards(rewards=self.head(embedded.vectors), cut=cut)

    def measure(self, pairs: Sequence[tuple[str, str]]) -> float:
        """Returns the mean reward of a dataset."""
        return self.rate(pairs).score
