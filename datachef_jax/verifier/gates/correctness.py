"""Answers that a program can tell to be right or wrong.

What it cannot tell is None and left to the judge: most of what is words. Questions and
answers come from recipes: none of them raises, and none takes long.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
import re

from datachef_jax import types
from datachef_jax.scoring import answers
from datachef_jax.scoring import unit_tests
from datachef_jax.scoring.equivalence import Equivalence
from datachef_jax.tasks.mini import solve
from datachef_jax.verifier.gates.sets import QuestionAnswer
from sandbox.pool import Sandbox

Decided = list[bool | None]
"""Of each row whether its answer is right, None where that is not to be told."""

Decide = Callable[[types.Task, Sequence[QuestionAnswer]], Decided]
"""(task, rows) -> of each row whether its answer is right."""

_MAX_CHARS = 100  # of one side of an equation
_MAX_BRACKETS = 10
_MAX_PLACES = 9  # of decimals; calculators err in later ones
_MARK = re.compile(r"<<([^<>\n]*)>>")
_EQUALS = re.compile(r"(?<![<>!=:])=(?!=)")
_LEFT = re.compile(r"[-+*/()0-9.,$% ]*\Z")
_RIGHT = re.compile(r"[-+*/()0-9.,$% ]*")
_TIMES = re.compile(r"(?<=[0-9)%]) ?[xX\u00d7] ?(?=[$(0-9.])")
_OTHER_SIGNS = str.maketrans("\u00f7\u2212\u2013\u00a0", "/-- ")
_TOKEN = re.compile(
    r" *(?:\$? ?([0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)( ?%)?|([-+*/()]))"
)
_SHARE = re.compile(r"\(?([0-9]+) ?/ ?([0-9]+)\)?")
_TWICE_DIVIDED = re.compile("/[^-+*()]*/")
_OPERATION = re.compile(r"[0-9)%] *[-+*/]")


def nothing(task: types.Task, rows: Sequence[QuestionAnswer]) -> Decided:
    """Decides nothing."""
    return [None] * len(rows)


def first(*decided: Sequence[bool | None]) -> Decided:
    """Returns of each row what the first that can tell has decided."""
    return [
        next((one for one in row if one is not None), None)
        for row in zip(*decided, strict=True)
    ]


def mini(task: types.Task, rows: Sequence[QuestionAnswer]) -> Decided:
    """Solves the questions of a mini task.

    An answer that the task's contract does not find is wrong. None for questions that
    are none of the task's, and for other tasks.
    """
    if task.name not in solve.FAMILIES:
        return nothing(task, rows)
    solved = [solve.solve(task.name, question) for question, _ in rows]
    return [
        None if right is None else _equals(answer, right, task)
        for (_, answer), right in zip(rows, solved, strict=True)
    ]


def _equals(answer: str, right: str, task: types.Task) -> bool:
    given = answers.extract(answer, task.contract)
    return given is not None and answers.equal(given, right, task.metric)


def referenced(
    task: types.Task,
    rows: Sequence[QuestionAnswer],
    references: Sequence[str | None],
    *,
    equivalence: Equivalence,
) -> Decided:
    """Compares answers with references, by value if the task's metric is "math".

    Args:
      task: Whose contract finds the answers; what it does not find is wrong.
      rows: Questions and answers.
      references: The bare right answer of each row, None where there is none.
      equivalence: Compares formulas.
    """
    decided: Decided = [None] * len(rows)
    asked: dict[int, tuple[str, str]] = {}
    for i, ((_, answer), right) in enumerate(zip(rows, references, strict=True)):
        given = answers.extract(answer, task.contract)
        if right is not None and (given is None or task.metric != "math"):
            decided[i] = _equals(answer, right, task)
        elif right is not None:
            asked[i] = given, right
    for i, found in zip(asked, equivalence.equal([*asked.values()]), strict=True):
        decided[i] = found
    return decided


def tested(
    task: types.Task,
    rows: Sequence[QuestionAnswer],
    tests: Sequence[str | None],
    *,
    sandbox: Sandbox,
) -> Decided:
    """Runs unit tests on programs.

    Args:
      task: Whose contract, "code", finds the programs; what it does not find is wrong.
      rows: Questions and answers.
      tests: Of each row, see `unit_tests`; None where there are none.
      sandbox: A started one.
    """
    decided: Decided = [None] * len(rows)
    asked: dict[int, unit_tests.Pair] = {}
    for i, ((_, answer), source) in enumerate(zip(rows, tests, strict=True)):
        program = answers.extract(answer, task.contract)
        if source is not None and program is None:
            decided[i] = False
        elif source is not None:
            asked[i] = program, source
    found = unit_tests.passed([*asked.values()], sandbox=sandbox)
    for i, one in zip(asked, found, strict=True):
        decided[i] = one
    return decided


def arithmetic(task: types.Task, rows: Sequence[QuestionAnswer]) -> Decided:
    """Checks the arithmetic that answers state; a right one may still be no answer.

    Each equation of numbers, "48 / 2 = 24" or in the marks of GSM8K, "<<48/2=24>>",
    has to hold exactly. Decimals on its right may be rounded, or cut off. None where
    there is no such equation; "2 apples + 3 = 5" is none, nor is "x + 3 = 5", nor one
    that would hold if a quotient were rounded to a whole number, nor one whose
    fractions may mean something else, as in "3/4 = 45 minutes".
    """
    return [_all_hold(answer) for _, answer in rows]


def _all_hold(answer: str) -> bool | None:
    stated = [holds for holds in map(_holds, *_equations(answer)) if holds is not None]
    return all(stated) if stated else None


def _equations(answer: str) -> tuple[list[str], list[str]]:
    """Returns the sides of what may be equations, left and right."""
    sides = list(_sides("\n".join(_MARK.findall(answer))))
    sides += _sides(_MARK.sub("", answer))
    return [left for left, _ in sides], [right for _, right in sides]


def _sides(text: str) -> Iterator[tuple[str, str]]:
    """Yields what stands left and right of each "=", as far as it may be numbers."""
    text = _TIMES.sub("*", text.translate(_OTHER_SIGNS))
    for sign in _EQUALS.finditer(text):
        before = text[max(sign.start() - _MAX_CHARS, 0) : sign.start()]
        left = _LEFT.search(before)
        right = _RIGHT.match(text, sign.end(), sign.end() + _MAX_CHARS)
        if _breaks_off(before[: left.start()], left[0]):
            continue
        if not right[0].endswith(" ") and text[right.end() :][:1].isalnum():
            continue
        yield _closed(left[0].strip()), _closed(right[0].strip().rstrip(" .,"))


def _breaks_off(before: str, side: str) -> bool:
    """Returns whether a left side goes on before it: "3 eggs + 5", "2x", "6:00"."""
    glued = re.search(r"[\w:]\Z", before) and not side.startswith(" ")
    return bool(glued) or side.lstrip()[:1] in tuple("+-*/")


def _closed(side: str) -> str:
    """Returns a side without a bracket of the sentence around the equation."""
    while side.startswith("(") and side.count("(") > side.count(")"):
        side = side[1:].lstrip()
    while side.endswith(")") and side.count(")") > side.count("("):
        side = side[:-1].rstrip(" .,")
    return side


def _holds(left: str, right: str) -> bool | None:
    """Returns whether an equation of numbers holds, None if it is none."""
    if not _OPERATION.search(left):
        return None
    is_value, stated = _value(left), _value(right)
    if is_value is None or stated is None:
        return None
    _, point, decimals = right.rstrip(" %").rpartition(".")
    places = min(len(decimals), _MAX_PLACES) + 2 * right.endswith("%")
    unit = Fraction(1, 10**places) if point else 0
    # Nobody says when dollars go over into cents, or shares into percentages.
    factors = (1, 100, Fraction(1, 100)) if set("$%") & {*left, *right} else (1,)
    errors = [abs(is_value * factor - stated) for factor in factors]
    if any(error == 0 or error < unit for error in errors):
        return True
    rounded = "/" in left and stated.denominator == 1 and min(errors) < 1
    return None if rounded or _has_another_meaning(left, right) else False


def _has_another_meaning(left: str, right: str) -> bool:
    """Returns whether it is like "3/4 = 45 minutes" or like "6 / 1/2 = 12"."""
    share = _SHARE.fullmatch(left)
    return _TWICE_DIVIDED.search(left) is not None or (
        share is not None and int(share[1]) < int(share[2]) and "%" not in right
    )


def _value(side: str) -> Fraction | None:
    """Returns the exact value of a sum of products, None if it is none."""
    if side.count("(") > _MAX_BRACKETS:
        return None
    tokens: list[Fraction | str] = []
    place = 0
    while place < len(side):
        found = _TOKEN.match(side, place)
        if found is None:
            return None
        number, percent, sign = found.groups()
        whole = 100 if percent else 1
        tokens.append(sign or Fraction(number.replace(",", "")) / whole)
        place = found.end()
    tokens.reverse()
    try:
        total = _sum(tokens)
    except (ValueError, ZeroDivisionError):
        return None
    return None if tokens else total


def _sum(tokens: list[Fraction | str]) -> Fraction:
    """Takes a sum off the end of the tokens, which are in reverse order.

    Raises:
      ValueError: If there is none.
    """
    total = _product(tokens)
    while tokens and tokens[-1] in ("+", "-"):
        sign = tokens.pop()
        term = _product(tokens)
        total += term if sign == "+" else -term
    return total


def _product(tokens: list[Fraction | str]) -> Fraction:
    total = _factor(tokens)
    while tokens and tokens[-1] in ("*", "/"):
        sign = tokens.pop()
        factor = _factor(tokens)
        total = total * factor if sign == "*" else total / factor
    return total


def _factor(tokens: list[Fraction | str]) -> Fraction:
    sign = 1
    while tokens and tokens[-1] in ("+", "-"):
        sign *= 1 if tokens.pop() == "+" else -1
    token = tokens.pop() if tokens else ""
    if isinstance(token, Fraction):
        return sign * token
    if token != "(":
        raise ValueError(f"no number but {token!r}")
    total = _sum(tokens)
    if not tokens or tokens.pop() != ")":
        raise ValueError("a bracket is not closed")
    return sign * total
