"""Renames sources and columns, so that a policy must read names and not recall them."""

from collections.abc import Callable
import re

import numpy as np

from datachef_jax.tasks.mini import families
from datachef_jax.tasks.mini import names


def _slug(topic: str) -> str:
    return topic.replace(" ", "_")


def _names(rng: np.random.Generator) -> dict[str, str]:
    """Draws another name of the same kind for every source and column name."""
    kinds = (
        [f"{names.OWNER}/{stem}" for stem in names.SOURCES],
        names.QUESTIONS,
        # "answer" is also the key of the JSON contract, which must keep its name.
        [name for name in names.ANSWERS if name != "answer"],
        names.QUALITIES,
    )
    table = {'"answer"': '"answer"'}
    for old in kinds:
        new = rng.permutation(old)
        table |= {f'"{a}"': f'"{b}"' for a, b in zip(old, new, strict=True)}
    return table


def _topics(rng: np.random.Generator) -> dict[str, str]:
    """Draws another topic for every family, and says the same in its goal."""
    chosen = rng.choice(names.TOPICS, size=len(families.FAMILIES), replace=False)
    table = {}
    for family, topic in zip(families.FAMILIES.values(), chosen, strict=True):
        table[f"Topic: {family.topic}."] = f"Topic: {topic}."
        table[family.goal] = f"Learn {topic}."
        table[f"Benchmark: {family.name}-"] = f"Benchmark: {_slug(topic)}-"
    return table


def renamer(rng: np.random.Generator, *, topics: bool) -> Callable[[str], str]:
    """Draws new names for all old ones; returns what replaces them in a text.

    A prompt and a recipe that were valid together stay so when both are renamed by
    the same function.

    Args:
      rng: Randomness.
      topics: Whether the families' topics and goals are replaced too, by topics of
        no family.
    """
    table = _names(rng) | (_topics(rng) if topics else {})
    pattern = re.compile("|".join(re.escape(old) for old in table))
    return lambda text: pattern.sub(lambda match: table[match.group()], text)
