"""A judge's opinion of one row, and what a judge is."""

import abc
from collections.abc import Callable, Sequence
import dataclasses
import random

from jaxtyping import Float
import numpy as np

from datachef_jax import types
from datachef_jax.verifier import rubric

Item = tuple[types.Task, str, str]
"""(task, question, answer)."""

LETTERS = tuple(rubric.SCORES)
_SCORES = np.array(list(rubric.SCORES.values()))
_NO_OPINION = 1e-6  # probability below which nothing was said


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grade:
    """The judge's opinion of one row.

    Attributes:
      probabilities: Of A to E, given that the reply is a grade: they sum to 1, or are
        all 0 if the verdict is unreadable.
      mass: Probability, in [0, 1], that the reply begins with any grade.
      score: Expected score in [0, 1]; 0 if unreadable.
      letter: A grade drawn from the probabilities; "" if unreadable.
    """

    probabilities: tuple[float, ...]
    mass: float
    score: float
    letter: str


class Judge(abc.ABC):
    """Grades rows."""

    @abc.abstractmethod
    def grade(
        self,
        items: Sequence[Item],
        seeds: Sequence[int],
        *,
        progress: Callable[[int], None],
    ) -> list[Grade]:
        """Grades rows; a row's grade depends on the row and its seed alone.

        Rows of too many tokens lose more of their middle than the style says.

        Args:
          items: What to grade.
          seeds: One for each, from 0 to 2**32 - 1, for whatever is drawn.
          progress: Called with the number of rows graded since the last call.

        Returns:
          One grade for each item.

        Raises:
          ValueError: If a task's own text does not leave room for a row.
        """


def unreadable(mass: float) -> Grade:
    """Returns the grade of a row on which the judge said nothing that counts."""
    nothing = (0.0,) * len(LETTERS)
    return Grade(probabilities=nothing, mass=mass, score=0.0, letter="")


def expected(
    probabilities: Float[np.ndarray, " grades"], *, mass: float, seed: int
) -> Grade:
    """Returns the grade of known probabilities, whose letter is drawn by the seed."""
    (drawn,) = random.Random(seed).choices(range(len(LETTERS)), probabilities)
    return Grade(
        probabilities=tuple(probabilities.tolist()),
        mass=mass,
        score=float(np.clip(probabilities @ _SCORES, 0.0, 1.0)),
        letter=LETTERS[drawn],
    )


def known_right(grade: Grade, *, seed: int) -> Grade:
    """Returns the grade of a row whose answer a program has found right.

    The judge's doubt about that, C, is ruled out; its other opinions keep their odds. A
    judge that was sure of C has no other opinion, and is unreadable.
    """
    left = np.array(grade.probabilities)
    left[LETTERS.index("C")] = 0.0
    if left.sum() < _NO_OPINION:
        return unreadable(grade.mass)
    return expected(left / left.sum(), mass=grade.mass, seed=seed)
