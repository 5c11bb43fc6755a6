"""The Data Verifier: from what a recipe left to a verdict on it.

Deviations from the paper's section 3.3: gates that need no model stand before the
judge; the mean grade is raised to a power, and gates on the whole set multiply it, the
number of good rows among them. The verdict keeps the judge's mean without all that, so
that both can be compared with downstream scores.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
import dataclasses
import functools

import numpy as np

from datachef_jax import types
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.verifier import draw
from datachef_jax.verifier import interval
from datachef_jax.verifier.forecast import Forecaster
from datachef_jax.verifier.gates import contamination
from datachef_jax.verifier.gates import correctness
from datachef_jax.verifier.gates import rows as row_gates
from datachef_jax.verifier.gates import sets
from datachef_jax.verifier.gates import variety
from datachef_jax.verifier.gates.settings import GateSettings
from datachef_jax.verifier.judges import grade as grading
from datachef_jax.verifier.judges.grade import Grade
from datachef_jax.verifier.judges.grade import Judge

_DRAW, _LETTERS = 0, 1  # what a recipe's seed is used for
_REMEMBERED = 2**16  # rows, of each benchmark


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifierSettings:
    """The numbers of the verifier.

    Attributes:
      rows_per_dataset: Rows that are looked at, drawn without replacement.
      max_malformed_share: A dataset breaks the format if a larger share of its
        lines has the wrong schema.
      mean_power: To which the mean of the rows is raised in the score, above 0; 1 in
        the paper. Below 1, bad rows among good ones cost less.
      held_out_every: The held-out judge grades the first of every so many drawn rows:
        it is watched over a whole run, and need not tell one recipe from another.
      gates: The numbers of the gates.
    """

    rows_per_dataset: int
    max_malformed_share: float
    mean_power: float
    held_out_every: int
    gates: GateSettings

    def __post_init__(self):
        if self.rows_per_dataset < 1:
            raise ValueError(
                f"rows_per_dataset must be at least 1, got {self.rows_per_dataset}"
            )
        if self.held_out_every < 1:
            raise ValueError(
                f"held_out_every must be at least 1, got {self.held_out_every}"
            )
        if not 0 <= self.max_malformed_share <= 1:
            raise ValueError(
                f"max_malformed_share must be in [0, 1], got {self.max_malformed_share}"
            )
        if not 0 < self.mean_power < np.inf:
            raise ValueError(f"mean_power must be above 0, got {self.mean_power}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sample:
    """The drawn rows of one dataset, after the gates.

    Attributes:
      task: What the dataset should teach.
      drawn: Positions of the drawn rows.
      pairs: Question and answer of each drawn row.
      stopped: The gate that stopped each, "" if none did.
      right: Which answers a program has found right.
      seeds: For the judge, one for each drawn row.
      findings: Of the set gates, on the whole dataset.
      variety: Factor of the drawn answers' variety.
      schema: Lines that are no rows.
    """

    task: types.Task
    drawn: tuple[int, ...]
    pairs: tuple[sets.QuestionAnswer, ...]
    stopped: tuple[str, ...]
    right: tuple[bool, ...]
    seeds: tuple[int, ...]
    findings: sets.Findings
    variety: float
    schema: int

    def thinned(self, every: int) -> "_Sample":
        """Returns the same with the first of every so many rows only."""
        rows = ("drawn", "pairs", "stopped", "right", "seeds")
        return dataclasses.replace(
            self, **{name: getattr(self, name)[::every] for name in rows}
        )

    def judged(self) -> list[int]:
        """Returns which of the drawn rows no gate stopped."""
        return [i for i, gate in enumerate(self.stopped) if not gate]


class Verifier:
    """Rates the datasets of a step's recipes, all in one pass of the judge."""

    def __init__(
        self,
        judge: Judge,
        settings: VerifierSettings,
        *,
        tokenizer: ChatTokenizer,
        benchmarks: Sequence[Sequence[types.Example]],
        decide: correctness.Decide,
        held_out: Judge | None,
        forecaster: Forecaster | None,
    ):
        """Puts the verifier together.

        Args:
          judge: Grades the rows that no gate stops.
          settings: The numbers.
          tokenizer: Of the model to be fine-tuned, which says how long rows are.
          benchmarks: All that rows must not give away, beside the task's own.
          decide: Says which answers are right, where a program can.
          held_out: A judge whose opinion is recorded and never rewarded, or None.
          forecaster: Says what a scored recipe may be expected to teach, or None.
        """
        self._judge = judge
        self._held_out = held_out
        self._forecaster = forecaster
        self._settings = settings
        self._tokenizer = tokenizer
        self._benchmarks = tuple(benchmarks)
        self._set_gates = sets.SetGates(settings.gates)
        self._decide = decide
        # By the benchmark itself: the same for every recipe and step of a task.
        self._index = functools.cache(contamination.Contamination)
        self._stopped_by = functools.cache(self._gates_of_benchmark)

    def verify(
        self,
        tasks: Sequence[types.Task],
        executions: Sequence[types.Execution],
        seeds: Sequence[int],
        *,
        progress: Callable[[int], None],
    ) -> list[types.Verdict]:
        """Returns one verdict for each recipe.

        The score is a power of the mean over the readable rows x the factors of the set
        gates.
        A row is worth 0 if a gate stopped it, else the judge's expected score; a row
        whose verdict is unreadable is left out and counted in the note. With no
        readable row at all the judge is at fault and the recipe is unscored. Where a
        program found an answer right, the judge's doubt of it does not count. The
        judge's score is the mean over the rows it read alone, 0 if there are none.

        Args:
          tasks: What each recipe was for.
          executions: What each recipe did.
          seeds: One for each, at least 0 and known to no script: they choose the rows
            and draw the letters. Recipes of one seed are compared on the rows that they
            have in common; see `draw`.
          progress: Called with the number of rows judged since the last call.
        """
        verdicts: dict[int, types.Verdict] = {}
        samples: dict[int, _Sample] = {}
        asked = zip(tasks, executions, seeds, strict=True)
        for i, (task, execution, seed) in enumerate(asked):
            verdict = self._without_looking(execution)
            if verdict is None:
                samples[i] = self._sample(task, execution.dataset, int(seed))
            else:
                verdicts[i] = verdict
        graded = self._grades(self._judge, samples.values(), progress)
        others = self._held_out_scores(samples.values())
        for (i, sample), grades, other in zip(
            samples.items(), graded, others, strict=True
        ):
            verdicts[i] = _verdict(sample, grades, other, self._settings)
        given = [verdicts[i] for i in range(len(tasks))]
        if self._forecaster is None:
            return given
        forecasts = self._forecaster.forecast(tasks, executions, given)
        return [
            dataclasses.replace(verdict, forecast=forecast)
            for verdict, forecast in zip(given, forecasts, strict=True)
        ]

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

    def _sample(self, task: types.Task, data: types.Dataset, seed: int) -> _Sample:
        """Draws rows, and puts them and their whole set through the gates."""
        k = self._settings.rows_per_dataset
        pairs = [question_and_answer(row) for row in data.rows]
        findings = self._set_gates.look(
            pairs,
            benchmarks=[
                self._index(examples)
                for examples in dict.fromkeys((task.examples, *self._benchmarks))
            ],
        )
        strata = [row.get("source", "") for row in data.rows]
        questions = [question for question, _ in pairs]
        drawn = draw.stratified(questions, strata, k, (seed, _DRAW)).tolist()
        chosen = tuple(pairs[position] for position in drawn)
        letters = np.random.SeedSequence((seed, _LETTERS)).generate_state(len(drawn))
        stopped, right = self._look(task, chosen, findings.contaminated[drawn].tolist())
        return _Sample(
            task=task,
            drawn=tuple(drawn),
            pairs=chosen,
            stopped=stopped,
            right=right,
            seeds=tuple(letters.tolist()),
            findings=findings,
            variety=variety.factor(
                [answer for _, answer in chosen],
                [example.answer for example in task.examples],
                task.contract,
            ),
            schema=data.malformed,
        )

    def _look(
        self,
        task: types.Task,
        pairs: Sequence[sets.QuestionAnswer],
        contaminated: Sequence[bool],
    ) -> tuple[tuple[str, ...], tuple[bool, ...]]:
        """Returns the first row gate that stops each row, "" if none does, and which
        answers a program has found right."""
        stopped_by = self._stopped_by(task.examples, task.contract)
        stopped = [
            stopped_by(*pair) or ("contamination" if held else "")
            for pair, held in zip(pairs, contaminated, strict=True)
        ]
        left = [i for i, gate in enumerate(stopped) if not gate]
        decided = dict(
            zip(left, self._decide(task, [pairs[i] for i in left]), strict=True)
        )
        for i, is_right in decided.items():
            stopped[i] = "incorrect" if is_right is False else ""
        return tuple(stopped), tuple(decided.get(i) is True for i in range(len(pairs)))

    def _gates_of_benchmark(
        self, examples: Sequence[types.Example], contract: str
    ) -> Callable[[str, str], str]:
        """Returns `row_gates.stopped_by`, which remembers rows."""
        gates = row_gates.of_benchmark(
            examples,
            contract,
            self._settings.gates,
            count_tokens=self._count_tokens,
        )
        stopped_by = functools.partial(row_gates.stopped_by, gates)
        return functools.lru_cache(maxsize=_REMEMBERED)(stopped_by)

    def _count_tokens(self, question: str, answer: str) -> int:
        user = {"role": "user", "content": question}
        chat = [user, {"role": "assistant", "content": answer}]
        return len(self._tokenizer.chat(chat, generation_prompt=False))

    def _held_out_scores(self, samples: Collection[_Sample]) -> list[float | None]:
        """Returns each sample's score by the held-out judge, None where it has none."""
        if self._held_out is None:
            return [None] * len(samples)
        thinned = [sample.thinned(self._settings.held_out_every) for sample in samples]
        graded = self._grades(self._held_out, thinned, _ignore)
        scores: list[float | None] = []
        for sample, grades in zip(thinned, graded, strict=True):
            counted = _counted(_rows(sample, grades))
            mean = float(np.mean(counted)) if counted else None
            scores.append(
                None if mean is None else _worth(mean, sample, self._settings)[0]
            )
        return scores

    def _grades(
        self,
        judge: Judge,
        samples: Collection[_Sample],
        progress: Callable[[int], None],
    ) -> list[list[Grade]]:
        """Returns the grades of each sample's judged rows, all in one call."""
        items, seeds = [], []
        for sample in samples:
            for j in sample.judged():
                items.append((sample.task, *sample.pairs[j]))
                seeds.append(sample.seeds[j])
        given = iter(judge.grade(items, seeds, progress=progress))
        return [[next(given) for _ in s.judged()] for s in samples]


