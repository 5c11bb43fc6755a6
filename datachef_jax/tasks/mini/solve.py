"""Solves the mini tasks: reads a question that `families` wrote, and answers it.

By other ways than reasoning-gym's, so that each checks the other. One thing is taken
over from it: what it holds for a valid syllogism, see `_follows`.

Questions come from recipes. What is no question of the family has no answer here, and
none takes long: they are short, and so are their numbers.
"""

from collections.abc import Callable, Iterable
import functools
import graphlib
import itertools
import math
import re

Line = tuple[int, ...]

_MAX_CHARS = 400  # no family asks half as much
_NUMBER = "-?[0-9]{1,9}"
_POSITIVE = "[1-9][0-9]{0,8}"
_LINE = f"{_NUMBER}(?: {_NUMBER})*"
_GRID = f"({_LINE}(?: / {_LINE})*)"
_SIDE = "-?(?:[0-9]{1,9}|[a-z])(?: [+-] (?:[0-9]{1,9}|[a-z]))*"
_FOUR = "[0-4](?: [0-4]){3}"
_STATEMENT = r"(All|No|Some) ([a-z]+) are (not )?([a-z]+)"
_SUMMAND = re.compile(r"([+-]?) ?(?:([0-9]+)|[a-z])")
_TRIGGERS = re.compile("ABCD|BCDE|CDEA|DEAB|EABC")
_PAIR = "[0-9]{1,3} after [0-9]{1,3}"


def solve(family: str, question: str) -> str | None:
    """Returns the bare answer to a question, None if the family has no such question.

    Args:
      family: One of `FAMILIES`.
      question: Any text. White space around it does not matter, all else does.

    Raises:
      ValueError: If there is no such family.
    """
    if family not in _SOLVERS:
        raise ValueError(f"family must be one of {sorted(_SOLVERS)}, got {family!r}")
    pattern, answer = _SOLVERS[family]
    question = question.strip()
    if len(question) > _MAX_CHARS:
        return None
    found = pattern.fullmatch(question)
    return answer(*found.groups()) if found else None


def _numbers(text: str) -> Line:
    return tuple(map(int, text.split()))


