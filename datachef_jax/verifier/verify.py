"""The Data Verifier: from what a recipe left to a verdict on it.

Deviations from the paper's section 3.3: gates that need no model stand before the
judge, and gates on the whole set multiply the mean grade; the verdict keeps the
judge's mean without them, so that both can be compared with downstream scores.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools

import numpy as np

from datachef_jax import types
from datachef_jax.recipes import dataset
from datachef_jax.verifier import contamination
from datachef_jax.verifier import gates
from datachef_jax.verifier import judge as judging

_DRAW, _LETTERS = 0, 1  # what a recipe's seed is used for


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifierSettings:
    """The numbers of the verifier.

    Attributes:
      rows_per_dataset: Rows that are looked at, drawn without replacement.
      max_malformed_share: A dataset breaks the format if a larger share of its
        lines has the wrong schema.
      gates: The numbers of the gates.
    """

    rows_per_dataset: int
    max_malformed_share: float
    gates: gates.GateSettings

    def __post_init__(self):
        if self.rows_per_dataset < 1:
            raise ValueError(
                f"rows_per_dataset must be at least 1, got {self.rows_per_dataset}"
            )
        if not 0 <= self.max_malformed_share <= 1:
            raise ValueError(
                f"max_malformed_share must be in [0, 1], got {self.max_malformed_share}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sample:
    """The drawn rows of one dataset, after the gates.

    Attributes:
      task: What the dataset should teach.
      drawn: Positions of the drawn rows.
      pairs: Question and answer of each drawn row.
      stopped: The gate that stopped each, "" if none did.
      seeds: For the judge, one for each drawn row.
      factors: Of the set gates.
    """

    task: types.Task
    drawn: tuple[int, ...]
    pairs: tuple[gates.QuestionAnswer, ...]
    stopped: tuple[str, ...]
    seeds: tuple[int, ...]
    factors: Mapping[str, float]

    def judged(self) -> list[int]:
        """Returns which of the drawn rows no gate stopped."""
        return [i for i, gate in enumerate(self.stopped) if not gate]


class Verifier:
    """Rates the datasets of a step's recipes, all in one pass of the judge."""

    def __init__(self, judge: judging.Judge, settings: VerifierSettings):
        """Puts the verifier together.

        Args:
          judge: Grades the rows that no gate stops.
          settings: The numbers.
        """
        self._judge = judge
        self._settings = settings
        # By the benchmark itself: the same for every recipe and step of a task.
        self._index = functools.cache(contamination.Contamination)

    def verify(
        self,
        tasks: Sequence[types.Task],
        executions: Sequence[types.Execution],
        seeds: Sequence[int],
        *,
        progress: Callable[[int], None],
    ) -> list[types.Verdict]:
        """Returns one verdict for each recipe.

        The score is the mean over the readable rows x the factors of the set gates.
        A row is worth 0 if a gate stopped it, else the judge's expected score; a row
        whose verdict is unreadable is left out and counted in the note. With no
        readable row at all the judge is at fault and the recipe is unscored. The
        judge's score is the mean over the rows it read alone, 0 if there are none.

        Args:
          tasks: What each recipe was for.
          executions: What each recipe did.
          seeds: One for each, at least 0: they choose the rows and draw the letters.
          progress: Called with the number of rows judged since the last call.
        """
        verdicts: dict[int, types.Verdict] = {}
        samples: dict[int, _Sample] = {}
        asked = zip(tasks, executions, seeds, strict=True)
        for i, (task, execution, seed) in enumerate(asked):
            verdict = self._without_looking(execution)
            if verdict is None:
                samples[i] = self._sample(task, execution.dataset.rows, seed)
            else:
                verdicts[i] = verdict
        rows = [
            (sample.task, *sample.pairs[j], sample.seeds[j])
            for sample in samples.values()
            for j in sample.judged()
        ]
        grades = iter(
            self._judge.grade(
                [row[:3] for row in rows], [row[3] for row in rows], progress=progress
            )
        )
        for i, sample in samples.items():
            verdicts[i] = _verdict(sample, [next(grades) for _ in sample.judged()])
        return [verdicts[i] for i in range(len(tasks))]

    def _without_looking(self, execution: types.Execution) -> types.Verdict | None:
        """Returns the verdict on an execution without rows that could be graded."""
        data = execution.dataset
        lines = len(data.rows) + data.malformed
        if execution.kind == "sandbox_error":
            return types.Verdict(outcome="unscored", note=execution.log)
        if execution.kind != "ok":
            return types.Verdict(outcome="empty", note=execution.kind)
        if lines == 0:
            return types.Verdict(outcome="empty", note="no rows")
        if data.malformed / lines > self._settings.max_malformed_share or not data.rows:
            note = f"{data.malformed} of {lines} rows malformed: {data.first_error}"
            return types.Verdict(outcome="format", note=note)
        return None

    def _sample(
        self, task: types.Task, rows: Sequence[types.Row], seed: int
    ) -> _Sample:
        """Draws rows, and puts them and their whole set through the gates."""
        index = self._index(task.examples)
        limits = self._settings.gates
        k = self._settings.rows_per_dataset
        drawn = dataset.draw(len(rows), k, (seed, _DRAW)).tolist()
        letters = np.random.SeedSequence((seed, _LETTERS)).generate_state(len(drawn))
        pairs = [question_and_answer(row) for row in rows]
        chosen = tuple(pairs[position] for position in drawn)
        return _Sample(
            task=task,
            drawn=tuple(drawn),
            pairs=chosen,
            stopped=tuple(
                gates.stopped_by(
                    *pair, contract=task.contract, index=index, settings=limits
                )
                for pair in chosen
            ),
            seeds=tuple(letters.tolist()),
            factors=gates.set_factors(pairs, index=index, settings=limits),
        )


def question_and_answer(row: types.Row) -> gates.QuestionAnswer:
    """Splits a row, whose last turn is the assistant's, before that turn.

    Returns:
      All turns before it, with their roles if there are several, and its text.
    """
    *before, last = row["dialogs"]
    if len(before) == 1:
        return before[0]["content"], last["content"]
    question = "\n".join(f"{turn['role']}: {turn['content']}" for turn in before)
    return question, last["content"]


def _verdict(sample: _Sample, grades: Sequence[judging.Grade]) -> types.Verdict:
    """Turns the grades of a sample's judged rows into the verdict on its dataset."""
    graded = dict(zip(sample.judged(), grades, strict=True))
    rows = tuple(
        types.GradedRow(
            index=position,
            gate=gate,
            grade=graded[i].letter if i in graded else "",
            score=graded[i].score if i in graded else 0.0,
        )
        for i, (position, gate) in enumerate(
            zip(sample.drawn, sample.stopped, strict=True)
        )
    )
    read = [row.score for row in rows if row.grade]
    counted = read + [row.score for row in rows if row.gate]
    unreadable = len(rows) - len(counted)
    note = f"{unreadable} of {len(rows)} verdicts unreadable" if unreadable else ""
    if not counted:
        return types.Verdict(outcome="unscored", rows=rows, note=note)
    factor = float(np.prod(list(sample.factors.values())))
    return types.Verdict(
        outcome="scored",
        score=float(np.mean(counted)) * factor,
        judge_score=float(np.mean(read)) if read else 0.0,
        factors=sample.factors,
        gates={name: sample.stopped.count(name) for name in gates.ROW_GATES},
        rows=rows,
        note=note,
    )
