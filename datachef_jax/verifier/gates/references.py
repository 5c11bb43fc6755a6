"""Right answers that are known beforehand, and unit tests, of the questions in a file.

Published datasets often carry them. What a file does not hold is left to others.
"""

from collections.abc import Sequence
import dataclasses
import json
import pathlib
from typing import Any

from datachef_jax import types
from datachef_jax.scoring.equivalence import Equivalence
from datachef_jax.verifier.gates import contamination
from datachef_jax.verifier.gates import correctness
from datachef_jax.verifier.gates.sets import QuestionAnswer
from sandbox.pool import Sandbox


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """What is known of a question.

    Attributes:
      answer: The bare right answer, without contract; or None.
      tests: Unit tests of the right program, see `scoring.unit_tests`; or None.
    """

    answer: str | None = None
    tests: str | None = None


class References:
    """Says which answers are right to the questions of a file."""

    def __init__(
        self, path: pathlib.Path, *, equivalence: Equivalence, sandbox: Sandbox
    ):
        """Reads the file.

        Args:
          path: A JSON object a line, with `question` and either `answer` or `tests`,
            all texts. Questions are told apart by their words, numbers and symbols, not
            by case and spacing. Where one is there twice, the last line counts.
          equivalence: Compares formulas.
          sandbox: Runs unit tests; to be started before rows are decided.

        Raises:
          ValueError: If there is no line, or one that is none of these; names it.
          OSError: If there is no such file.
        """
        lines = path.read_text(encoding="utf-8").splitlines()
        self._known = dict(_known(path, i, line) for i, line in enumerate(lines))
        if not self._known:
            raise ValueError(f"{path} has no references")
        self._equivalence, self._sandbox = equivalence, sandbox

    def decide(
        self, task: types.Task, rows: Sequence[QuestionAnswer]
    ) -> correctness.Decided:
        """Compares answers with what is known; None where nothing is.

        Args:
          task: Whose contract finds what is compared, or the program that is tested.
          rows: Questions and answers.
        """
        nothing = Reference()
        known = [
            self._known.get(contamination.normalise(question), nothing)
            for question, _ in rows
        ]
        answers, tests = [one.answer for one in known], [one.tests for one in known]
        equal = correctness.referenced(
            task, rows, answers, equivalence=self._equivalence
        )
        passed = correctness.tested(task, rows, tests, sandbox=self._sandbox)
        return correctness.first(equal, passed)


def _known(
    path: pathlib.Path, row: int, line: str
) -> tuple[contamination.Tokens, Reference]:
    """Reads a line."""
    try:
        found: dict[str, Any] = json.loads(line)
        question = found.pop("question")
        texts = question, *found.values()
        if len(found) != 1 or not all(isinstance(text, str) for text in texts):
            raise ValueError("it wants question and answer, or question and tests")
        return contamination.normalise(question), Reference(**found)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        wrong = f"{path}, line {row + 1}, is no reference: {error!r}"
        raise ValueError(wrong) from error
