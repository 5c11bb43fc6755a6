"""Tests for datachef_jax/tasks/mini: families, faults, pool, rename."""

import collections
import dataclasses
import hashlib
import json

import numpy as np
import pytest
import reasoning_gym

from datachef_jax.scoring import answers
from datachef_jax.tasks import augment
from datachef_jax.tasks import sources
from datachef_jax.tasks.mini import families
from datachef_jax.tasks.mini import faults
from datachef_jax.tasks.mini import kinds
from datachef_jax.tasks.mini import names
from datachef_jax.tasks.mini import pool
from datachef_jax.tasks.mini import rename
from datachef_jax.text import prompts
from datachef_jax.types import Example

_BENCHMARK = 60


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return pool.build(
        tmp_path_factory.mktemp("pool"), seed=0, benchmark_size=_BENCHMARK
    )


def _cells(source):
    """Returns (question, answer or None) of each row, whatever its layout."""
    found = []
    for row in sources.read_rows(source.path, source.format, source.records):
        row = next((v for v in row.values() if isinstance(v, dict)), row)
        values = [row[key] for key in row if key != "id"]
        found.append((values[0], values[1] if len(values) > 1 else None))
    return found


def _by_remark(task, kind):
    found = [s for s in task.sources if s.card.endswith(kinds.KINDS[kind].remark)]
    return found[0] if found else None


def test_there_are_twelve_tasks_and_three_are_held_out(tasks):
    held_out = [task.held_out for task in tasks if task.held_out]
    assert len(tasks) == 12
    assert sorted(held_out) == ["in_domain", "in_domain", "out_of_domain"]
    known = {task.domain for task in tasks if not task.held_out}
    for task in tasks:
        assert len(task.examples) == _BENCHMARK
        assert 8 <= len(task.sources) <= 12
        if task.held_out:
            assert (task.domain in known) == (task.held_out == "in_domain")


def test_ids_are_unique_and_every_format_and_contract_occurs(tasks):
    ids = [source.id for task in tasks for source in task.sources]
    assert len(set(ids)) == len(ids)
    formats = {(s.format, s.records) for task in tasks for s in task.sources}
    assert formats >= {
        ("jsonl", ""), ("csv", ""), ("parquet", ""), ("json", "*"), ("json", "examples")
    }  # fmt: skip
    assert {t.contract for t in tasks} == {"plain", "boxed", "letter", "json"}


def test_a_seed_fixes_every_byte(tasks, tmp_path):
    again = pool.build(tmp_path, seed=0, benchmark_size=_BENCHMARK)
    for one, other in zip(tasks, again, strict=True):
        assert one.examples == other.examples
        for a, b in zip(one.sources, other.sources, strict=True):
            assert dataclasses.replace(a, path=b.path) == b
            digests = {hashlib.sha256(s.path.read_bytes()).digest() for s in (a, b)}
            assert len(digests) == 1


def test_benchmark_questions_are_in_no_source_but_the_leak(tasks):
    asked = {e.question for task in tasks for e in task.examples}
    for task in tasks:
        for source in task.sources:
            shared = asked & {question for question, _ in _cells(source)}
            if source == _by_remark(task, "leaked"):
                copies = " ".join(question for question, _ in _cells(source))
                assert all(e.question in copies for e in task.examples)
            else:
                assert not shared, source.id



def test_unseen_questions_are_in_no_source_and_not_in_the_benchmark(tasks):
    for task in tasks:
        again = pool.unseen(task, seed=3)
        asked = {example.question for example in again.examples}
        assert len(asked) == _BENCHMARK
        assert not asked & {example.question for example in task.examples}
        for source in task.sources:
            assert not asked & {question for question, _ in _cells(source)}
        assert dataclasses.replace(again, examples=task.examples) == task
        assert pool.unseen(task, seed=3) == again != pool.unseen(task, seed=4)


def test_a_family_without_other_questions_is_refused(tasks, monkeypatch):
    few = tasks[0].examples[:5]
    monkeypatch.setattr(families, "generate", lambda *asked, **settings: list(few))
    with pytest.raises(ValueError, match=f"task gcd has 5 .* not {_BENCHMARK}"):
        pool.unseen(tasks[0], seed=0)


@pytest.mark.parametrize("name", sorted(families.FAMILIES))
def test_answers_are_those_of_reasoning_gym(name):
    family = families.FAMILIES[name]
    data = reasoning_gym.create_dataset(
        name, seed=3, size=40, **family.settings["normal"]
    )
    for entry in data:
        rendered = family.render(entry)
        if rendered is None:
            continue
        _, answer = rendered
        digits = [c for c in answer if c.isalnum()]
        expected = entry["answer"]
        if family.contract == "letter":
            expected = "A" if expected in ("Yes", "True") else "B"
        else:  # the same signs in the same order, without brackets and ".0"
            expected = expected.replace(".0", "")
        assert digits == [c for c in expected if c.isalnum()]
        assert ("-" in answer) == ("-" in expected)


