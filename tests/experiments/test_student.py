"""Tests for experiments/{student,build_student}.py."""

import jax
import numpy as np
import pytest

from configs.mini import student as config_file
from datachef_jax import types
from datachef_jax.parallel import sharding
from datachef_jax.tasks.mini import pool
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.training import rollouts
from datachef_jax.verifier import rubric
from datachef_jax.verifier.judges import grade as grades
from datachef_jax.verifier.judges.grade import Judge
from datachef_jax.verifier.judges.prompting import Prompter
from experiments import build_student
from experiments import checks
from experiments import environment
from experiments import results
from experiments import student
from tests import blank
from tests.experiments.conftest import ROOT

_STYLE = rubric.RubricStyle(name="compact", max_chars=160)


class _ByLength(Judge):
    """Grades by the length of the answer, so that labels tell nothing about it."""

    def grade(self, items, seeds, *, progress):
        progress(len(items))
        return [
            grades.expected(_likely(len(answer)), mass=1.0, seed=seed)
            if answer
            else grades.unreadable(0.0)
            for (_, _, answer), seed in zip(items, seeds, strict=True)
        ]


def _likely(length):
    """Returns the probabilities of a letter that is certain, or 3/4 so."""
    sure = 1.0 if length % 2 else 0.75
    other = np.eye(5)[(length + 1) % 5]
    return sure * np.eye(5)[length % 5] + (1.0 - sure) * other


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return pool.build(tmp_path_factory.mktemp("pool"), seed=0, benchmark_size=16)


@pytest.fixture(scope="module")
def prompter():
    tokenizer = ChatTokenizer.load(ROOT / "configs/mini/checkpoints/tokenizer")
    return Prompter(tokenizer=tokenizer, style=_STYLE, max_prompt_tokens=256)


@pytest.fixture(scope="module")
def lessons(tasks):
    return _made(tasks)


def _made(tasks, **changes):
    settings = dict(held_out=300, training=[500, 500], seed=3)
    return student.made(tasks, _ByLength(), **(settings | changes))


def _questions(rows):
    return {judged.row.question for judged in rows}


def test_nothing_is_asked_twice_and_no_benchmark_gets_in(tasks, lessons):
    held_out = _questions(lessons.held_out())
    stages = [_questions(lessons.training(i)) for i in (0, 1)]
    benchmark = {e.question for task in tasks for e in task.examples}
    assert "" not in held_out and len(held_out) > 200
    for asked in stages:
        assert "" in asked  # what no question was left of is not checked, but learned
        assert not asked & (held_out | benchmark)
    assert not held_out & benchmark
    new = stages[1] - stages[0]
    assert len(new) > 0.8 * len(stages[1])


def test_questions_that_were_cut_to_the_same_are_not_on_both_sides(tasks):
    """Of so many rows some are cut off after the same few letters."""
    lessons = _made(tasks, held_out=2000, training=[2000])
    held_out = _questions(lessons.held_out())
    cut = {q for q in held_out if q.endswith("...")}
    assert len(cut) > 20
    assert not _questions(lessons.training(0)) & held_out


def _examples(rows, prompter, **changes):
    settings = dict(answers=False, row_tokens=256, row_targets=128) | changes
    return student.examples(rows, prompter, **settings)


def test_the_judges_letters_are_learned_and_no_labels(lessons, prompter):
    rows = lessons.training(0)
    made = _examples(rows, prompter)
    prompts = prompter.prompts([judged.item for judged in rows], rubric.messages)
    drawn = others = labels = 0
    for judged, example, prompt in zip(rows, made, prompts, strict=True):
        # What it reads when it grades is what it has learned from.
        *read, learned = example.tokens
        assert read == prompt
        assert sum(example.loss_mask) == 1 and example.loss_mask[-1]
        letter = prompter.tokenizer.decode([learned])
        length = len(judged.row.answer)
        assert _likely(length)[grades.LETTERS.index(letter)] > 0
        drawn += length % 2 == 0
        others += letter != grades.LETTERS[length % 5]
        labels += letter == judged.row.grade
    # Of those that are not certain a quarter draws the other letter.
    assert drawn > 50
    assert 0.1 < others / drawn < 0.4
    assert labels < 0.4 * len(rows)


