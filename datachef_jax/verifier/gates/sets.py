"""The gates that look at a whole set: each finds rows, and lowers the set's score.

They see the rows that are not drawn as well: a recipe that hides a benchmark, or one
row a thousand times, among good ones is found out whatever the draw.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import math

from jaxtyping import Bool
import numpy as np

from datachef_jax.verifier import memory
from datachef_jax.verifier.gates import contamination
from datachef_jax.verifier.gates import near_duplicates
from datachef_jax.verifier.gates import personal_data
from datachef_jax.verifier.gates import unsafe
from datachef_jax.verifier.gates.settings import GateSettings

QuestionAnswer = tuple[str, str]

_REMEMBERED = 2**16  # rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """Which rows of a set each of its gates found.

    Attributes:
      duplicated: Those that repeat an earlier row, but for case and spacing.
      near_duplicated: Those that nearly do, and not exactly.
      contaminated: Those that give away a benchmark.
      personal_data: See `personal_data`.
      unsafe: See `unsafe`.
    """

    duplicated: Bool[np.ndarray, " rows"]
    near_duplicated: Bool[np.ndarray, " rows"]
    contaminated: Bool[np.ndarray, " rows"]
    personal_data: Bool[np.ndarray, " rows"]
    unsafe: Bool[np.ndarray, " rows"]

    def counts(self) -> dict[str, int]:
        """Returns how many rows each gate found, by name."""
        fields = dataclasses.fields(self)
        return {field.name: int(getattr(self, field.name).sum()) for field in fields}


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """What the gates need to know of a row, whatever set it is in."""

    sketch: near_duplicates.Sketch
    personal_data: bool
    unsafe: bool


class SetGates:
    """The gates of whole sets, which remember what they have read of a row."""

    def __init__(self, settings: GateSettings):
        """Has read nothing yet.

        Args:
          settings: Of the gates.
        """
        self._settings = settings
        self._seen: memory.Memory[QuestionAnswer, _Seen] = memory.Memory(_REMEMBERED)
        self._gives_away = functools.cache(_any_holds)  # one for each task

    def look(
        self,
        rows: Sequence[QuestionAnswer],
        *,
        benchmarks: Sequence[contamination.Contamination],
    ) -> Findings:
        """Puts a whole dataset through the set gates.

        Args:
          rows: Its questions and answers, at least one.
          benchmarks: Indices of the task's benchmark and of all that are held out.
        """
        known = self._seen.recall(rows, _read)
        seen = [known[row] for row in rows]
        duplicated = _repeated([one.sketch.tokens for one in seen])
        near = near_duplicates.near_duplicates(
            [one.sketch for one in seen], threshold=self._settings.near_duplicate
        )
        gives_away = self._gives_away(tuple(benchmarks))
        return Findings(
            duplicated=duplicated,
            near_duplicated=near & ~duplicated,
            contaminated=np.array([gives_away(question) for question, _ in rows]),
            personal_data=np.array([one.personal_data for one in seen]),
            unsafe=np.array([one.unsafe for one in seen]),
        )


def _any_holds(
    benchmarks: Sequence[contamination.Contamination],
) -> Callable[[str], bool]:
    """Returns what says whether a question gives any benchmark away, and remembers."""

    @functools.lru_cache(maxsize=_REMEMBERED)
    def gives_away(question: str) -> bool:
        return any(index.holds(question) for index in benchmarks)

    return gives_away


def _read(rows: Sequence[QuestionAnswer]) -> list[_Seen]:
    texts = [f"{question}\n{answer}" for question, answer in rows]
    return [
        _Seen(
            sketch=sketch,
            personal_data=personal_data.found(text),
            unsafe=unsafe.found(text),
        )
        for text, sketch in zip(texts, near_duplicates.sketches(texts), strict=True)
    ]


def _repeated(hashes: Sequence[int]) -> Bool[np.ndarray, " rows"]:
    """Returns which rows have the tokens of an earlier one."""
    first = {hashed: row for row, hashed in reversed(list(enumerate(hashes)))}
    return np.array([first[hashed] != row for row, hashed in enumerate(hashes)])


def factors(
    findings: Findings, mean: float, settings: GateSettings
) -> Mapping[str, float]:
    """Returns what each set gate multiplies the score by, in [0, 1], by name.

    `volume` is log(1 + good) / log(1 + enough_rows), at most 1, to the `volume_power`,
    for the number of good rows, those that repeat no other x what a row is worth: what
    they teach grows ever slower with them, on some tasks of `configs/mini/correlate.py`
    by as much for each doubling, on others until a few hundred. A repeated row does no
    other harm. The others are 1 - weight x share of the rows that were found, at least
    0, whatever else is wrong with a row.

    Args:
      findings: Of a set.
      mean: What its rows are worth in the mean, in [0, 1].
      settings: Of the gates.
    """
    repeats = findings.duplicated | findings.near_duplicated
    good = mean * float((~repeats).sum())
    return {
        "contamination": _left(findings.contaminated, settings.contamination_weight),
        **{
            name: _left(getattr(findings, name), weight)
            for name, weight in settings.flag_weights.items()
        },
        "volume": min(1.0, math.log1p(good) / math.log1p(settings.enough_rows))
        ** settings.volume_power,
    }


def _left(found: Bool[np.ndarray, " rows"], weight: float) -> float:
    return max(0.0, 1.0 - weight * float(found.mean()))
