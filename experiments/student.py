"""Distils a judge into a student: a smaller model that grades as the judge does.

The student reads the judge's prompts and answers with a grade, so it stands wherever a
judge does: `config.judge.checkpoint` names its folder. What it learns is the judge's
opinion alone; the grade that a row's making implies is never shown to it.

Its target is the letter drawn from the judge's probabilities, not the probabilities:
both have the same gradient in the mean, for cross-entropy is linear in the target; a
rollout file holds the drawn letter alone; and the trainer of every other mini model
does for it. The price is noise. Beside the grades the student may learn the answers of
rows that drew an E, as the judge itself did.

Not covered: students that reason, or that start from trained weights; answers beside
the grades of prompts that are not compact.

`summary.json` has the losses, how many `weights` both have, and for "student
against judge", "student against label" and "judge against label" the figures of
`agreement.by_group` on the held-out rows, of all and by task; those of labels are
missing where rows have none. `held_out.jsonl` has the rows and what each said.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import pathlib
import time
from typing import Any

import numpy as np
import optax
import tqdm

from datachef_jax.finetune import packing
from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.model import Qwen3
from datachef_jax.training import rollouts
from datachef_jax.types import Task
from datachef_jax.verifier import verify
from datachef_jax.verifier.gates.contamination import Contamination
from datachef_jax.verifier.judges import grade as grades
from datachef_jax.verifier.judges.grade import Grade
from datachef_jax.verifier.judges.grade import Judge
from datachef_jax.verifier.judges.prompting import Prompter
from experiments import agreement
from experiments import environment
from experiments import results
from experiments import supervised
from experiments.corpora import judge as judge_corpus
from experiments.corpora.judge import LabelledRow

_TURN = 256  # rows that judge and student are timed on by turns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """A row with a judge's opinion.

    Attributes:
      row: The row, whose own grade is its label, "" where nobody knows.
      grade: What the judge says.
    """

    row: LabelledRow
    grade: Grade

    @property
    def item(self) -> grades.Item:
        """Returns what a judge is asked about."""
        return self.row.task, self.row.question, self.row.answer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lessons:
    """Where the rows come from; no question is on both sides.

    Attributes:
      held_out: Makes the rows that the student is checked on.
      training: Makes the rows of each stage of training, by its place.
    """

    held_out: Callable[[], list[Judged]]
    training: Callable[[int], list[Judged]]


def made(
    tasks: Sequence[Task],
    judge: Judge,
    *,
    held_out: int,
    training: Sequence[int],
    seed: int,
) -> Lessons:
    """Returns rows of the mini world with known faults, which the judge grades.

    Rows without a question are trained on and not checked: a gate stops them before
    any judge.

    Args:
      tasks: The pool; no question of its benchmarks is in any row.
      judge: The teacher.
      held_out: Rows to check on, less those without a question.
      training: Rows of each stage.
      seed: Fixes all of them.
    """
    benchmarks = [example.question for task in tasks for example in task.examples]

    @functools.cache
    def checked() -> list[LabelledRow]:
        rows = judge_corpus.labelled_rows(
            tasks, count=held_out, exclude=benchmarks, seed=seed + 10**6
        )
        return [row for row in rows if row.question]

    def of_stage(index: int) -> list[Judged]:
        asked = {row.question for row in checked()}
        rows = judge_corpus.labelled_rows(
            tasks,
            count=training[index],
            exclude=[*benchmarks, *sorted(asked)],
            seed=seed + 10 * index,
        )
        # A question that was cut off may still be one that was cut off there.
        rows = [row for row in rows if row.question not in asked]
        return graded(rows, judge, seed=seed + 10 * index)

    return Lessons(
        held_out=lambda: graded(checked(), judge, seed=seed + 10**6), training=of_stage
    )


def graded(rows: Sequence[LabelledRow], judge: Judge, *, seed: int) -> list[Judged]:
    """Returns rows with the judge's opinion, without those it has none of."""
    seeds = np.random.SeedSequence(seed).generate_state(len(rows)).tolist()
    items = [(row.task, row.question, row.answer) for row in rows]
    with tqdm.tqdm(total=len(rows), desc="grading", unit="row", mininterval=5) as bar:
        given = judge.grade(items, seeds, progress=bar.update)
    return [
        Judged(row=row, grade=grade)
        for row, grade in zip(rows, given, strict=True)
        if grade.letter
    ]


