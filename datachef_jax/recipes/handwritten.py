"""Recipes by hand: the expert's, the single sources', and a span from bad to good."""

from collections.abc import Sequence

from datachef_jax.recipes import compose
from datachef_jax.types import Recipe
from datachef_jax.types import Source
from datachef_jax.types import Task

_GOOD = 0.8  # from this worth on, an expert uses a source


def _good(task: Task) -> list[Source]:
    found = [source for source in task.sources if source.expert.worth >= _GOOD]
    if not found:
        raise ValueError(f"task {task.name}: no source of worth {_GOOD} or more")
    return found


def expert(task: Task) -> Recipe:
    """Uses every good source, mends what its card says, removes duplicates."""
    return compose.compose([(s, s.expert) for s in _good(task)], deduplicate=True)


def single_source(source: Source) -> Recipe:
    """Maps one source's question and answer and mends nothing."""
    return compose.compose([(source, source.plain)], deduplicate=False)


def samples(task: Task, rows: Sequence[int]) -> dict[str, Recipe]:
    """Returns recipes for some rows of what the expert would take, by name."""
    uses = [(s, s.expert) for s in _good(task)]
    return {
        f"expert, {count} rows": compose.compose(
            uses,
            deduplicate=True,
            then=[f"ds = sample_dataset(ds, min({count}, len(ds)))"],
        )
        for count in rows
    }


def variants(task: Task) -> dict[str, Recipe]:
    """Returns recipes of different quality by name, the expert's among them."""
    good = _good(task)
    bad = [source for source in task.sources if source.expert.worth < _GOOD]
    mended = [s for s in good if s.expert != s.plain]
    as_is = [s for s in good if s.expert == s.plain]
    recipes = {
        "expert": expert(task),
        "good sources, nothing mended": compose.compose(
            [(s, s.plain) for s in good], deduplicate=False
        ),
        "all sources, all mended": compose.compose(
            [(s, s.expert) for s in task.sources], deduplicate=True
        ),
        "all sources, nothing mended": compose.compose(
            [(s, s.plain) for s in task.sources], deduplicate=False
        ),
        "first good source, mended": compose.compose(
            [(good[0], good[0].expert)], deduplicate=True
        ),
    }
    if bad:
        recipes["poor sources, all mended"] = compose.compose(
            [(s, s.expert) for s in bad], deduplicate=True
        )
        recipes["poor sources, nothing mended"] = compose.compose(
            [(s, s.plain) for s in bad], deduplicate=False
        )
        recipes["good and poor sources, good ones mended"] = compose.compose(
            [(s, s.expert) for s in good] + [(s, s.plain) for s in bad],
            deduplicate=True,
        )
    if mended:
        recipes["only sources that need mending, mended"] = compose.compose(
            [(s, s.expert) for s in mended], deduplicate=True
        )
        recipes["only sources that need mending, not mended"] = compose.compose(
            [(s, s.plain) for s in mended], deduplicate=False
        )
    if as_is:
        recipes["only sources that need no mending"] = compose.compose(
            [(s, s.plain) for s in as_is], deduplicate=False
        )
    return recipes