def question_and_answer(row: types.Row) -> sets.QuestionAnswer:
    """Splits a row, whose last turn is the assistant's, before that turn.

    Returns:
      All turns before it, with their roles if there are several, and its text.
    """
    *before, last = row["dialogs"]
    if len(before) == 1:
        return before[0]["content"], last["content"]
    question = "\n".join(f"{turn['role']}: {turn['content']}" for turn in before)
    return question, last["content"]


def _ignore(count: int) -> None:
    """Reports progress to nobody."""


def _rows(sample: _Sample, grades: Sequence[Grade]) -> tuple[types.GradedRow, ...]:
    graded = {
        i: grading.known_right(grade, seed=sample.seeds[i])
        if sample.right[i]
        else grade
        for i, grade in zip(sample.judged(), grades, strict=True)
    }
    drawn = zip(sample.drawn, sample.stopped, strict=True)
    return tuple(
        types.GradedRow(
            index=position,
            gate=gate,
            grade=graded[i].letter if i in graded else "",
            score=graded[i].score if i in graded else 0.0,
        )
        for i, (position, gate) in enumerate(drawn)
    )


def _counted(rows: Sequence[types.GradedRow]) -> list[float]:
    """Returns what the rows are worth, but for those whose verdict is unreadable."""
    return [row.score for row in rows if row.gate or row.grade]


