"""Tests for experiments/{mini_models,supervised}.py and experiments/corpora."""

import json
import os
import pathlib
import re

import jax
import numpy as np
import pytest

from datachef_jax.models.qwen3 import weights
from datachef_jax.parallel import sharding
from datachef_jax.recipes import parse
from datachef_jax.scoring import answers
from datachef_jax.tasks.mini import families
from datachef_jax.tasks.mini import pool
from datachef_jax.text import prompts
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.verifier import rubric
from experiments import mini_models
from experiments.corpora import base as base_corpus
from experiments.corpora import judge as judge_corpus
from experiments.corpora import policy as policy_corpus
from tests import tiny

_SHIPPED = pathlib.Path(__file__).parents[2] / "configs/mini/checkpoints"
_STYLE = prompts.PromptStyle(
    rules=False, toolkit="", examples_per_source=1, max_example_chars=10
)
_RUBRIC = rubric.RubricStyle(name="compact", max_chars=160)
_SIZES = dict(
    hidden_size=32,
    intermediate_size=64,
    num_layers=1,
    num_heads=2,
    num_kv_heads=1,
    head_dim=16,
    rope_theta=10_000.0,
    rms_norm_eps=1e-6,
    max_positions=1024,
)
_OPTIMIZER = dict(
    learning_rate=1e-2,
    warmup_steps=5,
    b1=0.9,
    b2=0.99,
    weight_decay=0.0,
    max_grad_norm=1.0,
)


@pytest.fixture(scope="module")
def tokenizer():
    return ChatTokenizer.load(_SHIPPED / "tokenizer")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return pool.build(tmp_path_factory.mktemp("pool"), seed=0, benchmark_size=16)


@pytest.fixture
def one_device():
    devices = jax.devices()[:1]
    with jax.set_mesh(sharding.make_mesh(data=1, model=1, devices=devices)):
        yield


def _targets(example):
    return [t for t, m in zip(example.tokens, example.loss_mask, strict=True) if m]


def _random_recipes(tasks, tokenizer, *, count: int):
    return policy_corpus.random_recipes(
        tasks,
        tokenizer,
        style=_STYLE,
        count=count,
        min_sources=2,
        max_sources=4,
        topics_share=0.5,
        max_tokens=640,
        seed=0,
    )


def test_random_recipes_are_recipes_and_only_they_are_learned(tasks, tokenizer):
    examples = _random_recipes(tasks, tokenizer, count=20)
    for example in examples:
        recipe = parse.parse(tokenizer.decode(_targets(example)))
        prompt = tokenizer.decode(example.tokens[: example.loss_mask.index(True)])
        for item in recipe.training_data:  # renamed in the prompt and in the recipe
            assert f'"{item.dataset_id}"' in prompt
            assert f'load_remote_dataset("{item.dataset_id}"' in recipe.processing
        assert example.tokens[-1] == tokenizer.end_id


def test_sentences_of_every_opening_are_shown_for_each_task(tasks, tokenizer):
    openings = {}
    for task in tasks[:2]:
        for example in _random_recipes([task], tokenizer, count=80):
            prompt = tokenizer.decode(example.tokens[: example.loss_mask.index(True)])
            found = re.findall("The answer|Let me see|I worked i", prompt)
            openings.setdefault(task.name, set()).update(found)
    assert {len(found) for found in openings.values()} == {3}


def test_made_up_questions_are_any_tokens_and_leave_the_rest_alone(tasks, tokenizer):
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        told = policy_corpus.made_up_questions(tasks[0], rng, tokenizer, shown_chars=10)
        starts = {}
        for before, after in zip(tasks[0].sources, told.sources, strict=True):
            column = before.columns[0]
            for old, new in zip(before.examples, after.examples, strict=True):
                assert new[column] != old[column]
                assert {**new, column: ""} == {**old, column: ""}
                starts.setdefault(before.card.split(". ")[0], []).append(new[column])
                seen.update(tokenizer.encode(new[column][:10]))
        for questions in starts.values():  # a topic's questions begin alike
            assert len(os.path.commonprefix(questions)) >= 1
            assert len(set(questions)) > 1
    assert len(seen) > 600


