"""How well a metric of datasets agrees with the scores of models trained on them."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

from jaxtyping import Float
import numpy as np
from scipy import stats

_RESAMPLES = 1000
_LEAST = 4  # datasets of which a correlation is worth a figure

Values = Float[np.ndarray, " datasets"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """How a metric and a score agree over some datasets of one task.

    Attributes:
      datasets: How many have both figures.
      pearson: Linear correlation; None where it is not defined, as of constants.
      spearman: Rank correlation.
      regret: Score lost by choosing the dataset of the best metric, in points; the mean
        where several have it.
    """

    datasets: int
    pearson: float | None
    spearman: float | None
    regret: float | None


def agreement(metric: Values, score: Values) -> Agreement:
    """Compares a metric with a score over the datasets of one task.

    Args:
      metric: Of each dataset, more is better; NaN where there is none.
      score: Of the model trained on it, in percent.
    """
    known = np.isfinite(metric) & np.isfinite(score)
    metric, score = metric[known], score[known]
    regret = None
    if len(score):
        best = metric == metric.max()
        regret = float(score.max() - score[best].mean())
    return Agreement(
        datasets=len(score),
        pearson=_correlation(metric, score),
        spearman=_correlation(stats.rankdata(metric), stats.rankdata(score)),
        regret=regret,
    )


def interval(
    pairs: Sequence[tuple[Values, Values]], *, ranks: bool, seed: int
) -> tuple[float, float] | None:
    """Returns the 90 % interval of the mean correlation over tasks.

    The percentile bootstrap over the datasets of each task.

    Args:
      pairs: Metric and score of each task's datasets.
      ranks: Whether of Spearman's correlation instead of Pearson's.
      seed: Of the resamples.

    Returns:
      None if some task has no correlation to speak of.
    """
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(_RESAMPLES):
        found = []
        for metric, score in pairs:
            drawn = rng.integers(len(score), size=len(score)) if len(score) else []
            found.append(_of(metric[drawn], score[drawn], ranks=ranks))
        if None not in found:
            means.append(np.mean(found))
    if len(means) < _RESAMPLES // 2:
        return None
    low, high = np.percentile(means, [5, 95])
    return float(low), float(high)


def over_tasks(
    pairs: Mapping[str, tuple[Values, Values]], *, seed: int
) -> dict[str, Any]:
    """Returns all figures of one metric.

    Keys: `tasks`, an `Agreement` for each as a dict; `pearson` and `spearman`, each
    {"mean", "low", "high"} over the tasks that have one; `regret`, the mean.

    Args:
      pairs: Metric and score of each task's datasets, by task.
      seed: Of the intervals.
    """
    tasks = {name: agreement(*pair) for name, pair in pairs.items()}
    known = [
        (metric[finite], score[finite])
        for metric, score in pairs.values()
        for finite in [np.isfinite(metric) & np.isfinite(score)]
    ]
    figures: dict[str, Any] = {
        "tasks": {name: dataclasses.asdict(one) for name, one in tasks.items()}
    }
    for name in ("pearson", "spearman"):
        values = [getattr(one, name) for one in tasks.values()]
        ends = interval(known, ranks=name == "spearman", seed=seed)
        low, high = ends if ends is not None else (None, None)
        figures[name] = {"mean": _mean(values), "low": low, "high": high}
    figures["regret"] = _mean([one.regret for one in tasks.values()])
    return figures


def better_half(score: Values) -> Sequence[int]:
    """Returns the datasets whose score is at least the median."""
    return np.flatnonzero(score >= np.median(score)).tolist() if len(score) else []


def _of(metric: Values, score: Values, *, ranks: bool) -> float | None:
    if ranks:
        return _correlation(stats.rankdata(metric), stats.rankdata(score))
    return _correlation(metric, score)


def _correlation(one: Values, other: Values) -> float | None:
    if len(one) < _LEAST or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    value = float(np.corrcoef(one, other)[0, 1])
    return value if math.isfinite(value) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
