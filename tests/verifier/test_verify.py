"""Tests for datachef_jax/verifier/verify.py."""

import dataclasses
import json
import math

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
import pytest

from datachef_jax import types
from datachef_jax.scoring.equivalence import Equivalence
from datachef_jax.verifier import metadata
from datachef_jax.verifier import rubric
from datachef_jax.verifier import verify
from datachef_jax.verifier.forecast import Forecaster
from datachef_jax.verifier.gates import correctness
from datachef_jax.verifier.gates import rows as row_gates
from datachef_jax.verifier.gates.references import References
from datachef_jax.verifier.judges import grade as grades
from datachef_jax.verifier.proxy import ProxySettings
from tests import tiny
from tests.sandbox import small
from tests.verifier.gates.settings import SETTINGS

_SETTINGS = verify.VerifierSettings(
    rows_per_dataset=4,
    max_malformed_share=0.5,
    mean_power=0.5,
    held_out_every=1,
    gates=dataclasses.replace(
        SETTINGS, max_chars=200, max_tokens=300, contamination_weight=1.0
    ),
)


class _Scripted(grades.Judge):
    """Gives each answer the grade that a table names; "" is unreadable."""

    def __init__(self, table):
        self.table = table
        self.asked = []

    def grade(self, items, seeds, *, progress):
        self.asked += items
        letters = [self.table.get(answer, "E") for _, _, answer in items]
        return [
            grades.Grade(
                probabilities=tuple(float(grade == letter) for grade in rubric.SCORES),
                mass=1.0,
                score=rubric.SCORES.get(letter, 0.0),
                letter=letter,
            )
            for letter in letters
        ]


def _ignore(count):
    del count


def _score(mean, rows):
    """Returns what so many different rows score that are worth so much in the mean."""
    return mean**0.5 * min(1.0, math.log2(1 + mean * rows) / math.log2(1 + 7))


def _json(answer):
    return f'{{"answer": "{answer}"}}'


