r"""Answers: how they are written, found again in a text, and compared.

A contract says how an answer stands in a text:

  "plain"   the whole text is the answer;
  "boxed"   the answer stands in the last `\boxed{…}`;
  "letter"  one capital letter from A to F, alone or as `(B)`, `B.`, `B)`, `B:`;
  "json"    a JSON object `{"answer": …}` with a string, number, boolean or list.

A metric says when two answers are equal:

  "exact_match"  but for case and white space;
  "math"         equal in value if both are numbers, else as above.

Texts come from models and from rows that a recipe wrote: nothing here raises for
what a text holds, and all of it takes time linear in its length.
"""

from collections.abc import Callable
import fractions
import json
import re
from typing import Any

_BOX = r"\boxed{"
_BRACE = re.compile(r"[{}]")
_LETTER = re.compile(r"\(?([A-F])[.):]*")
_OBJECT_START = re.compile(r'\{\s*"')
# What is longer is no number but a text, and exact arithmetic on it would be slow.
_MAX_NUMBER_CHARS = 64
# Digits with or without thousands separators, then decimals, then an exponent.
_DECIMAL = re.compile(
    r"[+-]?(?=\.?[0-9])(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]*)(?:\.[0-9]*)?"
    r"(?:[eE][+-]?[0-9]{1,2})?"
)
_SLASHED = re.compile(r"([^/]+?) ?/ ?([^/]+)")
_STACKED = re.compile(r"([+-]?)\\[dt]?frac\{([^{}]+)\}\{([^{}]+)\}")


def write(answer: str, contract: str) -> str:
    """Returns the text that gives `answer` under `contract`.

    What is written is found again: `extract(write(a, c), c)` is `a` without white
    space around it, if `a` can be written (braces in a box must be balanced, a letter
    must be one).

    Raises:
      ValueError: If the contract is unknown.
    """
    if contract in ("plain", "letter"):
        return answer
    if contract == "boxed":
        return f"{_BOX}{answer}}}"
    if contract == "json":
        return json.dumps({"answer": answer}, ensure_ascii=False)
    raise ValueError(f"contract must be one of {sorted(_EXTRACT)}, got {contract!r}")


def extract(text: str, contract: str) -> str | None:
    """Returns the answer that `text` gives under `contract`, or None if it has none.

    White space around the answer is removed. An empty answer is none.

    Raises:
      ValueError: If the contract is unknown.
    """
    if contract not in _EXTRACT:
        raise ValueError(
            f"contract must be one of {sorted(_EXTRACT)}, got {contract!r}"
        )
    answer = _EXTRACT[contract](text)
    return (answer.strip() or None) if answer is not None else None


def equal(predicted: str, reference: str, metric: str) -> bool:
    """Says whether two bare answers are the same under `metric`.

    Numbers of the metric "math" are integers, decimals and fractions (`3/4`,
    `\\frac{3}{4}`), with thousands separators, `$` before and `%` after them. A
    percent sign is read as a unit, as benchmarks do: `50%` equals `50`, not `0.5`.

    Raises:
      ValueError: If the metric is unknown.
    """
    if metric not in ("exact_match", "math"):
        raise ValueError(f"metric must be 'exact_match' or 'math', got {metric!r}")
    if metric == "math":
        values = _number(predicted), _number(reference)
        if None not in values:
            return values[0] == values[1]
    return _normalized(predicted) == _normalized(reference)


def _normalized(answer: str) -> str:
    return " ".join(answer.casefold().split())


def _number(answer: str) -> fractions.Fraction | None:
    """Returns the exact value of a number, or None if `answer` is not one."""
    text = answer.strip()
    if len(text) > _MAX_NUMBER_CHARS:
        return None
    text = text.replace(r"\$", "$").replace(r"\%", "%").replace("\N{MINUS SIGN}", "-")
    text = re.sub(r"^([+-]?)\$ ?", r"\1", text).removesuffix("%").rstrip()
    if slashed := _SLASHED.fullmatch(text):
        return _ratio(*slashed.groups())
    if stacked := _STACKED.fullmatch(text):
        sign, top, bottom = stacked.groups()
        value = _ratio(top, bottom)
        return -value if value is not None and sign == "-" else value
    return _decimal(text)


def _ratio(top: str, bottom: str) -> fractions.Fraction | None:
    numerator, denominator = _decimal(top), _decimal(bottom)
    if numerator is None or not denominator:  # not numbers, or a division by zero
        return None
    return numerator / denominator


def _decimal(text: str) -> fractions.Fraction | None:
    if not _DECIMAL.fullmatch(text):
        return None
    return fractions.Fraction(text.replace(",", ""))


def _extract_plain(text: str) -> str:
    return text


def _extract_boxed(text: str) -> str:
    """Returns what stands in the last box that is closed, "" if none is.

    One pass over the braces with a stack of those open. Of nested boxes the outer one
    counts, for it closes last.
    """
    start, end, open_braces = 0, 0, []
    for brace in _BRACE.finditer(text):
        if brace.group() == "{":
            open_braces.append(brace.end())
        elif open_braces:
            opened = open_braces.pop()
            if text.endswith(_BOX, 0, opened):
                start, end = opened, brace.start()
    return text[start:end]


def _extract_letter(text: str) -> str | None:
    match = _LETTER.fullmatch(text.strip())
    return match.group(1) if match else None


def _extract_json(text: str) -> str | None:
    """Returns the "answer" of the first or else of the last object in the text.

    A model may think aloud before it answers. Only these two are tried, because
    trying every brace of a hostile text would take quadratic time.
    """
    starts = [match.start() for match in _OBJECT_START.finditer(text)]
    for start in dict.fromkeys(starts[:1] + starts[-1:]):
        try:
            value, _ = _DECODER.raw_decode(text, start)
            if "answer" in value:
                return _canonical(value["answer"])
        except (json.JSONDecodeError, RecursionError):  # malformed or nested too deep
            continue
    return None


def _canonical(value: Any) -> str | None:
    """Writes a JSON value as a bare answer; None for null, NaN and objects."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        items = [_canonical(item) for item in value]
        return None if None in items else " ".join(items)
    return value if isinstance(value, str) else None


# Numbers stay the text they are: 1e999 is no float, and 10^5000 no int in Python.
_DECODER = json.JSONDecoder(
    parse_float=str, parse_int=str, parse_constant=lambda _: None
)
_EXTRACT: dict[str, Callable[[str], str | None]] = {
    "plain": _extract_plain,
    "boxed": _extract_boxed,
    "letter": _extract_letter,
    "json": _extract_json,
}
