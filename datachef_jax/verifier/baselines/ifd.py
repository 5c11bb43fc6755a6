"""IFD: how little a question helps a model with its answer.

The instruction-following difficulty of Li et al. 2023 (arXiv:2308.12032): the loss of
the answer after its question, divided by the loss of the answer alone. Near 1 the
question is no help, which makes the row worth learning; above 1 it misleads, and the
authors leave such rows out, taking question and answer not to belong together.

Deviations: the model reads our chat format, not Alpaca's; the answer includes its end
token; and the model is the given one, where the authors first fine-tune it a little on
rows of the same data.
"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Float
import numpy as np

from datachef_jax.serving.client import Client
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.verifier.baselines import perplexity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difficulty:
    """How hard the rows of a dataset are.

    Attributes:
      ratio: nll(answer | question) / nll(answer) of each row, float64, at least 0; NaN
        where the question alone is longer than what is read.
      cut: How many rows were too long.
    """

    ratio: Float[np.ndarray, " rows"]
    cut: int

    @property
    def excluded(self) -> int:
        """Returns how many rows have a question that misleads."""
        return int((self.ratio > 1.0).sum())

    @property
    def score(self) -> float:
        """Returns the mean over the rows that are not excluded, NaN without any."""
        kept = self.ratio[self.ratio <= 1.0]
        return float(kept.mean()) if kept.size else float("nan")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ifd:
    """Measures datasets by the difficulty of following their questions.

    Attributes:
      client: Of the model that is to be fine-tuned, or one like it.
      tokenizer: Its tokenizer.
      max_tokens: Of a row, at most the client's longest prompt. Longer rows lose
        their end; those that lose all of their answer are not counted.
    """

    client: Client
    tokenizer: ChatTokenizer
    max_tokens: int

    def __post_init__(self):
        perplexity.check_max_tokens(self.tokenizer, self.max_tokens)

    def rate(self, pairs: Sequence[tuple[str, str]]) -> Difficulty:
        """Reads rows, given as question and answer.

        Of a row that is cut, the same tokens of the answer are read both times.
        """
        asked = [
            perplexity.conditional(self.tokenizer, *pair, self.max_tokens)
            for pair in pairs
        ]
        unasked = [
            perplexity.alone(self.tokenizer, answer, prompt.answer)
            for (_, answer), prompt in zip(pairs, asked, strict=True)
        ]
        nll = perplexity.mean_nll(self.client, asked + unasked)
        given, free = nll[: len(pairs)], nll[len(pairs) :]
        # An answer that is certain anyway cannot become harder or easier to write.
        certain = (given == 0.0) & (free == 0.0)
        ratio = np.divide(given, free, out=np.full_like(given, np.inf), where=free != 0)
        return Difficulty(
            ratio=np.where(certain, 1.0, ratio), cut=sum(p.cut for p in asked)
        )

    def measure(self, pairs: Sequence[tuple[str, str]]) -> float:
        """Returns the difficulty of a dataset; see `Difficulty.score`."""
        return self.rate(pairs).score