def _row(question, answer):
    return {
        "dialogs": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


def _execution(rows, kind="ok", malformed=0):
    data = types.Dataset(rows=tuple(rows), malformed=malformed, first_error="no role")
    return types.Execution(kind=kind, log="the log", dataset=data)


def _undecided(task, rows):
    return [None] * len(rows)


def _verifier(
    judge,
    *,
    benchmarks=(),
    decide=_undecided,
    held_out=None,
    held_out_every=1,
    forecaster=None,
):
    return verify.Verifier(
        judge,
        dataclasses.replace(_SETTINGS, held_out_every=held_out_every),
        tokenizer=tiny.byte_tokenizer(),
        benchmarks=benchmarks,
        decide=decide,
        held_out=held_out,
        forecaster=forecaster,
    )


def _verify(task, executions, table=(), seeds=None, **parts):
    judge = _Scripted(dict(table))
    verdicts = _verifier(judge, **parts).verify(
        [task] * len(executions),
        executions,
        range(len(executions)) if seeds is None else seeds,
        progress=_ignore,
    )
    return verdicts, judge


_GOOD = [_row(f"sort up: {n} 1", _json(f"1 {n}")) for n in range(2, 8)]


@pytest.mark.parametrize(
    ("execution", "outcome", "note"),
    [
        (_execution([], kind="sandbox_error"), "unscored", "the log"),
        (_execution([], kind="unparsed"), "empty", "unparsed"),
        (_execution([], kind="timeout"), "empty", "timeout"),
        (_execution([]), "empty", "no rows"),
        (_execution([], malformed=3), "format", "3 of 3 rows malformed: no role"),
        (_execution(_GOOD[:2], malformed=3), "format", "3 of 5"),
        (_execution(_GOOD[:3], malformed=3), "scored", ""),
    ],
)
def test_outcomes(task, execution, outcome, note):
    (verdict,), judge = _verify(task, [execution])
    assert verdict.outcome == outcome
    assert note in verdict.note
    assert (verdict.score > 0) == (outcome == "scored") == bool(judge.asked)


def test_score_is_a_power_of_the_mean_of_all_readable_rows_times_the_factors(task):
    rows = [
        _row("sort up: 2 1", _json("1 2")),  # E: 1
        _row("sort up: 3 1", _json("3 1")),  # C: 0
        _row("sort up: 4 1", "1 4"),  # stopped by the contract: 0
        _row("sort up: 9 8 7", _json("7 8 9")),  # stopped: the benchmark's question
    ]
    (verdict,), judge = _verify(task, [_execution(rows)], {_json("3 1"): "C"})
    # Of 4 rows each is worth a quarter of a good one, and 7 good ones are enough.
    found = {"contamination": 0.75, "volume": pytest.approx(1 / 3)}
    ones = {"personal_data": 1.0, "unsafe": 1.0, "variety": 1.0}
    assert verdict.factors == ones | found
    assert verdict.score == pytest.approx(_score(0.25, 4) * 0.75)
    assert verdict.score == pytest.approx(0.25**0.5 * 0.75 / 3)
    assert verdict.gates_score == pytest.approx(_score(0.5, 4) * 0.75)
    assert verdict.judge_score == pytest.approx((1 + 0) / 2)
    counts = dict.fromkeys(row_gates.ROW_GATES, 0) | {"contract": 1, "contamination": 1}
    assert verdict.gates == counts
    assert len(judge.asked) == 2  # what a gate stopped is not judged
    by_index = {row.index: row for row in verdict.rows}
    assert [by_index[i].gate for i in range(4)] == ["", "", "contract", "contamination"]
    assert [by_index[i].grade for i in range(4)] == ["E", "C", "", ""]


def test_a_program_has_the_last_word_on_what_is_right(task):
    rows = [_row(f"sort up: {n} 1", _json(f"1 {n}")) for n in (2, 3, 4, 5)]
    table = {_json("1 3"): "C", _json("1 4"): "A"}
    decisions = {_json("1 2"): False, _json("1 3"): True, _json("1 4"): True}

    def decide(asked, pairs):
        assert asked == task
        return [decisions.get(answer) for _, answer in pairs]

    (verdict,), judge = _verify(task, [_execution(rows)], table, decide=decide)
    by_index = {row.index: row for row in verdict.rows}
    assert [by_index[i].gate for i in range(4)] == ["incorrect", "", "", ""]
    # The judge was sure of C, which is wrong, and so has said nothing of the second.
    assert [by_index[i].grade for i in range(4)] == ["", "", "A", "E"]
    assert verdict.score == pytest.approx(_score((0 + 0 + 1) / 3, 4))
    assert verdict.judge_score == pytest.approx((0 + 0 + 1) / 3)  # C, A, E
    assert verdict.gates["incorrect"] == 1 and len(judge.asked) == 3
    assert verdict.note == "1 of 4 verdicts unreadable"


def test_every_held_out_benchmark_counts(task):
    foreign = (types.Example(question="gcd of 12 18 24", answer="6"),)
    rows = _GOOD[:3] + [_row("gcd of 12 18 24", _json("6"))]
    (clean,), _ = _verify(task, [_execution(rows)])
    (verdict,), _ = _verify(task, [_execution(rows)], benchmarks=[foreign])
    assert clean.found["contaminated"] == 0
    assert verdict.found["contaminated"] == verdict.gates["contamination"] == 1


def test_the_verdict_says_what_was_found_in_the_whole_set(task):
    rows = _GOOD + _GOOD[:1] + [_row("ask me@mail.org", _json("x"))]
    (verdict,), _ = _verify(task, [_execution(rows, malformed=2)])
    assert verdict.found == {
        "schema": 2,
        "duplicated": 1,
        "near_duplicated": 0,
        "contaminated": 0,
        "personal_data": 1,
        "unsafe": 0,
    }
    assert verdict.factors["personal_data"] == pytest.approx(1 - 0.5 / 8)
    assert verdict.factors["unsafe"] == 1.0


def test_the_interval_and_the_counts_are_those_of_the_rows(task):
    rows = [_row(f"sort up: {n} 1", _json(f"1 {n}")) for n in range(2, 34)]
    table = {_json(f"1 {n}"): "D" for n in range(2, 34) if n % 4}
    (verdict,), _ = _verify(task, [_execution(rows)], table)
    assert sum(verdict.grades.values()) == len(verdict.rows) == 4
    low, high = verdict.interval
    assert low < verdict.score < high
    assert _score(0.4, 32) == pytest.approx(low) and high <= _score(1.0, 32)
    mean = sum(row.score for row in verdict.rows) / 4
    assert verdict.score == pytest.approx(_score(mean, 32))


def test_a_forecast_stands_beside_the_score_and_changes_nothing(task, tmp_path):
    executions = [_execution(_GOOD), _execution([]), _execution(_GOOD[:3])]
    plain, _ = _verify(task, executions)
    results = [
        {
            "task": "any",
            "recipe": metadata.describe(task, execution, verdict),
            "dbs": [40.0 + len(execution.dataset.rows)],
        }
        for execution, verdict in zip(executions, plain, strict=True)
    ]
    path = tmp_path / "datasets.jsonl"
    path.write_text("".join(json.dumps(result) + "\n" for result in results))
    settings = ProxySettings(kernel="rbf", prior_std=1.0, unfamiliar_share=0.05)
    forecaster = Forecaster(path, settings=settings, k=1.0)
    verdicts, _ = _verify(task, executions, forecaster=forecaster)
    many, none, few = [verdict.forecast for verdict in verdicts]
    assert many.mean > few.mean and none is None
    without = [dataclasses.replace(verdict, forecast=None) for verdict in verdicts]
    assert without == plain


def test_a_held_out_judge_grades_the_same_rows_and_changes_nothing(task):
    stern = _Scripted({_json(f"1 {n}"): "A" for n in range(2, 8)})
    (alone,), _ = _verify(task, [_execution(_GOOD)])
    (both,), judge = _verify(task, [_execution(_GOOD)], held_out=stern)
    assert (alone.held_out_score, both.held_out_score) == (None, 0.0)
    assert dataclasses.replace(both, held_out_score=None) == alone
    assert stern.asked == judge.asked


def test_a_held_out_judge_may_read_some_of_the_rows_only(task):
    doubtful = _json("1 2"), _json("1 3")  # drawn with others or not, by the seed
    execution = _execution([*_GOOD, _row("sort up: 3 2 1", "I can't.")])
    grades_given = dict.fromkeys(doubtful, "A")
    for seed in range(8):
        stern = _Scripted(grades_given)
        (verdict,), judge = _verify(
            task, [execution], seeds=[seed], held_out=stern, held_out_every=2
        )
        looked = verdict.rows[::2]
        asked = [execution.dataset.rows[row.index] for row in looked if not row.gate]
        assert stern.asked == [
            (task, *verify.question_and_answer(row)) for row in asked
        ]
        worth = [row["dialogs"][-1]["content"] not in doubtful for row in asked]
        mean = sum(worth) / len(looked)
        assert verdict.held_out_score == pytest.approx(_score(mean, 7))


def test_unreadable_rows_are_left_out_and_counted(task):
    rows = [
        _row("sort up: 2 1", _json("1 2")),  # E: 1
        _row("sort up: 3 1", _json("a")),  # unreadable
        _row("sort up: 4 1", _json("b")),  # D: 0.4
        _row("sort up: 5 1", "1 5"),  # stopped: 0
    ]
    table = {_json("a"): "", _json("b"): "D"}
    (verdict,), _ = _verify(task, [_execution(rows)], table)
    assert verdict.score == pytest.approx(_score(1.4 / 3, 4))
    assert verdict.judge_score == pytest.approx(1.4 / 2)
    assert verdict.note == "1 of 4 verdicts unreadable"


def test_no_readable_row_is_our_fault_but_only_stopped_rows_are_not(task):
    rows = [_row("sort up: 3 1", _json("a"))] * 4
    (silent,), _ = _verify(task, [_execution(rows)], {_json("a"): ""})
    assert silent.outcome == "unscored"
    (stopped,), _ = _verify(task, [_execution([_row("sort up: 3 1", "")] * 4)])
    assert (stopped.outcome, stopped.score, stopped.judge_score) == ("scored", 0.0, 0.0)


def test_a_tiny_or_repeated_set_does_not_win(task):
    (few, repeated, good), _ = _verify(
        task,
        [_execution(_GOOD[:1]), _execution(_GOOD[:1] * 50), _execution(_GOOD)],
    )
    assert few.score == repeated.score == pytest.approx(_score(1.0, 1))
    assert good.score == pytest.approx(_score(1.0, 6))
    assert few.judge_score == repeated.judge_score == 1.0


def test_one_answer_to_all_is_no_good_set(task):
    others = tuple(types.Example(question=f"{n}", answer=f"{n % 2}") for n in range(9))
    binary = dataclasses.replace(task, examples=others)
    one = [_row(f"sort up: {n} 1", _json("1")) for n in range(2, 40)]
    both = [_row(f"sort up: {n} 1", _json(str(n % 2))) for n in range(2, 40)]
    (alike, varied), _ = _verify(binary, [_execution(one), _execution(both)])
    assert (alike.score, alike.factors["variety"]) == (0.0, 0.0)
    assert varied.score > 0.5


def test_set_gates_see_the_rows_that_were_not_drawn(task):
    hidden = _row("sort up: 9 8 7", _json("7 8 9"))
    (verdict,), _ = _verify(task, [_execution(_GOOD * 20 + [hidden] * 60)])
    assert verdict.factors["contamination"] == pytest.approx(2 / 3)
    assert len(verdict.rows) == 4


def test_all_recipes_are_judged_in_one_call_and_told_apart(task):
    other = dataclasses.replace(task, name="other")
    judge = _Scripted({_json("1 2"): "A"})
    bad = _row("sort up: 2 1", _json("1 2"))
    verdicts = _verifier(judge).verify(
        [task, other, task],
        [_execution([bad] * 4), _execution([]), _execution(_GOOD[1:5])],
        [3, 4, 5],
        progress=_ignore,
    )
    assert [v.outcome for v in verdicts] == ["scored", "empty", "scored"]
    assert [v.judge_score for v in verdicts] == [0.0, 0.0, 1.0]
    assert len(judge.asked) == 8


def test_the_seed_chooses_the_rows(task):
    execution = _execution(_GOOD)
    first, again, other = _verify(task, [execution] * 3, seeds=[1, 1, 2])[0]
    assert first == again
    assert [row.index for row in first.rows] != [row.index for row in other.rows]
    assert len({row.index for row in first.rows}) == 4  # without replacement


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([("user", "q"), ("assistant", "a")], ("q", "a")),
        (
            [("system", "s"), ("user", "q"), ("assistant", "a")],
            ("system: s\nuser: q", "a"),
        ),
        (
            [("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")],
            ("user: q\nassistant: a\nuser: r", "b"),
        ),
    ],
)
def test_question_and_answer(turns, expected):
    row = {"dialogs": [{"role": role, "content": text} for role, text in turns]}
    assert verify.question_and_answer(row) == expected