def test_answers_are_learned_where_the_judge_likes_them(lessons, prompter):
    rows = lessons.training(0)
    for judged, example in zip(
        rows, _examples(rows, prompter, answers=True), strict=True
    ):
        tokens = zip(example.tokens, example.loss_mask, strict=True)
        learned = prompter.tokenizer.decode([token for token, mask in tokens if mask])
        letter = judged.grade.letter
        answer = f"A: {judged.row.answer}\n" if letter == "E" else ""
        assert learned == f"{answer}{letter}"


def test_rows_without_a_readable_grade_are_no_lesson(lessons):
    for rows in (lessons.held_out(), lessons.training(0)):
        assert all(judged.row.answer and judged.grade.letter for judged in rows)


def test_what_does_not_fit_into_a_batch_is_left_out(lessons, prompter):
    rows = lessons.training(0)
    for longest, few in ((40, 128), (256, 4)):
        fit = [
            example
            for example in _examples(rows, prompter, answers=True)
            if len(example.tokens) <= longest and sum(example.loss_mask) <= few
        ]
        assert 0 < len(fit) < len(rows)
        got = _examples(
            rows, prompter, answers=True, row_tokens=longest, row_targets=few
        )
        assert got == fit


def _rollout(task, entries):
    """Returns a rollout with graded rows (question, answer, gate, grade, score)."""
    rows = [
        {
            "dialogs": [
                {"role": "user", "content": q},
                {"role": "assistant", "content": a},
            ]
        }
        for q, a, *_ in entries
    ]
    graded = [
        types.GradedRow(index=i, gate=gate, grade=letter, score=score)
        for i, (_, _, gate, letter, score) in enumerate(entries)
    ]
    return rollouts.record(
        task,
        blank.completion((5,)),
        types.Execution(kind="ok", log="", dataset=types.Dataset(rows=tuple(rows))),
        types.Verdict(outcome="scored", rows=tuple(graded)),
        prompt="",
        text="",
        spoken=(),
        reward=0.0,
        advantage=0.0,
    )


def _recorded(path, tasks, **changes):
    settings = dict(share=0.5, training=[100], seed=0) | changes
    return student.recorded([path], tasks, **settings)


def test_rows_of_a_run_keep_their_grades(tasks, tmp_path):
    task = tasks[0]
    good = [(f"gcd of {n} and {7 * n}", str(n), "", "C", 0.3) for n in range(50, 70)]
    leaked = [(f"Q: {e.question}", "1", "", "E", 1.0) for e in tasks[1].examples]
    stopped = [("x y z", "", "empty", "", 0.0), ("what is unread?", "4", "", "", 0.0)]
    path = tmp_path / "step_0000.jsonl"
    rollouts.write(
        path, [_rollout(task, good + leaked), _rollout(task, good + stopped)]
    )
    lessons = _recorded(path, tasks)
    held_out, training = lessons.held_out(), lessons.training(0)
    assert len(held_out) == 10  # once each
    assert len(training) == 20  # as often as they were graded
    assert not _questions(held_out) & _questions(training)
    assert _questions(held_out) | _questions(training) == {q for q, *_ in good}
    for judged in held_out + training:
        assert judged.row.task is task and judged.row.grade == ""
        assert judged.grade == grades.Grade(
            probabilities=(0.0, 0.0, 1.0, 0.0, 0.0), mass=1.0, score=0.3, letter="C"
        )
    assert len(_recorded(path, tasks, training=[7]).training(0)) == 7


def test_files_that_do_not_do_are_named(tasks, tmp_path):
    path = tmp_path / "step_0000.jsonl"
    rollouts.write(path, [_rollout(tasks[0], [("one?", "1", "", "E", 1.0)])])
    with pytest.raises(ValueError, match="1 questions .* 1 rows to train .* 0 to hold"):
        _recorded(path, tasks)
    with pytest.raises(ValueError, match="step_0000.jsonl: task 'gcd' is none of"):
        _recorded(path, tasks[1:])


def test_turns_of_several_graders_are_all_rows_in_order(lessons, monkeypatch):
    monkeypatch.setattr(student, "_TURN", 7)
    rows = lessons.held_out()[:30]
    given, speeds = student.by_turns({"a": _ByLength(), "b": _ByLength()}, rows)
    expected = [judged.grade.probabilities for judged in rows]
    for name in ("a", "b"):
        assert [grade.probabilities for grade in given[name]] == expected
        assert speeds[name] > 0


