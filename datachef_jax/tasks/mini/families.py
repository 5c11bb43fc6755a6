"""The mini tasks: reasoning-gym families that a million weights learn in seconds.

reasoning-gym (Apache-2.0) generates question and answer; here each family gets
settings that a tiny model can learn, an easier and a harder variant, a question
without the long instructions that repeat in every row, and an output contract.
"""

from collections.abc import Callable, Collection
import dataclasses
from typing import Any

import reasoning_gym

from datachef_jax.types import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """One mini task before it has any data.

    Attributes:
      name: Its name in reasoning-gym.
      domain: reasoning-gym's category.
      topic: What its rows are about, as source cards call it.
      goal: The task's instruction without the contract.
      contract: See `types.Task.contract`.
      held_out: See `types.Task.held_out`.
      settings: Of reasoning-gym, for "normal", "easier" and "harder" rows.
      render: (question, bare answer) of a reasoning-gym entry, None to skip it.
    """

    name: str
    domain: str
    topic: str
    goal: str
    contract: str
    settings: dict[str, dict[str, Any]]
    render: Callable[[dict[str, Any]], tuple[str, str] | None]
    held_out: str = ""


def _grid(matrix: list[list[Any]]) -> str:
    return " / ".join(" ".join(str(cell) for cell in line) for line in matrix)


def _numbers(numbers: list[Any]) -> str:
    return " ".join(str(round(float(n))) for n in numbers)


def _sorting(entry):
    facts = entry["metadata"]
    way = "up" if facts["direction"] == "ascending" else "down"
    question = f"sort {way}: {_numbers(facts['original_numbers'])}"
    return question, _numbers(facts["sorted_numbers"])


def _sum(entry):
    return f"compute {entry['metadata']['expression']} =", entry["answer"]


def _equation(entry):
    return f"solve {entry['metadata']['equation']}", entry["answer"]


def _spiral(entry):
    facts = entry["metadata"]
    return f"spiral: {_grid(facts['matrix'])}", _numbers(facts["solution"])


def _rotate(entry):
    facts = entry["metadata"]
    turns = facts["num_rotations"] % 4
    return f"turn {turns}: {_grid(facts['matrix'])}", _grid(facts["solution"])


def _binary(entry):
    facts = entry["metadata"]
    return f"distance: {_grid(facts['matrix'])}", _grid(facts["solution"])


def _sudoku(entry):
    facts = entry["metadata"]
    return f"fill: {_grid(facts['puzzle'])}", _grid(facts["solution"])


def _gcd(entry):
    return f"gcd of {_numbers(entry['metadata']['numbers'])}", entry["answer"]


def _pool(entry):
    facts = entry["metadata"]
    if facts["pool_type"] != "max":  # averages have decimals: another skill
        return None
    return f"largest: {_grid(facts['matrix'])}", _grid(facts["solution"])


def _insertion(entry):
    facts = entry["metadata"]
    return f"insert: {' '.join(facts['string'])}", " ".join(facts["solution"])


def _letter(yes: bool) -> str:
    return "A" if yes else "B"


def _syllogism(entry):
    facts = entry["metadata"]
    question = (
        f"{facts['premise1']}. {facts['premise2']}. So: {facts['conclusion']}?"
        " A yes B no"
    )
    return question, _letter(facts["is_valid"])


def _courses(entry):
    facts = entry["metadata"]
    pairs = ", ".join(
        f"{later} after {first}" for later, first in facts["prerequisites"]
    )
    return f"courses: {pairs}. possible? A yes B no", _letter(facts["solvable"])


def _sorting_settings(count: int, largest: int) -> dict[str, Any]:
    return dict(
        min_numbers=count,
        max_numbers=count,
        min_decimals=0,
        max_decimals=0,
        min_value=0,
        max_value=largest,
    )


def _sum_settings(terms: tuple[int, int], digits: int) -> dict[str, Any]:
    return dict(min_terms=terms[0], max_terms=terms[1], min_digits=1, max_digits=digits)


def _equation_settings(terms: int, largest: int) -> dict[str, Any]:
    return dict(
        min_terms=terms,
        max_terms=terms,
        min_value=1,
        max_value=largest,
        operators=("+", "-"),
        operators_weights=[0.5, 0.5],
    )


def _course_settings(courses: tuple[int, int]) -> dict[str, Any]:
    return dict(
        min_num_courses=courses[0],
        max_num_courses=courses[1],
        min_num_prerequisites=1,
        max_num_prerequisites=1,
        min_cycle_length=3,
        max_cycle_length=3,
    )


def _pool_settings(rows: int, cols: int) -> dict[str, Any]:
    return dict(
        min_rows=rows,
        max_rows=rows,
        min_cols=cols,
        max_cols=cols,
        min_pool_size=2,
        max_pool_size=2,
    )


def _levels(normal, easier, harder) -> dict[str, dict[str, Any]]:
    return {"normal": normal, "easier": easier, "harder": harder}


def _sizes(normal, easier, harder, low, high) -> dict[str, dict[str, Any]]:
    """Returns settings that differ in one range, given as (lowest, highest)."""
    return _levels(*({low: a, high: b} for a, b in (normal, easier, harder)))