@pytest.fixture(scope="module")
def verifier(make_judge):
    return _verifier(make_judge(min_mass=1e-6))


def test_a_verdict_does_not_depend_on_the_other_recipes(task, verifier):
    executions = [_execution(_GOOD), _execution([]), _execution(_GOOD[:2] * 3)]

    def ask(chosen):
        return verifier.verify(
            [task] * len(chosen),
            [executions[i] for i in chosen],
            chosen,
            progress=_ignore,
        )

    together = ask([0, 1, 2])
    assert ask([2, 0]) == [together[2], together[0]]
    assert 0.0 < together[0].score < 1.0


_TEXT = st.one_of(
    st.text(st.characters(codec=None), max_size=80),
    st.sampled_from(
        [
            "Grade: E",
            "<|im_end|>",
            "\\boxed{",
            '{"answer": "1"}',
            "\ud800",
            "[" * 5000,
            "<<9**9**9**9=1>>",
            "9^9^9^9 = 3 / 0",
            "sort up: 1 " + "9" * 500,
            "```python\nimport os\n```",
            "4111 1111 1111 1111",
            "\u202e\U000e0041\x00",
        ]
    ),
)
_ROWS = st.builds(
    lambda texts: {
        "dialogs": [
            {"role": ("user", "assistant")[i % 2], "content": text}
            for i, text in enumerate(texts)
        ]
    },
    st.lists(_TEXT, min_size=2, max_size=2) | st.lists(_TEXT, min_size=4, max_size=4),
)
_CONTRACTS = ("plain", "boxed", "letter", "json", "code", '{"type": "object"}')


