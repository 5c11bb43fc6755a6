"""How well two graders agree: on the grade, on how sure it is, and on the score.

Pure functions of what graders said of the same rows; nothing here grades.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from jaxtyping import Float
from jaxtyping import Int
import numpy as np
from scipy import stats
from sklearn import metrics

from datachef_jax.verifier import rubric
from datachef_jax.verifier.judges import grade as grades
from datachef_jax.verifier.judges.grade import Grade
from experiments import table

_UNREAD = -1
_PAIRS = ("student against judge", "student against label", "judge against label")
_COLUMNS = {
    "accuracy": "accuracy",
    "kappa": "kappa",
    "calibration_error": "calibration error",
    "score_error": "score error",
    "score_correlation": "score r",
}
_SCORES = np.array(list(rubric.SCORES.values()))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Opinions:
    """What a grader says of each row.

    Attributes:
      probabilities: Of A to E. Each row sums to 1, or is 0 where the verdict was
        unreadable; it is 1 for a single grade where no more is known of it.
      scores: Expected score of each, in [0, 1].
    """

    probabilities: Float[np.ndarray, "rows grades"]
    scores: Float[np.ndarray, " rows"]

    def __post_init__(self):
        sums = self.probabilities.sum(1)
        wrong = ~(np.isclose(sums, 1.0) | (sums == 0.0))
        if wrong.any():
            where = int(np.argmax(wrong))
            raise ValueError(f"probabilities[{where}] sum to {sums[where]}, not 1 or 0")

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: Sequence[bool] | np.ndarray) -> "Opinions":
        """Returns the opinions of some rows, by a mask or by their places."""
        return Opinions(
            probabilities=self.probabilities[rows], scores=self.scores[rows]
        )

    def letters(self) -> Int[np.ndarray, " rows"]:
        """Returns the likeliest grade of each row, A as 0; -1 where unreadable."""
        likeliest = self.probabilities.argmax(1)
        return np.where(self.probabilities.any(1), likeliest, _UNREAD)


def of_grades(given: Sequence[Grade]) -> Opinions:
    """Returns the opinions that a judge's grades are."""
    shape = (len(given), len(grades.LETTERS))
    return Opinions(
        probabilities=np.array([g.probabilities for g in given]).reshape(shape),
        scores=np.array([g.score for g in given], np.float64),
    )


def of_letters(letters: Sequence[str]) -> Opinions:
    """Returns the opinions of somebody who is sure: labels."""
    places = [grades.LETTERS.index(letter) for letter in letters]
    probabilities = np.eye(len(grades.LETTERS))[places]
    return Opinions(probabilities=probabilities, scores=probabilities @ _SCORES)


def accuracy(given: Opinions, reference: Opinions) -> float:
    """Returns the share of rows whose likeliest grades are the same and readable."""
    ours, theirs = given.letters(), reference.letters()
    return float(np.mean((ours == theirs) & (ours != _UNREAD)))


def kappa(given: Opinions, reference: Opinions) -> float | None:
    """Returns Cohen's kappa of the likeliest grades; an unreadable one is a class.

    1 is full agreement, 0 what chance would give (Cohen 1960, "A coefficient of
    agreement for nominal scales"). None where both say one and the same of all rows:
    chance alone agrees there.
    """
    ours, theirs = given.letters(), reference.letters()
    if len(np.union1d(ours, theirs)) == 1:
        return None
    return float(metrics.cohen_kappa_score(ours, theirs))


def calibration_error(given: Opinions, reference: Opinions, *, bins: int) -> float:
    """Returns the expected calibration error of the likeliest grades.

    Rows are put into bins by how likely their grader finds its own grade. In each, that
    confidence is compared with how often it is right; the gaps are averaged by rows
    (Guo et al. 2017, arXiv:1706.04599, equation 3). How likely the reference finds the
    grade stands for being right: of a label that is 0 or 1, as in the paper; of a judge
    it is the mean over the letters that could be drawn from its probabilities, so the
    error is 0 for a grader with the judge's own.

    Args:
      given: Unreadable ones are left out.
      reference: Whose grades are right.
      bins: Equal ones of [0, 1], each without its lower end.

    Returns:
      In [0, 1]; 0 if nothing is readable.
    """
    letters = given.letters()
    rows = np.flatnonzero(letters != _UNREAD)
    confidence = given.probabilities[rows, letters[rows]]
    right = reference.probabilities[rows, letters[rows]]
    chosen = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(chosen, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / max(len(rows), 1))


