r"""Finding an answer in a text, and writing it the way a benchmark wants it.

What finds nothing returns None, and what is given None returns None, so that these
may be nested: `to_boxed(extract_final(row["solution"]))`.
"""

from collections.abc import Sequence
import json
import re
from typing import Any

_DECODER = json.JSONDecoder()
_JSON_START = re.compile(r"[{\[]")
_MAX_JSON_STARTS = 100
_BOX = r"\boxed{"
_LEAD = re.compile(r"answer\s*(?:is|:|=)+\s*:?", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?]\s+(?=[A-Z])|\n\s*\n")
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:/\d+)?")
_LETTER_SAID = re.compile(r"(?:answer|option|choice)\W*(?:is\W*)?([A-J])\b")
_LETTER = re.compile(r"\(([A-J])\)|(?<![\w'])([A-J])(?=[.):,]|\s*$)")


def extract_json(text: str | None) -> Any:
    """Returns the first JSON object or list in a text, None if there is none."""
    if text is None:
        return None
    for start in list(_JSON_START.finditer(str(text)))[:_MAX_JSON_STARTS]:
        try:
            return _DECODER.raw_decode(str(text), start.start())[0]
        except (ValueError, RecursionError):
            continue
    return None


def extract_boxed(text: str | None) -> str | None:
    r"""Returns what stands in the last `\boxed{...}`, None if there is none."""
    start = str(text).rfind(_BOX)
    if start < 0:
        return None
    depth, begin = 1, start + len(_BOX)
    for end in range(begin, len(str(text))):
        depth += {"{": 1, "}": -1}.get(str(text)[end], 0)
        if depth == 0:
            return str(text)[begin:end].strip()
    return None


def extract_final(text: Any) -> str | None:
    """Returns the answer that a piece of prose ends with, None if there is no text.

    It stands in a box, or after `####`, or after "answer is"; else after the last
    "=", else it is the last number, else the whole text.
    """
    if text is None or not str(text).strip():
        return None
    text = str(text).strip()
    boxed = extract_boxed(text)
    if boxed is not None:
        return boxed
    if "####" in text:
        return _tidy(text.rpartition("####")[2])
    leads = list(_LEAD.finditer(text))
    if leads:
        return _tidy(_SENTENCE_END.split(text[leads[-1].end() :].strip())[0])
    if "=" in text:
        return _tidy(_SENTENCE_END.split(text.rpartition("=")[2].strip())[0])
    numbers = _NUMBER.findall(text)
    return _tidy(numbers[-1]) if numbers else _tidy(text)


def _tidy(answer: str) -> str:
    return answer.strip().removesuffix(".").rstrip()


def extract_letter(text: Any) -> str | None:
    """Returns the option letter of a text, as in `B`, `(B)`, `B.`, `answer is B`."""
    if text is None:
        return None
    said = _LETTER_SAID.findall(str(text))
    if said:
        return said[-1]
    found = _LETTER.findall(str(text))
    return (found[-1][0] or found[-1][1]) if found else None


def to_boxed(answer: Any) -> str | None:
    r"""Writes an answer as `\boxed{answer}`."""
    return None if answer is None else f"{_BOX}{answer}}}"


def to_json(answer: Any) -> str | None:
    """Writes an answer as `{"answer": "..."}`."""
    if answer is None:
        return None
    return json.dumps({"answer": str(answer)}, ensure_ascii=False)


def to_letter(answer: Any, options: Sequence[Any]) -> str | None:
    """Returns the letter of the option that equals the answer, None if none does."""
    texts = [str(option).strip() for option in options]
    if answer is None or str(answer).strip() not in texts:
        return None
    return "ABCDEFGHIJ"[texts.index(str(answer).strip())]
