"""Tests for datachef_jax/recipes/{compose,grammar,handwritten}.py."""

import ast

import numpy as np
import pytest

from datachef_jax.recipes import compose
from datachef_jax.recipes import grammar
from datachef_jax.recipes import handwritten
from datachef_jax.recipes import parse
from datachef_jax.types import Handling
from datachef_jax.types import Task
from tests import blank


def _source(name, worth, remark, **expert):
    plain = Handling(user='row["q"]', assistant='row["a"]', worth=worth)
    return blank.source(
        f"mini/{name}",
        columns=("q", "a"),
        num_rows=7,
        card=f"Topic: t. {remark}",
        plain=plain,
        expert=Handling(**{"user": plain.user, "assistant": plain.assistant} | expert,
                        worth=worth),
    )  # fmt: skip


_TASK = blank.task(
    "t",
    contract="boxed",
    sources=(
        _source("clean", 1.0, "Good."),
        _source("scored", 1.0, "Graded.", keep='row["s"] >= 3'),
        _source("prose", 1.0, "Prose.", assistant='to_boxed(extract_final(row["a"]))'),
        _source("asked", 0.7, "Asked.", assistant='row["response"]', generate=True),
        _source("bad", 0.0, "Bad."),
    ),
)


def test_a_composed_recipe_reads_back_and_compiles():
    recipe = compose.compose([(s, s.expert) for s in _TASK.sources], deduplicate=True)
    assert parse.parse(parse.render(recipe)) == recipe
    ast.parse(recipe.processing)
    ast.parse(recipe.verification)
    assert [item.dataset_id for item in recipe.training_data] == [
        source.id for source in _TASK.sources
    ]
    assert recipe.training_data[0].sample_num == 7


def test_the_script_does_what_the_handling_says():
    script = compose.compose(
        [(s, s.expert) for s in _TASK.sources], deduplicate=False
    ).processing
    assert script.count("load_remote_dataset(") == 5
    assert 'select_by_filter(ds, lambda row: row["s"] >= 3)' in script
    assert script.count("generate_dataset_with_llm(") == 1
    assert 'assistant_map=lambda row: to_boxed(extract_final(row["a"]))' in script
    assert "deduplicate" not in script


def test_care_decides_what_is_picked_and_mended():
    def picks(care):
        rng = np.random.default_rng(0)
        recipes = [grammar.sample(_TASK, rng, care=care) for _ in range(300)]
        items = [i for r in recipes for i in r.training_data]
        bad = sum(item.dataset_id == "mini/bad" for item in items) / len(items)
        mended = sum(item.reason == "keep the good rows" for item in items)
        scored = sum(item.dataset_id == "mini/scored" for item in items)
        return bad, mended / scored

    careless, careful = picks(0.0), picks(1.0)
    assert careless[1] == 0.0 and careful[1] == 1.0
    assert abs(careless[0] - 0.2) < 0.05  # one of five sources, chosen blindly
    assert careful[0] < 0.12  # only where little else is left to pick


def test_random_recipes_keep_the_order_of_the_sources():
    rng = np.random.default_rng(0)
    order = [source.id for source in _TASK.sources]
    sizes = set()
    for _ in range(50):
        recipe = grammar.sample(_TASK, rng, care=0.5)
        used = [order.index(item.dataset_id) for item in recipe.training_data]
        assert used == sorted(set(used))
        sizes.add(len(used))
    assert sizes == {1, 2, 3, 4, 5}


def test_thinking_says_of_every_source_in_order_whether_the_recipe_uses_it():
    clean, _, prose, *_ = _TASK.sources
    uses = [(clean, clean.expert), (prose, prose.expert)]
    recipe = compose.compose(uses, deduplicate=False)
    text = grammar.write(_TASK, recipe)
    assert text.startswith(
        '<think>\n+"mini/clean" Good.\n-"mini/scored" Graded.\n'
        '+"mini/prose" Prose.\n-"mini/asked" Asked.\n'
        '-"mini/bad" Bad.\n</think>\n## Training Data\n'
    )
    assert parse.parse(text) == recipe


def test_the_expert_uses_good_sources_only():
    used = [item.dataset_id for item in handwritten.expert(_TASK).training_data]
    assert used == ["mini/clean", "mini/scored", "mini/prose"]


def test_variants_are_eight_different_recipes_or_more():
    variants = handwritten.variants(_TASK)
    assert len(variants) >= 8
    assert len({recipe.processing for recipe in variants.values()}) == len(variants)


def test_a_task_without_a_good_source_has_no_expert():
    poor = Task(**{**vars(_TASK), "sources": _TASK.sources[-1:]})
    with pytest.raises(ValueError, match="task t: no source of worth"):
        handwritten.expert(poor)