def test_thinking_decides_on_every_source_of_the_prompt(tasks, tokenizer):
    sizes = set()
    for example in _random_recipes(tasks, tokenizer, count=80):
        prompt = tokenizer.decode(example.tokens[: example.loss_mask.index(True)])
        text = tokenizer.decode(_targets(example))
        thought = text.partition("</think>")[0].split("\n")[1:-1]
        shown = re.findall(r'\. ([^.]+\.)\n("mini/\w+"), ', prompt)
        assert [line[1:] for line in thought] == [f"{b} {a}" for a, b in shown]
        chosen = [line.split('"')[1] for line in thought if line[0] == "+"]
        planned = [item.dataset_id for item in parse.parse(text).training_data]
        assert planned == chosen
        sizes.add(len(chosen))
    assert sizes == {1, 2, 3, 4}


def test_spans_copy_names_of_the_list_before_them(tokenizer):
    examples = policy_corpus.spans(
        tokenizer, count=50, shortest=4, longest=6, separator=", ", seed=0
    )
    for example in examples:
        start = example.loss_mask.index(True) - 2  # its first name is given
        names = tokenizer.decode(example.tokens[:start]).split(", ")[:-1]
        assert 4 <= len(set(names)) == len(names) <= 6
        successors = dict(zip(names, names[1:], strict=False))
        said = tokenizer.decode(example.tokens[start:]).split(", ")[:-1]
        learned = [m for m in example.loss_mask[start:]][::2]
        for before, name, copied in zip(said, said[1:], learned[1:], strict=False):
            assert not copied or successors[before] == name


def test_lists_repeat_sources_with_their_columns(tokenizer):
    examples = policy_corpus.lists(tokenizer, count=50, max_sources=5, seed=0)
    columns = set()
    for example in examples:
        listed, marked, planned, loaded = tokenizer.decode(example.tokens).split("\n\n")
        remarks, lines = listed.splitlines()[::2], listed.splitlines()[1::2]
        entries = dict(line.split(", ", 1) for line in lines)
        assert loaded.splitlines() == [
            f"{name}, {entries[name]}" for name in planned.splitlines()
        ]
        marks = marked.splitlines()
        assert [mark[1:].split(" ", 1) for mark in marks] == [
            [name, remark] for name, remark in zip(entries, remarks, strict=True)
        ]
        chosen = [mark[1:].split(" ")[0] for mark in marks if mark[0] == "+"]
        assert chosen == planned.splitlines()
        learned = f"{marked}\n\n{planned}\n\n{loaded}"
        assert tokenizer.decode(_targets(example)) == learned
        columns |= {len(line.split(", ")) for line in entries.values()}
    assert columns == {1, 2, 3}  # without answers; with them; with a quality too


def test_a_demonstration_that_is_too_long_is_refused(tokenizer):
    prompt = [{"role": "user", "content": "word " * 100}]
    with pytest.raises(ValueError, match="more than 50"):
        policy_corpus.tokenize(prompt, "x", tokenizer, max_tokens=50)


def test_unlabelled_text_holds_no_benchmark_question(tasks, tokenizer):
    asked = {e.question for task in tasks for e in task.examples}
    examples = base_corpus.unlabelled(
        tokenizer, count=300, exclude=sorted(asked), seed=0
    )
    for example in examples:
        assert all(example.loss_mask)
        question = tokenizer.decode(example.tokens).split("\n")[1]
        assert question not in asked


def test_numbers_of_unlabelled_text_are_in_order():
    rng = np.random.default_rng(0)
    steps = set()
    for _ in range(300):
        turns = base_corpus._ordered_numbers(rng)
        numbers = [int(n) for turn in turns for n in turn["content"].split()]
        gaps = np.diff(numbers)
        assert len(numbers) == 6 and 0 <= min(numbers) <= max(numbers) <= 99
        assert (gaps > 0).all() or (gaps < 0).all()
        steps |= set(gaps.tolist()) if len(set(gaps.tolist())) == 1 else set()
    assert steps >= set(range(1, 10)) | set(range(-9, 0))


