"""How far the mean over the drawn rows may be from that over all."""

from jaxtyping import Float
import numpy as np
from scipy import stats

_RESAMPLES = 1000
_LEVEL = 0.9


def of_mean(scores: Float[np.ndarray, " rows"]) -> tuple[float, float]:
    """Returns the ends of the 90 % interval of a mean, by the percentile bootstrap.

    The resamples are the same for all that have as many rows: what two intervals differ
    by is not their luck.

    Args:
      scores: Of the drawn rows, at least one; one alone, or equal ones, say nothing
        about how others would score, and their interval is a point.
    """
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        return low, high
    made = stats.bootstrap(
        (scores,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=_LEVEL,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(made.low), float(made.high)
