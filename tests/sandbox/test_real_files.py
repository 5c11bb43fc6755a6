"""Recipes over the real files end as one would expect, and say what to mend.

They all run through one sandbox, many at once: first those that wait for nothing until
they are stopped. Each test then looks at how one of them ended.
"""

import dataclasses

import pytest

from tests.sandbox import real_recipes
from tests.sandbox import real_recipes_columns
from tests.sandbox import real_recipes_frames
from tests.sandbox import real_recipes_huge
from tests.sandbox import real_recipes_lazy
from tests.sandbox import real_recipes_malformed
from tests.sandbox import real_recipes_misplaced
from tests.sandbox import real_recipes_model
from tests.sandbox import real_recipes_plain
from tests.sandbox import real_recipes_slow
from tests.sandbox import real_recipes_toolkit
from tests.sandbox import real_recipes_values
from tests.sandbox import real_sources
from tests.sandbox import small

# The largest file fits twice; tracebacks through libraries are long.
_LIMITS = dataclasses.replace(
    small.LIMITS,
    cpu_seconds=2.0,
    wall_seconds=15.0,
    file_bytes=2**23,
    output_bytes=2**14,
    dataset_bytes=2**24,
)
_CATEGORIES = {
    "slow": real_recipes_slow.RECIPES,
    "good": [
        *real_recipes_plain.RECIPES,
        *real_recipes_frames.RECIPES,
        *real_recipes_toolkit.RECIPES,
        *real_recipes_model.GOOD,
    ],
    "wrong column": real_recipes_columns.RECIPES,
    "wrong file": real_recipes_misplaced.RECIPES,
    "wrong value": [*real_recipes_values.RECIPES, *real_recipes_model.WRONG],
    "huge": real_recipes_huge.RECIPES,
    "lazy": [*real_recipes_lazy.RECIPES, *real_recipes_malformed.RECIPES],
}
_ALL = {
    f"{category}: {recipe.name}": recipe
    for category, recipes in _CATEGORIES.items()
    for recipe in recipes
}


@pytest.fixture(scope="module")
def data():
    """Returns the folder of real data."""
    if not real_sources.FOLDER.is_dir():
        pytest.skip(
            f"{real_sources.FOLDER} is missing; DATACHEF_DATA names the folder of"
            " real data"
        )
    return real_sources.FOLDER


@pytest.fixture(scope="module")
def ended(data):
    """Returns how each recipe ended."""
    made = small.started(limits=_LIMITS, workers=8, answer=real_recipes.answer)
    with made as sandbox:
        results = sandbox.run([recipe.job() for recipe in _ALL.values()])
    return dict(zip(_ALL, results, strict=True))


def _told(result):
    """Returns all that a recipe's author is told."""
    output = result.output
    return "\n".join((result.log, output.first_error, *output.ignored))


def test_there_are_two_hundred_and_more_and_none_twice():
    assert len(_ALL) == sum(map(len, _CATEGORIES.values())) >= 200
    assert min(map(len, _CATEGORIES.values())) >= 20
    assert len({(r.script, r.sources) for r in _ALL.values()}) == len(_ALL)
    for name, recipe in _ALL.items():
        if "ok" in recipe.kinds:
            assert recipe.pairs or recipe.malformed, name
        elif recipe.script:
            assert recipe.says, name


@pytest.mark.parametrize("name", real_sources.RAWS)
def test_the_files_are_what_the_recipes_take_them_for(data, name):
    raw, rows = real_sources.RAWS[name], real_sources.rows(name)
    assert len(rows) == raw.num_rows
    assert {column for row in rows for column in row} == set(raw.columns)


@pytest.mark.parametrize("name", _ALL)
def test_a_recipe_ends_as_expected_and_its_author_is_told_why(ended, name):
    recipe, result = _ALL[name], ended[name]
    assert result.kind in recipe.kinds, result.log
    for words in recipe.says:
        assert words in _told(result)
    if result.kind == "ok":
        recipe.check_rows(result.output)
    else:
        assert not result.output.rows