def recorded(
    paths: Sequence[pathlib.Path],
    tasks: Sequence[Task],
    *,
    share: float,
    training: Sequence[int],
    seed: int,
) -> Lessons:
    """Returns rows that a run has graded already, from its rollout files.

    Args:
      paths: Files of `training.rollouts`.
      tasks: Theirs; rows that give away a question of any benchmark are left out.
      share: Of the questions, that are held out.
      training: Rows of each stage, drawn without replacement; at most all there are.
      seed: Says which questions and which rows.

    Raises:
      ValueError: If a task is not among these, or one side would be empty.
      OSError: If a file cannot be read.
    """
    rows = _read(paths, tasks)
    questions = sorted({judged.row.question for judged in rows})
    order = np.random.default_rng(seed).permutation(len(questions))
    chosen = {questions[i] for i in order[: round(share * len(questions))]}
    held_out = [judged for judged in rows if judged.row.question in chosen]
    others = [judged for judged in rows if judged.row.question not in chosen]
    if not held_out or not others:
        raise ValueError(
            f"{len(questions)} questions in {len(paths)} files leave {len(others)} "
            f"rows to train on and {len(held_out)} to hold out"
        )
    # Sets repeat rows, and the same source is chosen step after step.
    once = {(j.row.task.name, *j.item[1:]): j for j in held_out}

    def of_stage(index: int) -> list[Judged]:
        drawn = np.random.default_rng((seed, index)).permutation(len(others))
        return [others[i] for i in drawn[: training[index]]]

    return Lessons(held_out=lambda: list(once.values()), training=of_stage)


def _read(paths: Sequence[pathlib.Path], tasks: Sequence[Task]) -> list[Judged]:
    """Returns the rows that no gate stopped and the judge could read."""
    known = {task.name: task for task in tasks}
    benchmarks = [Contamination(task.examples) for task in tasks]
    leaks = functools.cache(lambda text: any(index.holds(text) for index in benchmarks))
    rows = []
    for path in paths:
        for rollout in rollouts.read(path):
            if rollout.task not in known:
                raise ValueError(
                    f"{path}: task {rollout.task!r} is none of {sorted(known)}"
                )
            task = known[rollout.task]
            for entry in rollout.rows:
                question, answer = verify.question_and_answer(entry["row"])
                if not entry["grade"] or leaks(question):
                    continue
                row = LabelledRow(task=task, question=question, answer=answer, grade="")
                grade = _recalled(entry["grade"], entry["score"])
                rows.append(Judged(row=row, grade=grade))
    return rows


def _recalled(letter: str, score: float) -> Grade:
    """Returns what a rollout file still knows of a grade."""
    sure = tuple(float(letter == other) for other in grades.LETTERS)
    return Grade(probabilities=sure, mass=1.0, score=score, letter=letter)