def _worth(
    mean: float, sample: _Sample, settings: VerifierSettings
) -> tuple[float, Mapping[str, float]]:
    """Returns the score of a dataset whose rows are worth so much, and its factors."""
    factors = {
        **sets.factors(sample.findings, mean, settings.gates),
        "variety": sample.variety,
    }
    return mean**settings.mean_power * float(np.prod(list(factors.values()))), factors


def _verdict(
    sample: _Sample,
    grades: Sequence[Grade],
    held_out: float | None,
    settings: VerifierSettings,
) -> types.Verdict:
    """Turns the grades of a sample's judged rows into the verdict on its dataset."""
    rows = _rows(sample, grades)
    counted = _counted(rows)
    unreadable = len(rows) - len(counted)
    note = f"{unreadable} of {len(rows)} verdicts unreadable" if unreadable else ""
    if not counted:
        return types.Verdict(outcome="unscored", rows=rows, note=note)
    score, factors = _worth(float(np.mean(counted)), sample, settings)
    low, high = interval.of_mean(np.array(counted))
    read = [grade.score for grade in grades if grade.letter]
    passed = len(sample.judged()) / len(sample.drawn)
    return types.Verdict(
        outcome="scored",
        score=score,
        interval=tuple(_worth(end, sample, settings)[0] for end in (low, high)),
        gates_score=_worth(passed, sample, settings)[0],
        judge_score=float(np.mean(read)) if read else 0.0,
        held_out_score=held_out,
        factors=factors,
        gates={name: sample.stopped.count(name) for name in row_gates.ROW_GATES},
        found={"schema": sample.schema, **sample.findings.counts()},
        rows=rows,
        note=note,
    )
