"""Sets that give one answer to everything.

Where a benchmark has few answers, as "yes" and "no", one of them is right often enough
for its rows to pass every gate, and what a model learns from them is to say it always.
So the drawn answers are compared with the benchmark's by how likely two of them are
equal (Simpson 1949, Measurement of Diversity).
"""

import collections
from collections.abc import Sequence

from datachef_jax.scoring import answers

_SLACK = 0.2  # a good set may be so much less varied by chance, or by its sources


def factor(drawn: Sequence[str], benchmark: Sequence[str], contract: str) -> float:
    """Returns what a set's score is multiplied by, in [0, 1].

    The probability that two of its answers differ over that of two of the benchmark's,
    at most 1, and 1 where a fifth less than the benchmark's is reached. Of fewer than
    two answers, or of a benchmark of which all are equal, it says nothing.

    Args:
      drawn: Answers of some rows; those that break the contract do not count.
      benchmark: Bare answers.
      contract: Of the drawn ones.
    """
    bare = [answers.extract(text, contract) for text in drawn]
    own = _differ([answer for answer in bare if answer is not None])
    wanted = _differ(benchmark)
    if own is None or not wanted:
        return 1.0
    return min(1.0, own / ((1.0 - _SLACK) * wanted))


def _differ(texts: Sequence[str]) -> float | None:
    """Returns how likely two of some texts differ, None where there are no two."""
    if len(texts) < 2:
        return None
    counts = collections.Counter(" ".join(text.casefold().split()) for text in texts)
    pairs = len(texts) * (len(texts) - 1)
    return 1.0 - sum(n * (n - 1) for n in counts.values()) / pairs
