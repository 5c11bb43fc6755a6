"""Rewards: what a verdict is worth to the policy (equation 2 of the paper)."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
import numpy as np

from datachef_jax import types


def rewards(
    verdicts: Sequence[types.Verdict], *, lambda_empty: float, lambda_format: float
) -> tuple[Float[np.ndarray, " batch"], Bool[np.ndarray, " batch"]]:
    """Turns verdicts into rewards and says which of them exist.

    Args:
      verdicts: One per completion.
      lambda_empty: Penalty, >= 0, for a recipe that left no data.
      lambda_format: Penalty, >= 0, for rows that break the training format.

    Returns:
      Rewards in [-lambda, 1], float32, and whether each is one. An unscored recipe
      is our own fault: its reward is a meaningless 0 and it must not learn from it.

    Raises:
      ValueError: If a verdict has an outcome that `types.Verdict` does not list.
    """
    values = np.zeros(len(verdicts), np.float32)
    valid = np.ones(len(verdicts), bool)
    for row, verdict in enumerate(verdicts):
        match verdict.outcome:
            case "scored":
                values[row] = verdict.score
            case "empty":
                values[row] = -lambda_empty
            case "format":
                values[row] = -lambda_format
            case "unscored":
                valid[row] = False
            case unknown:
                raise ValueError(f"verdict {row} has the unknown outcome {unknown!r}")
    return values, valid
