"""The Vendi score: how many different rows a dataset amounts to.

Friedman and Dieng 2022 (arXiv:2210.02410). It knows nothing of what rows are good for.
"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Float
import numpy as np
from scipy import linalg
from scipy import special

from datachef_jax.recipes import dataset
from datachef_jax.verifier.baselines import embeddings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diversity:
    """How different the rows of a dataset are from one another.

    Attributes:
      score: Effective number of different rows, in [1, rows]; NaN if there is none.
      rows: How many were compared.
      cut: How many of those were too long and lost their end.
    """

    score: float
    rows: int
    cut: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vendi:
    """Measures datasets by the Vendi score of their rows' vectors.

    The score grows with the rows that are compared: datasets of different sizes are
    alike in this only where all have at least `max_rows`.

    Attributes:
      embedder: Gives the vectors; see there for what its pooling does to diversity.
        The authors use sentence embeddings of an encoder.
      max_rows: Of a larger dataset so many rows are drawn, without replacement.
      seed: Of the draw.
    """

    embedder: embeddings.Embedder
    max_rows: int
    seed: int

    def __post_init__(self):
        if self.max_rows < 1:
            raise ValueError(f"max_rows must be at least 1, got {self.max_rows}")

    def rate(self, pairs: Sequence[tuple[str, str]]) -> Diversity:
        """Compares rows, given as question and answer."""
        drawn = dataset.draw(len(pairs), self.max_rows, self.seed)
        embedded = self.embedder.embed([pairs[i] for i in drawn.tolist()])
        return Diversity(
            score=vendi_score(embedded.vectors),
            rows=len(drawn),
            cut=int(embedded.cut.sum()),
        )

    def measure(self, pairs: Sequence[tuple[str, str]]) -> float:
        """Returns the Vendi score of a dataset."""
        return self.rate(pairs).score


def vendi_score(vectors: Float[np.ndarray, "rows embed"]) -> float:
    """Returns e to the entropy of the eigenvalues of the cosine kernel / rows.

    The definition of the paper's section 3, with the cosine as similarity: n orthogonal
    vectors give n, n equal ones 1. The time is cubic in the smaller of rows and width,
    for the kernel and the covariance of the unit vectors have the same eigenvalues
    beside zeros.

    Args:
      vectors: None of them zero.

    Returns:
      A number in [1, rows]; NaN if there is no row.
    """
    if not len(vectors):
        return float("nan")
    directions = embeddings.unit(vectors)
    if len(directions) > directions.shape[1]:
        directions = directions.T
    kernel = directions @ directions.T / len(vectors)
    # Rounding makes some of the zeros negative.
    eigenvalues = np.maximum(linalg.eigvalsh(kernel), 0.0)
    return float(np.exp(special.entr(eigenvalues).sum()))
