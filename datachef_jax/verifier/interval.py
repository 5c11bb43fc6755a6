"""How far the mean over the drawn rows may be from that over all."""

import functools

from jaxtyping import Float
import numpy as np

_RESAMPLES = 1000
_LEVEL = 0.9
_ENDS = (50 * (1 - _LEVEL), 50 * (1 + _LEVEL))  # percentiles


def of_mean(scores: Float[np.ndarray, " rows"]) -> tuple[float, float]:
    """Returns the ends of the 90 % interval of a mean, by the percentile bootstrap.

    The resamples are the same for all that have as many rows: what two intervals differ
    by is not their luck.

    Args:
      scores: Of the drawn rows, at least one; one alone, or equal ones, say nothing
        about how others would score, and their interval is a point.
    """
    lowest, highest = float(scores.min()), float(scores.max())
    if lowest == highest:
        return lowest, highest
    low, high = np.percentile(_resamples(len(scores)) @ scores, _ENDS)
    return float(low), float(high)


@functools.cache
def _resamples(rows: int) -> Float[np.ndarray, "resamples rows"]:
    """Returns the weight that each row has in the mean of each resample."""
    generator = np.random.default_rng(0)
    counts = generator.multinomial(rows, np.full(rows, 1 / rows), size=_RESAMPLES)
    return counts / rows
