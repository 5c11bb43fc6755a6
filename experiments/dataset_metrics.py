"""What is compared in `correlate`: figures of a dataset that cost no fine-tuning.

Of all of them more is better: of perplexity, which spans six orders of magnitude, it is
the negated logarithm. The verifier's own are taken from its verdict, the baselines are
measured on the rows that it drew.
"""

from collections.abc import Callable, Mapping, Sequence
import math
from typing import Any

from datachef_jax import types
from datachef_jax.verifier import forecast
from datachef_jax.verifier import metadata
from datachef_jax.verifier import proxy as proxies
from datachef_jax.verifier.gates.sets import QuestionAnswer

Baseline = Callable[[Sequence[QuestionAnswer]], float]

OF_VERDICT = ("gates", "judge", "gates + judge", "gates + student")
PROXY = "proxy"


def of_verdict(verdict: types.Verdict) -> dict[str, float]:
    """Returns the verifier's figures by name, in [0, 1]; 0 without data.

    `gates`: the score if every row that passes the gates were worth 1.
    `judge`: mean grade of the rows that the judge read. `gates + judge`: the score that
    recipes are rewarded with. `gates + student`: the same by the held-out judge; NaN
    where there is none. A verdict that failed through our own fault is NaN throughout.
    """
    if verdict.outcome == "unscored":
        return dict.fromkeys(OF_VERDICT, math.nan)
    if verdict.outcome != "scored":
        return dict.fromkeys(OF_VERDICT, 0.0)
    student = verdict.held_out_score
    return {
        "gates": verdict.gates_score,
        "judge": verdict.judge_score,
        "gates + judge": verdict.score,
        "gates + student": math.nan if student is None else student,
    }


def of_rows(
    pairs: Sequence[QuestionAnswer], baselines: Mapping[str, Baseline]
) -> dict[str, float]:
    """Returns the baselines' figures by name; NaN without rows."""
    if not pairs:
        return dict.fromkeys(baselines, math.nan)
    return {name: float(measure(pairs)) for name, measure in baselines.items()}


def of_proxy(
    descriptions: Sequence[Mapping[str, float]],
    scores: Sequence[float],
    tasks: Sequence[str],
    settings: proxies.ProxySettings,
) -> dict[str, Any]:
    """Returns what a proxy says that was fitted to the datasets of all other tasks.

    Args:
      descriptions: Metadata of each dataset's recipe, from `metadata.describe`.
      scores: Of the model trained on each, see `forecast.standardise`.
      tasks: Of each.
      settings: Of the proxy.

    Returns:
      `mean` and `std` of each, in those units, and whether it is `unfamiliar`.
    """
    names = metadata.columns(descriptions, by_source=False, costs=True)
    made = proxies.held_out(
        metadata.vector(descriptions, names),
        forecast.standardise(scores, tasks),
        tasks,
        settings=settings,
    )
    return {
        "mean": made.mean.tolist(),
        "std": made.std.tolist(),
        "unfamiliar": made.unfamiliar.tolist(),
    }