@pytest.fixture(scope="module")
def deciding(make_judge, tmp_path_factory):
    """Returns verifiers by what decides which answers are right."""
    judge = make_judge(min_mass=1e-6)
    path = tmp_path_factory.mktemp("known") / "references.jsonl"
    path.write_text('{"question": "Grade: E", "answer": "1"}\n')
    references = References(
        path,
        equivalence=Equivalence(workers=1, seconds=3.0),
        sandbox=small.started(),
    )
    ways = {
        "nothing": correctness.nothing,
        "mini": correctness.mini,
        "arithmetic": correctness.arithmetic,
        "references": references.decide,
    }
    return {name: _verifier(judge, decide=way) for name, way in ways.items()}


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(_ROWS, min_size=1, max_size=6),
    contract=st.sampled_from(_CONTRACTS),
    name=st.sampled_from(["sorting", "number_sorting", "chain_sum"]),
    way=st.sampled_from(["nothing", "mini", "arithmetic", "references"]),
)
def test_nothing_in_a_row_crashes_the_verifier(
    task, deciding, rows, contract, name, way
):
    asked = dataclasses.replace(task, contract=contract, name=name)
    (verdict,) = deciding[way].verify(
        [asked], [_execution(rows)], [0], progress=_ignore
    )
    for row in verdict.rows:
        assert row.gate in row_gates.ROW_GATES or row.grade in rubric.SCORES
    assert verdict.outcome == "scored"
    assert 0.0 <= verdict.interval[0] <= verdict.score <= verdict.interval[1] <= 1.0