def _line(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def _read(grid: str) -> list[Line] | None:
    """Returns the lines of a grid, None if they differ in length."""
    lines = [_numbers(line) for line in grid.split(" / ")]
    return lines if len({len(line) for line in lines}) == 1 else None


def _written(lines: list[Line]) -> str:
    return " / ".join(map(_line, lines))


def _gcd(numbers: str) -> str:
    return str(math.gcd(*_numbers(numbers)))


def _spiral(grid: str) -> str | None:
    """Takes the first line off and turns the rest, until nothing is left."""
    lines, cells = _read(grid), []
    if lines is None:
        return None
    while lines:
        cells += lines[0]
        lines = list(zip(*lines[1:], strict=True))[::-1]
    return _line(cells)


def _turned(turns: str, grid: str) -> str | None:
    lines = _read(grid)
    if lines is None or len(lines) != len(lines[0]):
        return None
    for _ in range(int(turns)):
        lines = list(zip(*lines[::-1], strict=True))
    return _written(lines)


def _inserted(letters: str) -> str:
    """Repeats the first letter of each run that starts an insertion behind it."""
    text = _TRIGGERS.sub(lambda run: run[0] + run[0][0], letters.replace(" ", ""))
    return " ".join(text)


def _distances(grid: str) -> str | None:
    lines = _read(grid)
    if lines is None or {cell for line in lines for cell in line} - {0, 1}:
        return None
    cells = list(itertools.product(range(len(lines)), range(len(lines[0]))))
    zeros = [(r, c) for r, c in cells if lines[r][c] == 0]
    if not zeros:
        return None
    nearest = [min(abs(r - y) + abs(c - x) for y, x in zeros) for r, c in cells]
    width = len(lines[0])
    starts = range(0, len(cells), width)
    return _written([tuple(nearest[start : start + width]) for start in starts])


@functools.cache
def _sudokus() -> list[list[Line]]:
    """Returns all 288 filled grids."""
    rows = itertools.permutations(range(1, 5))
    halves = [
        (one, other)
        for one, other in itertools.product(list(rows), repeat=2)
        if len({*one[:2], *other[:2]}) == 4  # one box; so the one beside it, too
    ]
    return [
        [*top, *bottom]
        for top, bottom in itertools.product(halves, repeat=2)
        if all(len(set(column)) == 4 for column in zip(*top, *bottom, strict=True))
    ]


def _filled(grid: str) -> str | None:
    """Returns the one filled grid that agrees with the givens, if there is just one."""
    givens = _numbers(grid.replace(" / ", " "))
    fitting = [
        lines
        for lines in _sudokus()
        if all(
            given in (0, cell)
            for given, cell in zip(givens, itertools.chain(*lines), strict=True)
        )
    ]
    return _written(fitting[0]) if len(fitting) == 1 else None


def _largest(grid: str) -> str | None:
    lines = _read(grid)
    if lines is None:
        return None
    return _written(
        [
            tuple(
                max(cell for line in lines[top : top + 2] for cell in line[at : at + 2])
                for at in range(0, len(lines[0]), 2)
            )
            for top in range(0, len(lines), 2)
        ]
    )


def _follows(*parts: str | None) -> str | None:
    """Says whether a conclusion follows, as reasoning-gym 0.1.25 sees it.

    A conclusion either swaps the terms of one premise or leads from the first premise's
    subject to the second's predicate. For the latter reasoning-gym asks what the rules
    of the syllogism ask (a negative conclusion from one negative premise, the second;
    a particular one from a particular premise, of which there is at most one), but not
    that the second premise is universal. So it holds "All a are b. Some b are c. So:
    Some a are c." for valid, which it is not, and benchmarks are scored by that.
    """
    statements = [parts[at : at + 4] for at in (0, 4, 8)]
    if any(quantity != "Some" and sign for quantity, _, sign, _ in statements):
        return None  # "All a are not b" can be read in two ways
    first, second, conclusion = statements
    (_, a, _, b), (_, also_b, _, c), (_, subject, _, predicate) = statements
    if b != also_b or len({a, b, c}) != 3:
        return None
    for _, one, _, other in (first, second):
        if (subject, predicate) == (other, one):
            premise = first if one == a else second
            return "A" if _swaps(premise, conclusion) else "B"
    if (subject, predicate) != (a, c):
        return None
    negative = [quantity == "No" or bool(sign) for quantity, _, sign, _ in statements]
    particular = [quantity == "Some" for quantity, _, _, _ in statements]
    valid = (
        not negative[0]
        and negative[1] == negative[2]
        and particular[0] + particular[1] <= particular[2]
    )
    return "A" if valid else "B"


def _swaps(premise: tuple[str | None, ...], conclusion: tuple[str | None, ...]) -> bool:
    """Says whether a premise holds with its terms swapped, if no term is empty."""
    if premise[2] or conclusion[2]:
        return False
    return (premise[0], conclusion[0]) in (
        ("No", "No"),
        ("All", "Some"),
        ("Some", "Some"),
    )


def _possible(pairs: str) -> str:
    order = graphlib.TopologicalSorter()
    for pair in pairs.split(", "):
        order.add(*map(int, pair.split(" after ")))
    try:
        order.prepare()
    except graphlib.CycleError:
        return "B"
    return "A"


def _sorted(way: str, numbers: str) -> str:
    return _line(sorted(_numbers(numbers), reverse=way == "down"))


def _sum(terms: str) -> str:
    return str(sum(_numbers(terms.replace("+ ", "").replace("- ", "-"))))


def _unknown(left: str, right: str) -> str | None:
    """Solves for the letter that stands once on the left, with the factor 1 or -1."""
    rest, signs = int(right), []
    for sign, number in _SUMMAND.findall(left):
        factor = -1 if sign == "-" else 1
        if number:
            rest -= factor * int(number)
        else:
            signs.append(factor)
    return str(rest * signs[0]) if len(signs) == 1 else None


_SOLVERS: dict[str, tuple[re.Pattern, Callable[..., str | None]]] = {
    name: (re.compile(pattern), answer)
    for name, pattern, answer in (
        ("gcd", f"gcd of ({_POSITIVE}(?: {_POSITIVE})+)", _gcd),
        ("spiral_matrix", f"spiral: {_GRID}", _spiral),
        ("rotate_matrix", f"turn ([0-3]): {_GRID}", _turned),
        ("string_insertion", "insert: ([A-E](?: [A-E])*)", _inserted),
        ("binary_matrix", f"distance: {_GRID}", _distances),
        ("mini_sudoku", f"fill: ({_FOUR}(?: / {_FOUR}){{3}})", _filled),
        ("pool_matrix", f"largest: {_GRID}", _largest),
        (
            "syllogism",
            rf"{_STATEMENT}\. {_STATEMENT}\. So: {_STATEMENT}\? A yes B no",
            _follows,
        ),
        (
            "course_schedule",
            rf"courses: ({_PAIR}(?:, {_PAIR})*)\. possible\? A yes B no",
            _possible,
        ),
        ("number_sorting", f"sort (up|down): ({_LINE})", _sorted),
        ("chain_sum", "compute ([0-9]{1,9}(?: [+-] [0-9]{1,9})+) =", _sum),
        (
            "simple_equations",
            f"solve ({_SIDE}) = ({_NUMBER})",
            _unknown,
        ),
    )
}

FAMILIES = frozenset(_SOLVERS)
"""All of `families.FAMILIES`, without importing what makes their questions."""