def score_error(given: Opinions, reference: Opinions) -> float:
    """Returns the mean absolute difference of the expected scores."""
    return float(np.abs(given.scores - reference.scores).mean())


def score_correlation(given: Opinions, reference: Opinions) -> float | None:
    """Returns Pearson's r of the expected scores, None where one does not vary."""
    if np.ptp(given.scores) == 0.0 or np.ptp(reference.scores) == 0.0:
        return None
    return float(stats.pearsonr(given.scores, reference.scores).statistic)


def figures(
    given: Opinions, reference: Opinions, *, bins: int
) -> dict[str, float | int | None]:
    """Returns all figures of two graders of the same rows.

    Args:
      given: The one that is looked at.
      reference: The one that counts as right.
      bins: Of the calibration error.

    Returns:
      rows, accuracy, kappa, calibration_error, score_error and score_correlation; see
      the functions of these names. `by_grade`: rows by the reference's grade, and the
      accuracy on them.

    Raises:
      ValueError: If they are not of the same rows, or of none.
    """
    if len(given) != len(reference) or not len(given):
        raise ValueError(f"{len(given)} opinions against {len(reference)}")
    return {
        "rows": len(given),
        "accuracy": accuracy(given, reference),
        "kappa": kappa(given, reference),
        "calibration_error": calibration_error(given, reference, bins=bins),
        "score_error": score_error(given, reference),
        "score_correlation": score_correlation(given, reference),
        "by_grade": _by_grade(given, reference),
    }


def _by_grade(
    given: Opinions, reference: Opinions
) -> dict[str, dict[str, float | int]]:
    letters = reference.letters()
    return {
        letter: {
            "rows": int(those.sum()),
            "accuracy": accuracy(given[those], reference[those]),
        }
        for i, letter in enumerate(grades.LETTERS)
        if (those := letters == i).any()
    }


def by_group(
    given: Opinions, reference: Opinions, groups: Sequence[str], *, bins: int
) -> dict[str, dict]:
    """Returns `figures` of all rows, "all", and of each group, such as a task."""
    names = np.array(groups)
    found = {"all": figures(given, reference, bins=bins)}
    for name in dict.fromkeys(groups):
        those = names == name
        found[name] = figures(given[those], reference[those], bins=bins)
    return found


def compare(
    student: Opinions,
    judge: Opinions,
    *,
    labels: Sequence[str],
    groups: Sequence[str],
    bins: int,
) -> dict[str, dict[str, Any]]:
    """Returns `by_group` of all pairs.

    Args:
      student: Of each row.
      judge: Of each row; it counts as right, but against labels.
      labels: The grade that each row deserves; "" where nobody knows, and then only
        the two are compared.
      groups: Of each row.
      bins: Of the calibration error.

    Returns:
      "student against judge", "student against label" and "judge against label".
    """
    found = {_PAIRS[0]: by_group(student, judge, groups, bins=bins)}
    if all(labels):
        right = of_letters(labels)
        for pair, given in zip(_PAIRS[1:], (student, judge), strict=True):
            found[pair] = by_group(given, right, groups, bins=bins)
    return found


def page(summary: Mapping[str, Any], speeds: Mapping[str, float]) -> str:
    """Returns the figures as a Markdown table, and how big and fast the models are."""
    pairs = [pair for pair in _PAIRS if pair in summary]
    lines = [["rows of", "rows", "figure", *pairs]]
    for group, figures in summary[pairs[0]].items():
        shown = _COLUMNS if group == "all" else ("accuracy", "kappa")
        for i, name in enumerate(shown):
            values = [summary[pair][group][name] for pair in pairs]
            first = [group, str(figures["rows"])] if i == 0 else ["", ""]
            lines.append([*first, _COLUMNS[name], *map(_cell, values)])
    sizes = [
        f"{name}: {summary['weights'][name]} weights, {speed:.0f} rows a CPU-second"
        for name, speed in speeds.items()
    ]
    return "\n".join([table.markdown(lines), *sizes])


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
