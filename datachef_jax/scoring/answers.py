r"""Answers: how they are written, found again in a text, and compared.

A contract says how an answer stands in a text:

  "plain"   the whole text is the answer;
  "boxed"   the answer stands in the last `\boxed{…}`;
  "letter"  one capital letter from A to F, alone or as `(B)`, `B.`, `B)`, `B:`;
  "json"    a JSON object `{"answer": …}` with a string, number, boolean or list;
  "code"    Python source that parses: the last ``` fence, or all where there is none;

or is a JSON schema, written as JSON: the text is a value that the schema admits, or
the last object or list in the text is one. The bare answer is that value as
`json.dumps` writes it with sorted keys, and without escapes.

A metric says when two answers are equal:

  "exact_match"  but for case and white space;
  "math"         equal in value if both are numbers, else as above.

Texts come from models and from rows that a recipe wrote: nothing here raises for
what a text holds, and all of it takes time linear in its length.
"""

import ast
from collections.abc import Callable
import fractions
import functools
import json
import re
from typing import Any

import jsonschema
import referencing

_BOX = r"\boxed{"
_BRACE = re.compile(r"[{}]")
_LETTER = re.compile(r"\(?([A-F])[.):]*")
_OBJECT_START = re.compile(r'\{\s*"')
_VALUE_START = re.compile(r"[\[{]")
_FENCE = re.compile(r"^```.*$", re.MULTILINE)
# What is longer is no answer. Each error in JSON costs the time of its place.
_MAX_CODE_CHARS, _MAX_VALUE_CHARS = 100_000, 20_000
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
    space around it, if `a` can be written: braces in a box must be balanced, a letter
    must be one, code must parse and hold no fence, and what a schema asks for must be
    written as it is read.

    Raises:
      ValueError: If the contract is unknown.
    """
    if contract in ("plain", "letter") or _is_schema(contract):
        return answer
    if contract == "code":
        return f"```python\n{answer}\n```"
    if contract == "boxed":
        return f"{_BOX}{answer}}}"
    if contract == "json":
        return json.dumps({"answer": answer}, ensure_ascii=False)
    raise _unknown(contract)


def extract(text: str, contract: str) -> str | None:
    """Returns the answer that `text` gives under `contract`, or None if it has none.

    White space around the answer is removed. An empty answer is none.

    Raises:
      ValueError: If the contract is unknown, or no JSON schema.
    """
    if _is_schema(contract):
        answer = _extract_value(text, _validator(contract))
    elif contract in _EXTRACT:
        answer = _EXTRACT[contract](text)
    else:
        raise _unknown(contract)
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
        values = number(predicted), number(reference)
        if None not in values:
            return values[0] == values[1]
    return _normalized(predicted) == _normalized(reference)


def _unknown(contract: str) -> ValueError:
    return ValueError(
        f"contract must be one of {sorted(_EXTRACT)} or a JSON schema, got {contract!r}"
    )


def _is_schema(contract: str) -> bool:
    return contract.lstrip().startswith("{")


def _normalized(answer: str) -> str:
    return " ".join(answer.casefold().split())


def number(answer: str) -> fractions.Fraction | None:
    """Returns the exact value of a number of the metric "math", None of other texts."""
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


def _extract_code(text: str) -> str | None:
    """Returns the source in the last fence that is closed, or the whole text."""
    fences = list(_FENCE.finditer(text))
    if len(fences) == 1:
        return None
    if fences:
        closed = len(fences) - len(fences) % 2
        text = text[fences[closed - 2].end() : fences[closed - 1].start()]
    if len(text) > _MAX_CODE_CHARS:
        return None
    text = text.strip("\n").rstrip()
    try:
        return text if ast.parse(text).body else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@functools.lru_cache(maxsize=64)
def _validator(schema: str) -> Callable[[Any], bool]:
    """Returns what says whether a schema admits a value.

    Raises:
      ValueError: If it is no schema.
    """
    try:
        parsed = json.loads(schema)
        jsonschema.Draft202012Validator.check_schema(parsed)
    except (ValueError, RecursionError, jsonschema.SchemaError) as error:
        raise ValueError(f"contract {schema[:200]!r} is no JSON schema") from error
    # Its own registry: the default one looks references up on the network.
    registry = referencing.Registry()
    return jsonschema.Draft202012Validator(parsed, registry=registry).is_valid


def _extract_value(text: str, admits: Callable[[Any], bool]) -> str | None:
    if len(text) > _MAX_VALUE_CHARS:
        return None
    try:
        value = _last_value(text.strip())
        if value is None or not admits(value):
            return None
        return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (ValueError, RecursionError, OverflowError):  # 1e999, and nested too deep
        return None


def _last_value(text: str) -> Any:
    """Returns what the text is, or else its last object or list; None if it has none.

    Goes on behind what was read, be it a value or not, so that the time is linear.

    Raises:
      ValueError: If it holds a number of too many digits.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        value, place = None, 0
    while start := _VALUE_START.search(text, place):
        try:
            value, place = _PLAIN_DECODER.raw_decode(text, start.start())
        except json.JSONDecodeError as error:
            place = max(error.pos, start.end())
    return value


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
_PLAIN_DECODER = json.JSONDecoder()
_EXTRACT: dict[str, Callable[[str], str | None]] = {
    "plain": _extract_plain,
    "boxed": _extract_boxed,
    "letter": _extract_letter,
    "json": _extract_json,
    "code": _extract_code,
}
