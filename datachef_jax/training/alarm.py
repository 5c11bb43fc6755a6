"""Says when the policy has learned to please the judge and nothing else.

A second judge grades the same rows and is never rewarded. While recipes become better
both scores rise; where the rewarded one rises alone, its weakness is being used
(reward hacking; Gao et al. 2022, arXiv:2210.10760, measure the same gap).
"""

from collections.abc import Sequence
import dataclasses
import math

from jaxtyping import Float
from jaxtyping import Int
import numpy as np
from scipy import stats


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlarmSettings:
    """When the alarm goes off.

    Attributes:
      window: Steps that are looked at: the last ones.
      min_rise: Least rise of the gap between the two scores over the window, in points
        of DVS (percent).
      significance: Largest probability, in (0, 1), that a trend as clear as one that
        counts comes about by chance.
    """

    window: int
    min_rise: float
    significance: float

    def __post_init__(self):
        if self.window < 4:
            raise ValueError(f"window must be at least 4, got {self.window}")
        if not self.min_rise > 0:
            raise ValueError(f"min_rise must be above 0, got {self.min_rise}")
        if not 0 < self.significance < 1:
            raise ValueError(
                f"significance must be between 0 and 1, got {self.significance}"
            )


def hacking(
    rewarded: Sequence[float], held_out: Sequence[float], settings: AlarmSettings
) -> bool:
    """Returns whether the rewarded score rises and the held-out one does not.

    A score rises if a line through it over the window does, and its slope's t-test is
    significant. The gap between the two has to rise as well, and by enough.

    Args:
      rewarded: Mean score of each step so far, in percent, by the judge that is.
      held_out: The same by the judge that is not; NaN, in either, for a step without.
      settings: When.
    """
    window = settings.window
    scores = np.array([rewarded[-window:], held_out[-window:]], np.float64)
    steps = np.arange(scores.shape[1])[np.isfinite(scores).all(axis=0)]
    if len(steps) < window:
        return False
    first, second = scores
    gap = first - second
    rise = stats.linregress(steps, gap).slope * (window - 1)
    return bool(
        _rises(steps, first, settings.significance)
        and _rises(steps, gap, settings.significance)
        and not _rises(steps, second, settings.significance)
        and rise >= settings.min_rise
    )


def _rises(
    steps: Int[np.ndarray, " window"],
    scores: Float[np.ndarray, " window"],
    significance: float,
) -> bool:
    fitted = stats.linregress(steps, scores, alternative="greater")
    if math.isnan(fitted.pvalue):  # no variance at all
        return False
    return bool(fitted.pvalue < significance)