def test_labels_follow_from_how_a_row_was_made(tasks):
    rows = judge_corpus.labelled_rows(tasks, count=600, exclude=(), seed=0)
    assert {row.grade for row in rows} == set("ABCDE")
    for row in rows:
        extracted = answers.extract(row.answer, row.task.contract)
        if row.grade in "CE":
            assert extracted is not None
        if row.grade == "B" and row.task.contract != "plain":
            assert extracted is None
    sums = [r for r in rows if r.task.name == "chain_sum" and r.grade in "CE"]
    for row in sums:  # an independent reference: Python's own arithmetic
        value = eval(row.question.removeprefix("compute ").removesuffix("="))  # noqa: S307
        right = answers.extract(row.answer, "boxed") == str(value)
        assert right == (row.grade == "E"), row


def test_the_judge_learns_grades_and_the_answers_of_good_rows(tasks, tokenizer):
    rows = judge_corpus.labelled_rows(tasks, count=200, exclude=(), seed=1)
    examples = judge_corpus.graded(rows, tokenizer, style=_RUBRIC)
    for row, example in zip(rows, examples, strict=True):
        learned = tokenizer.decode(_targets(example))
        expected = f"A: {row.answer}\n{row.grade}" if row.grade == "E" else row.grade
        assert learned == expected


def test_answers_to_llm_calls_are_bare(tokenizer):
    examples = judge_corpus.answered(
        tokenizer, system_prompt="Answer.", count=30, exclude=(), seed=0
    )
    for example in examples:
        assert example.tokens[-1] == tokenizer.end_id
        assert "\n" not in tokenizer.decode(_targets(example))


def test_excluded_questions_never_occur(tasks):
    family = families.FAMILIES["gcd"]
    asked = {e.question for e in families.generate(family, "normal", 200, seed=0)}
    rows = judge_corpus.labelled_rows(tasks, count=400, exclude=sorted(asked), seed=0)
    assert not asked & {r.question for r in rows if r.grade in "BCE"}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["base", "policy", "judge"])
def test_a_shortened_making_lowers_the_loss(what, tokenizer, one_device, tmp_path):
    shape = dict(rows=2, row_tokens=384, row_targets=320)
    shared = dict(
        tokenizer=tokenizer,
        sizes=_SIZES,
        optimizer=_OPTIMIZER,
        pool_seed=0,
        benchmark_size=16,
        seed=0,
        workdir=tmp_path,
    )
    if what == "base":
        figures = mini_models.make_base(
            **shared, documents=400, stage=dict(steps=120, **shape)
        )
    elif what == "policy":
        spans = dict(count=100, shortest=4, longest=5, separator=", ")
        recipes = dict(
            count=100, min_sources=1, max_sources=2, topics_share=0.5, max_tokens=384
        )
        stages = [
            dict(steps=10, shape=shape, spans=spans),
            dict(steps=10, shape=shape, lists=dict(count=100, max_sources=3)),
            dict(steps=100, shape=shape, recipes=recipes),
        ]
        shared["optimizer"] = _OPTIMIZER | dict(steps=120)
        figures = mini_models.make_policy(
            **shared, style=_STYLE, pools=2, stages=stages
        )
    else:
        stage = dict(steps=60, shape=shape, corpus=dict(rows=400, answers=200))
        figures = mini_models.make_judge(
            **shared,
            style=_RUBRIC,
            system_prompt="Answer.",
            held_out_rows=200,
            stages=[stage, stage],
        )
        assert 0.0 <= figures["accuracy/E"] <= 1.0
    lines = (tmp_path / "losses.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 120
    assert figures["loss/last"] < 0.8 * figures["loss/first"]
    loaded = weights.load(tmp_path / "checkpoint", tiny.COMPUTE)
    assert loaded.config.vocab_size == tokenizer.vocab_size
    assert np.isfinite(np.asarray(loaded.embedding[...])).all()