def test_each_fault_is_what_its_card_says(tasks):
    task = next(t for t in tasks if t.name == "number_sorting")

    def right(question):
        way, _, numbers = question.removeprefix("sort ").partition(": ")
        values = sorted(map(int, numbers.split()), reverse=way == "down")
        return " ".join(map(str, values))

    shares = {}
    for kind in kinds.ALWAYS:
        cells = _cells(_by_remark(task, kind))
        if kind == "leaked":
            continue
        good = [answers.extract(a or "", "json") == right(q) for q, a in cells]
        shares[kind] = float(np.mean(good))
        if kind == "duplicated":
            counts = collections.Counter(q for q, _ in cells)
            assert set(counts.values()) == {10}
    assert shares["clean"] == shares["duplicated"] == 1.0
    assert shares["buried"] == shares["other_contract"] == 0.0
    assert 0.5 < shares["scored"] < 0.7
    assert 0.5 < shares["broken"] < 0.75


def test_a_wrong_answer_differs_from_the_right_one():
    rng = np.random.default_rng(0)
    rows = [Example(question=str(i), answer=str(i % 2)) for i in range(4)]
    assert all(faults.wrong(row, rows, rng) != row.answer for row in rows)
    letters = [Example(question="q", answer="A")] * 2
    assert faults.wrong(letters[0], letters, rng) == "B"
    with pytest.raises(ValueError, match="every answer is '7'"):
        faults.wrong(Example(question="q", answer="7"), [rows[0]] * 0 or [
            Example(question="q", answer="7")], rng)  # fmt: skip


def test_names_are_enough_and_distinct():
    assert len(set(names.quoted())) == len(names.quoted())
    most = len(families.FAMILIES) * (len(kinds.ALWAYS) + len(kinds.SOMETIMES))
    assert len(names.SOURCES) >= most
    assert len(set(names.TOPICS)) == len(names.TOPICS)
    assert not set(names.TOPICS) & {f.topic for f in families.FAMILIES.values()}


def test_renaming_is_one_to_one_and_keeps_the_contract(tasks):
    rng = np.random.default_rng(0)
    style = prompts.PromptStyle(
        rules=False, toolkit="", examples_per_source=1, max_example_chars=10
    )
    task = next(t for t in tasks if t.contract == "json")
    text = prompts.policy_messages(task, style)[0]["content"]
    replace = rename.renamer(rng, topics=True)
    renamed = replace(text)
    ids = [source.id for source in task.sources]
    assert not any(f'"{i}"' == replace(f'"{i}"') for i in ids[:1]) or renamed != text
    assert len({replace(f'"{i}"') for i in ids}) == len(ids)
    assert replace('"answer"') == '"answer"'
    topic = families.FAMILIES[task.name].topic
    assert f"Topic: {topic}." in text and f"Topic: {topic}." not in renamed
    # The benchmark's topic and its sources' stay the same one.
    new = replace(f"Topic: {topic}.")
    assert renamed.count(new) == text.count(f"Topic: {topic}.")


def test_a_subset_keeps_the_task_and_its_size_is_bounded(tasks):
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(60):
        part = augment.subset(tasks[0], rng, smallest=3, largest=5)
        assert all(source in tasks[0].sources for source in part.sources)
        assert dataclasses.replace(part, sources=tasks[0].sources) == tasks[0]
        sizes.add(len(part.sources))
    assert sizes == {3, 4, 5}
    assert len(augment.subset(tasks[0], rng, smallest=50, largest=90).sources) == len(
        tasks[0].sources
    )


@pytest.mark.parametrize(
    ("content", "file_format", "records", "match"),
    [
        ("", "jsonl", "", "has no rows"),
        ("{", "jsonl", "", "cannot be read as jsonl"),
        ('{"a": []}', "json", "examples", "cannot be read as json"),
        ("[]", "json", "", "has no rows"),
        ("not a table", "parquet", "", "cannot be read as parquet"),
        ("a", "xml", "", "format 'xml'"),
    ],
)
def test_a_source_that_cannot_serve_is_refused_by_name(
    tmp_path, content, file_format, records, match
):
    path = tmp_path / "raw"
    path.write_text(content)
    with pytest.raises(ValueError, match=match) as error:
        sources.read_rows(path, file_format, records)
    assert str(path) in str(error.value)


def test_a_missing_source_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="gone.csv cannot be read"):
        sources.read_rows(tmp_path / "gone.csv", "csv", "")


def test_nested_records_are_found(tmp_path):
    path = tmp_path / "raw.json"
    path.write_text(json.dumps({"x": {"q": "1"}, "y": {"q": "2"}}))
    rows = sources.read_rows(path, "json", "*")
    assert rows == [{"id": "x", "q": "1"}, {"id": "y", "q": "2"}]
