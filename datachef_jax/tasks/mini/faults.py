"""The faults of real data, planted: what is wrong with each kind of mini source.

A recipe can win or lose by what it picks and mends, because every source's card
states its fault in words and every fault but a few can be mended by a script.
"""

from collections.abc import Callable, Sequence
import dataclasses

import numpy as np

from datachef_jax.scoring import answers
from datachef_jax.types import Example

OTHER_CONTRACT = {"plain": "boxed", "boxed": "json", "json": "boxed", "letter": "boxed"}

_LEADS = (
    "The answer is",
    "Let me see. The answer is",
    "I worked it out: the answer is",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """A row of a source before it gets column names; None where it has no such cell."""

    question: str
    answer: str | None
    quality: int | None = None


Fault = Callable[[Sequence[Example], str, np.random.Generator], list[Cell]]
"""(clean examples, contract, randomness) -> rows."""


def prose(answer: str, rng: np.random.Generator) -> str:
    """Buries an answer in a sentence."""
    return f"{_LEADS[rng.integers(len(_LEADS))]} {answer}."


def wrong(example: Example, pool: Sequence[Example], rng: np.random.Generator) -> str:
    """Returns another row's answer that differs from this one's."""
    if example.answer in ("A", "B"):
        return "B" if example.answer == "A" else "A"
    for _ in range(50):
        other = pool[rng.integers(len(pool))].answer
        if other != example.answer:
            return other
    raise ValueError(f"every answer is {example.answer!r}: none of them is wrong")


def cut(text: str, rng: np.random.Generator) -> str:
    """Cuts a text off somewhere, as a crawler's length limit does."""
    return text[: int(rng.integers(0, max(1, len(text) - 1)))] + "..."


def clean(examples, contract, rng):
    """Right answers under the task's contract."""
    return [
        Cell(question=e.question, answer=answers.write(e.answer, contract))
        for e in examples
    ]


def scored(examples, contract, rng):
    """Two in five answers are wrong; a quality column from 1 to 5 tells which."""
    cells = []
    for example in examples:
        bad = rng.random() < 0.4
        answer = wrong(example, examples, rng) if bad else example.answer
        quality = int(rng.integers(1, 3) if bad else rng.integers(3, 6))
        answer = answers.write(answer, contract)
        cells.append(Cell(question=example.question, answer=answer, quality=quality))
    return cells


def unchecked(examples, contract, rng):
    """Half of the answers are wrong, and nothing tells which."""
    picked = [
        wrong(e, examples, rng) if rng.random() < 0.5 else e.answer for e in examples
    ]
    return [
        Cell(question=e.question, answer=answers.write(answer, contract))
        for e, answer in zip(examples, picked, strict=True)
    ]


def buried(examples, contract, rng):
    """Right answers, each in a sentence."""
    return [Cell(question=e.question, answer=prose(e.answer, rng)) for e in examples]


def other_contract(examples, contract, rng):
    """Right answers under another contract."""
    return clean(examples, OTHER_CONTRACT[contract], rng)


def broken(examples, contract, rng):
    """A quarter of the answers is cut off, one in seven is missing."""
    cells = []
    for cell in clean(examples, contract, rng):
        draw = rng.random()
        if draw < 0.25:
            cell = dataclasses.replace(cell, answer=cut(cell.answer, rng))
        elif draw < 0.4:
            cell = dataclasses.replace(cell, answer="")
        cells.append(cell)
    return cells


def duplicated(examples, contract, rng):
    """A tenth of the rows, ten times each."""
    few = clean(examples[: max(1, len(examples) // 10)], contract, rng)
    cells = [few[i % len(few)] for i in range(len(examples))]
    rng.shuffle(cells)
    return cells


def leaked(examples, contract, rng):
    """Near copies of benchmark rows: `examples` must be the benchmark's."""
    shapes = ("Q: {}", "{} ", "{}  Answer:", " {}")
    return [
        Cell(
            question=shapes[rng.integers(len(shapes))].format(e.question),
            answer=answers.write(e.answer, contract),
        )
        for e in examples
    ]


def unanswered(examples, contract, rng):
    """Questions without answers."""
    return [Cell(question=e.question, answer=None) for e in examples]
