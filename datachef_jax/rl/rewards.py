"""Rewards: what a verdict is worth to the policy (equation 2 of the paper)."""

from collections.abc import Callable, Sequence

from jaxtyping import Bool, Float
import numpy as np

from datachef_jax import types


def mean(verdict: types.Verdict) -> float:
    """Returns the verifier's score, the mean over the drawn rows."""
    return verdict.score


def lower_bound(verdict: types.Verdict) -> float:
    """Returns the lower end of the score's interval: doubt costs something."""
    return verdict.interval[0]


def with_forecast(
    verdict: types.Verdict,
    *,
    worth: Callable[[types.Verdict], float],
    weight: float,
) -> float:
    """Returns the mean of a verdict's worth and of what the learned proxy expects.

    Args:
      verdict: With a forecast.
      worth: `mean` or `lower_bound`.
      weight: Of the forecast's bound, in [0, 1]; 1 leaves the worth out.
    """
    return (1.0 - weight) * worth(verdict) + weight * verdict.forecast.bound


def rewards(
    verdicts: Sequence[types.Verdict],
    completions: Sequence[types.Completion],
    executions: Sequence[types.Execution],
    *,
    worth: Callable[[types.Verdict], float],
    lambda_empty: float,
    lambda_format: float,
    lambda_unverified: float,
    lambda_overlong: float,
    overlong_tokens: int,
    max_new_tokens: int,
) -> tuple[Float[np.ndarray, " batch"], Bool[np.ndarray, " batch"]]:
    """Turns verdicts into rewards and says which of them exist.

    Args:
      verdicts: One per completion.
      completions: What was sampled.
      executions: How the recipes ended.
      worth: Of a scored verdict: `mean` (the paper's), `lower_bound`, or
        `with_forecast` of either.
      lambda_empty: Penalty, >= 0, for a recipe that left no data.
      lambda_format: Penalty, >= 0, for rows that break the training format.
      lambda_unverified: Penalty, >= 0, for a scored recipe whose own verification
        script failed. It is off the score; a script that we are at fault for costs
        nothing.
      lambda_overlong: Penalty, >= 0, for a completion of `max_new_tokens` tokens, on
        top of the reward. It grows linearly over the last `overlong_tokens` ones
        (DAPO's soft punishment, arXiv:2503.14476, equation 13).
      overlong_tokens: From 0, where nothing is punished, to `max_new_tokens`.
      max_new_tokens: The longest completion allowed.

    Returns:
      Rewards of at most 1, float32, and whether each is one. An unscored recipe is our
      own fault: its reward is a meaningless 0 and it must not learn from it.

    Raises:
      ValueError: If a verdict has an outcome that `types.Verdict` does not list.
    """
    values = np.zeros(len(verdicts), np.float32)
    valid = np.ones(len(verdicts), bool)
    for row, verdict in enumerate(verdicts):
        match verdict.outcome:
            case "scored":
                failed = not executions[row].verified
                values[row] = worth(verdict) - lambda_unverified * failed
            case "empty":
                values[row] = -lambda_empty
            case "format":
                values[row] = -lambda_format
            case "unscored":
                valid[row] = False
            case unknown:
                raise ValueError(f"verdict {row} has the unknown outcome {unknown!r}")
    lengths = np.asarray([len(completion.tokens) for completion in completions])
    over = np.maximum(lengths - (max_new_tokens - overlong_tokens), 0)
    penalty = lambda_overlong * over / max(overlong_tokens, 1)
    return values - np.where(valid, penalty, 0.0).astype(np.float32), valid