def examples(
    rows: Sequence[Judged],
    prompter: Prompter,
    *,
    answers: bool,
    row_tokens: int,
    row_targets: int,
) -> list[packing.TokenExample]:
    """Tokenizes rows as the judge reads them, each with the letter that it drew.

    Args:
      rows: What the judge said.
      prompter: Of the student.
      answers: Whether the answers of rows that drew an E are learned, too.
      row_tokens: Of a row of a batch: longer rows are left out.
      row_targets: The same, for the tokens to be learned.
    """
    drawn = [
        dataclasses.replace(judged.row, grade=judged.grade.letter) for judged in rows
    ]
    made = judge_corpus.graded(drawn, prompter.tokenizer, style=prompter.style)
    if not answers:
        made = [
            packing.TokenExample(tokens, (False,) * (len(tokens) - 1) + (True,))
            for tokens, _ in made
        ]
    return [
        example
        for example in made
        if len(example.tokens) <= row_tokens and sum(example.loss_mask) <= row_targets
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student:
    """The experiment.

    Attributes:
      workdir: Gets `checkpoint/`, the table and the figures.
      model: The student before its training.
      lessons: The rows.
      prompter: Makes the prompts of all models.
      answers: See `examples`.
      stages: Of the training: `steps`, and the `shape` of a batch.
      optimizer: Made for all steps.
      grader: Makes a judge of a model.
      judge: The teacher, to be timed; None where only its grades are there.
      sizes: How many weights "student" and "judge" have, as far as is known.
      bins: Of the calibration error.
      seed: Of the batches' order.
    """

    workdir: pathlib.Path
    model: Qwen3
    lessons: Lessons
    prompter: Prompter
    answers: bool
    stages: Sequence[Mapping[str, Any]]
    optimizer: optax.GradientTransformation
    grader: Callable[[Qwen3], Judge]
    judge: Judge | None
    sizes: Mapping[str, int]
    bins: int
    seed: int

    def run(self, record: environment.Environment) -> None:
        """Trains, compares, prints the table and writes `summary.json`."""
        with record.stage("held-out rows"):
            held_out = self.lessons.held_out()
        teacher = agreement.of_grades([judged.grade for judged in held_out])
        with record.stage("training"):
            losses = supervised.train(
                self.model,
                self._stages(),
                optimizer=self.optimizer,
                seed=self.seed,
                workdir=self.workdir,
                evaluate=lambda model: _progress(
                    self.grader(model), held_out, teacher, bins=self.bins
                ),
            )
        with record.stage("agreement"):
            # As stored: what is measured is what others load.
            stored = weights.load(self.workdir / "checkpoint", self.model.compute)
            graders = {"student": self.grader(stored)}
            if self.judge is not None:
                graders["judge"] = self.judge
            given, speeds = by_turns(graders, held_out)
        student = agreement.of_grades(given["student"])
        record.note("rows a CPU-second", speeds)
        summary = {
            "losses": {k: v for k, v in losses.items() if k.startswith("loss/")},
            "weights": dict(self.sizes),
            **agreement.compare(
                student,
                teacher,
                labels=[judged.row.grade for judged in held_out],
                groups=[judged.row.task.name for judged in held_out],
                bins=self.bins,
            ),
        }
        text = agreement.page(summary, speeds)
        print(text)
        results.write_text(self.workdir / "table.md", text + "\n")
        results.write_jsonl(
            self.workdir / "held_out.jsonl",
            [_shown(*pair) for pair in zip(held_out, given["student"], strict=True)],
        )
        results.write_json(self.workdir / "summary.json", summary)

    def _stages(self) -> list[supervised.Stage]:
        return [
            supervised.Stage(
                name=f"student {index + 1}/{len(self.stages)}",
                examples=functools.partial(self._examples, index),
                steps=stage["steps"],
                **stage["shape"],
            )
            for index, stage in enumerate(self.stages)
        ]

    def _examples(self, index: int) -> list[packing.TokenExample]:
        shape = self.stages[index]["shape"]
        return examples(
            self.lessons.training(index),
            self.prompter,
            answers=self.answers,
            row_tokens=shape["row_tokens"],
            row_targets=shape["row_targets"],
        )


def by_turns(
    graders: Mapping[str, Judge], rows: Sequence[Judged]
) -> tuple[dict[str, list[Grade]], dict[str, float]]:
    """Lets several graders read the same rows, a part each by turns, and times them.

    Returns:
      The grades of each, and how many rows it reads a second of CPU time, of all its
      threads and from the text on; what compiles is compiled before.
    """
    items = [judged.item for judged in rows]
    given = {name: [] for name in graders}
    seconds = dict.fromkeys(graders, 0.0)
    for grader in graders.values():
        _ask(grader, items[:1])
    for start in range(0, len(items), _TURN):
        part = items[start : start + _TURN]
        for name, grader in graders.items():
            started = time.process_time()
            given[name] += _ask(grader, part)
            seconds[name] += time.process_time() - started
    return given, {name: len(rows) / took for name, took in seconds.items()}


def _ask(grader: Judge, items: Sequence[grades.Item]) -> list[Grade]:
    # Nothing that is looked at here is drawn: any seed does.
    return grader.grade(items, [0] * len(items), progress=lambda count: None)


def _progress(
    grader: Judge, rows: Sequence[Judged], teacher: agreement.Opinions, *, bins: int
) -> dict[str, float]:
    """Returns the figures that tell how far the training is."""
    given = agreement.of_grades(_ask(grader, [judged.item for judged in rows]))
    found = agreement.figures(given, teacher, bins=bins)
    return {name: found[name] for name in ("accuracy", "kappa", "score_error")}


def _shown(judged: Judged, given: Grade) -> dict[str, Any]:
    """Returns a held-out row and what each says of it, for whoever looks closer."""
    row = judged.row
    return {
        "task": row.task.name,
        "question": row.question,
        "answer": row.answer,
        "label": row.grade,
        "judge": list(judged.grade.probabilities),
        "student": list(given.probabilities),
    }
