"""What a recipe's data may be expected to teach, from what others' data has taught.

The learned proxy (`proxy.py`) over what is known of a recipe without fine-tuning
(`metadata.py`), fitted to a file of results. Whatever adds results to that file, here
or on another machine, teaches the next step of a run that is rewarded by it; such a run
follows from its seed and from what the file held at each step.
"""

from collections.abc import Sequence
import json
import pathlib

from jaxtyping import Float
import numpy as np
from scipy import stats

from datachef_jax import types
from datachef_jax.parallel import hosts
from datachef_jax.verifier import metadata
from datachef_jax.verifier import proxy


class Forecaster:
    """Says what scored recipes may be expected to teach."""

    def __init__(self, path: pathlib.Path, *, settings: proxy.ProxySettings, k: float):
        """Fits the proxy to the results so far.

        Args:
          path: Of the results, a JSON object a line, each ended by a line break:
            `task`, a name; `recipe`, its features from `metadata.describe`; `dbs`, the
            downstream scores of the models that were trained on its data, one for each
            seed. The file `results.jsonl` of `configs/mini/correlate.py` is one.
          settings: Of the proxy.
          k: See `proxy.reward`.

        Raises:
          ValueError: If k is below 0, or the file has no results, or none that vary.
          OSError: If there is no such file.
        """
        if not k >= 0:
            raise ValueError(f"k must be at least 0, got {k}")
        self._path, self._settings, self._k = path, settings, k
        self._stamp = self._stamped()
        self._names, self._proxy = self._fit()

    def forecast(
        self,
        tasks: Sequence[types.Task],
        executions: Sequence[types.Execution],
        verdicts: Sequence[types.Verdict],
    ) -> list[types.Forecast | None]:
        """Returns what is expected of each recipe, None of one that is not scored.

        Reads the results anew if the file has changed since. In a run of several
        processes each forecasts a share.

        Args:
          tasks: What each was for.
          executions: What became of it.
          verdicts: Of the verifier.
        """
        if (stamp := self._stamped()) != self._stamp:
            self._names, self._proxy = self._fit()
            self._stamp = stamp
        asked = hosts.share(list(zip(tasks, executions, verdicts, strict=True)))
        scored = [i for i, (_, _, v) in enumerate(asked) if v.outcome == "scored"]
        made: list[types.Forecast | None] = [None] * len(asked)
        features = metadata.vector(
            [metadata.describe(*asked[i]) for i in scored], self._names
        )
        expected = self._proxy.predict(features)
        bounds = stats.norm.cdf(proxy.reward(expected, self._k))
        for place, i in enumerate(scored):
            made[i] = types.Forecast(
                mean=float(expected.mean[place]),
                std=float(expected.std[place]),
                bound=float(bounds[place]),
                unfamiliar=bool(expected.unfamiliar[place]),
                results=len(self._proxy.scores),
            )
        return hosts.join(made, len(tasks))

    def _stamped(self) -> tuple[int, int]:
        """Returns what differs once the file has changed."""
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size

    def _fit(self) -> tuple[tuple[str, ...], proxy.Proxy]:
        # What follows the last line break is a result that is being written.
        *lines, _ = self._path.read_text(encoding="utf-8").split("\n")
        results = [_result(self._path, i, line) for i, line in enumerate(lines)]
        if not results:
            raise ValueError(f"{self._path} has no results")
        descriptions = [result["recipe"] for result in results]
        # What a run took differs from one to the next; a reward must not.
        names = metadata.columns(descriptions, by_source=False, costs=False)
        scores = standardise(
            [float(np.mean(result["dbs"])) for result in results],
            [result["task"] for result in results],
        )
        features = metadata.vector(descriptions, names)
        return names, proxy.fit(features, scores, settings=self._settings)


def standardise(
    scores: Sequence[float], tasks: Sequence[str]
) -> Float[np.ndarray, " recipes"]:
    """Returns scores in standard deviations from the mean of their task.

    Tasks differ in how good any model can become; the datasets of one are ordered as
    before. A task whose scores are all equal has zeros.

    Args:
      scores: Downstream, in any unit.
      tasks: Of each.
    """
    of, scaled = np.array(tasks), np.array(scores, np.float64)
    for task in set(tasks):
        own = scaled[of == task]
        scaled[of == task] = (own - own.mean()) / max(own.std(), 1e-9)
    return scaled


def _result(path: pathlib.Path, row: int, line: str) -> dict:
    """Reads a line.

    Raises:
      ValueError: If it is no result; names file and line.
    """
    try:
        result = json.loads(line)
        scores = np.array(result["dbs"], np.float64)
        features = np.array([*result["recipe"].values()], np.float64)
        if not isinstance(result["task"], str):
            raise ValueError(f"task is {result['task']!r}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        wrong = f"{path}, line {row + 1}, is no result: {error!r}"
        raise ValueError(wrong) from error
    if not scores.size or not np.isfinite([*scores.ravel(), *features.ravel()]).all():
        raise ValueError(f"{path}, line {row + 1}, has a number that is not finite")
    return result