_ALL = (
    Family(
        name="gcd",
        domain="arithmetic",
        topic="greatest common divisors",
        goal="Find the greatest common divisor of two numbers.",
        contract="boxed",
        settings=_levels(
            *(
                dict(min_numbers=2, max_numbers=2, min_value=1, max_value=largest)
                for largest in (60, 20, 200)
            )
        ),
        render=_gcd,
    ),
    Family(
        name="spiral_matrix",
        domain="algorithmic",
        topic="reading matrices in a spiral",
        goal="Read a matrix clockwise in a spiral.",
        contract="plain",
        settings=_sizes((2, 3), (2, 2), (4, 4), "min_n", "max_n"),
        render=_spiral,
    ),
    Family(
        name="rotate_matrix",
        domain="algorithmic",
        topic="turning matrices",
        goal="Turn a matrix clockwise by some quarters.",
        contract="json",
        settings=_levels(
            *(
                dict(min_n=n, max_n=n, min_rotations=0, max_rotations=turns)
                for n, turns in ((2, 3), (2, 1), (3, 3))
            )
        ),
        render=_rotate,
    ),
    Family(
        name="string_insertion",
        domain="algorithmic",
        topic="inserting letters",
        goal="Insert letters into a string by its patterns.",
        contract="plain",
        settings=_sizes(
            (5, 7), (5, 5), (9, 10), "min_string_length", "max_string_length"
        ),
        render=_insertion,
    ),
    Family(
        name="binary_matrix",
        domain="algorithmic",
        topic="distances to zeros",
        goal="Give each cell its distance to the nearest zero.",
        contract="json",
        settings=_sizes((3, 4), (3, 3), (4, 5), "min_n", "max_n"),
        render=_binary,
    ),
    Family(
        name="mini_sudoku",
        domain="games",
        topic="small sudokus",
        goal="Fill the gaps of a small sudoku.",
        contract="plain",
        settings=_sizes((1, 2), (1, 1), (4, 5), "min_empty", "max_empty"),
        render=_sudoku,
    ),
    Family(
        name="pool_matrix",
        domain="algorithmic",
        topic="largest cells of squares",
        goal="Give the largest number of each square of four cells.",
        contract="boxed",
        settings=_levels(
            _pool_settings(4, 4), _pool_settings(2, 4), _pool_settings(4, 6)
        ),
        render=_pool,
    ),
    Family(
        name="syllogism",
        domain="logic",
        topic="syllogisms",
        goal="Say whether a conclusion follows from two premises.",
        contract="letter",
        settings=_levels({}, {"allow_some": False}, {"inversion_probability": 0.0}),
        render=_syllogism,
    ),
    Family(
        name="course_schedule",
        domain="graphs",
        topic="course plans",
        goal="Say whether all courses can be taken in some order.",
        contract="letter",
        settings=_levels(
            _course_settings((3, 4)), _course_settings((3, 3)), _course_settings((5, 6))
        ),
        render=_courses,
    ),
    Family(
        name="number_sorting",
        domain="algorithmic",
        topic="sorting numbers",
        goal="Sort three numbers up or down.",
        contract="json",
        held_out="in_domain",
        settings=_levels(
            _sorting_settings(3, 99), _sorting_settings(2, 99), _sorting_settings(4, 99)
        ),
        render=_sorting,
    ),
    Family(
        name="chain_sum",
        domain="arithmetic",
        topic="sums and differences",
        goal="Add and subtract two or three small numbers.",
        contract="boxed",
        held_out="in_domain",
        settings=_levels(
            _sum_settings((2, 3), 1), _sum_settings((2, 2), 1), _sum_settings((3, 3), 2)
        ),
        render=_sum,
    ),
    Family(
        name="simple_equations",
        domain="algebra",
        topic="solving equations",
        goal="Solve an equation with one unknown.",
        contract="plain",
        held_out="out_of_domain",
        settings=_levels(
            _equation_settings(2, 9), _equation_settings(2, 4), _equation_settings(3, 9)
        ),
        render=_equation,
    ),
)

FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}


def generate(
    family: Family, level: str, count: int, *, seed: int, exclude: Collection[str] = ()
) -> list[Example]:
    """Returns up to `count` examples with distinct questions.

    Args:
      family: Which family.
      level: "normal", "easier" or "harder".
      count: How many; fewer are returned where the family has no more.
      seed: Of reasoning-gym.
      exclude: Questions that must not occur, such as the benchmark's.
    """
    found: dict[str, Example] = {}
    for attempt in range(4):  # small families repeat themselves: ask for more
        entries = reasoning_gym.create_dataset(
            family.name,
            seed=seed + 7919 * attempt,
            size=2 * count,
            **family.settings[level],
        )
        for entry in entries:
            rendered = family.render(entry)
            if rendered and rendered[0] not in exclude and rendered[0] not in found:
                found[rendered[0]] = Example(question=rendered[0], answer=rendered[1])
            if len(found) == count:
                return list(found.values())
    return list(found.values())