def _config():
    config = config_file.get_config()
    config.pool.benchmark_size = 8
    config.held_out.rows = 60
    config.judge.min_mass = 0.0  # so few steps give grades little of it
    config.sizes.update(
        hidden_size=16, intermediate_size=16, num_layers=1, num_heads=2, head_dim=8
    )
    config.sizes.num_kv_heads = 1
    config.optimizer.warmup_steps = 5
    shape = dict(rows=2, row_tokens=256, row_targets=64)
    config.stages = (dict(steps=60, shape=shape, rows=300),) * 2
    return config


def _run(config, workdir):
    made = build_student.build(config, workdir, ROOT)
    made.run(environment.Environment(workdir / "environment.json", root=ROOT))
    return results.read_json(workdir / "summary.json")


@pytest.fixture
def one_device():
    devices = jax.devices()[:1]
    with jax.set_mesh(sharding.make_mesh(data=1, model=1, devices=devices)):
        yield


@pytest.mark.slow
def test_a_short_distillation_measures_what_it_has_saved(one_device, tmp_path, capsys):
    summary = _run(_config(), tmp_path)
    shown = results.read_jsonl(tmp_path / "held_out.jsonl")
    given, judge = (
        np.array([row[name] for row in shown]) for name in ("student", "judge")
    )
    found = summary["student against judge"]["all"]
    assert found["rows"] == len(shown)
    assert found["accuracy"] == np.mean(given.argmax(1) == judge.argmax(1))
    scores = np.array([0.0, 0.0, 0.0, 0.4, 1.0])
    error = np.abs((given - judge) @ scores).mean()
    assert found["score_error"] == pytest.approx(error)
    assert summary["losses"]["loss/last"] < summary["losses"]["loss/first"]

    # The folder alone gives these grades, through the judge that the config builds.
    config = _config()
    config.judge.update(checkpoint=str(tmp_path / "checkpoint"))
    grader = build_student.build(config, tmp_path / "again", ROOT).judge
    tasks = {t.name: t for t in pool.build(tmp_path / "p", seed=0, benchmark_size=8)}
    items = [(tasks[row["task"]], row["question"], row["answer"]) for row in shown]
    grades_again = grader.grade(items, [0] * len(items), progress=lambda count: None)
    again = np.array([grade.probabilities for grade in grades_again])
    np.testing.assert_allclose(again, given, atol=1e-5)

    # Killed before the end, it neither trains nor measures anything else.
    (tmp_path / "summary.json").unlink()
    assert _run(_config(), tmp_path) == summary
    table = capsys.readouterr().out
    assert "student against judge" in table and "rows a CPU-second" in table


@pytest.mark.slow
def test_rows_of_a_run_need_no_judge(one_device, tmp_path):
    config = _config()
    tasks = pool.build(tmp_path / "pool", seed=0, benchmark_size=8)
    entries = [(f"gcd of {n} and {7 * n}", str(n), "", "C", 0.3) for n in range(50, 90)]
    folder = tmp_path / "rollouts"
    folder.mkdir()
    rollouts.write(folder / "step_0000.jsonl", [_rollout(tasks[0], entries)])
    config.rollouts = str(folder.relative_to(tmp_path) / "*.jsonl")
    config.tokenizer = str(ROOT / config.tokenizer)
    config.judge.checkpoint = "nowhere"
    made = build_student.build(config, tmp_path / "run", tmp_path)
    made.run(environment.Environment(tmp_path / "environment.json", root=ROOT))
    summary = results.read_json(tmp_path / "run" / "summary.json")
    assert summary["student against judge"]["all"]["rows"] == 4
    assert summary["student against judge"]["all"]["kappa"] is None  # all are C
    assert summary["student against judge"]["all"]["accuracy"] == 1.0
    assert "student against label" not in summary


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("rubric.name", "full", "config.rubric.name='full'.*answers=True"),
        ("judge.checkpoint", "nowhere", "config.judge.checkpoint='nowhere'"),
        ("rollouts", "nowhere/*.jsonl", "config.rollouts='nowhere/.*no such file"),
        ("sizes.num_kv_heads", 3, "config.sizes=.*3"),
    ],
)
def test_what_cannot_be_used_is_refused(field, value, message, tmp_path):
    config = _config()
    section, _, name = field.rpartition(".")
    (config[section] if section else config)[name] = value
    with pytest.raises(checks.UserError, match=message):
        build_student.build(config, tmp_path, ROOT)
