"""Between a completion's text and the recipe it states (paper, section 3.1).

A recipe's text is, in this order,

  ## Training Data
  a JSON list of {"dataset_id", "split", "name", "sample_num", "reason"}, which may be
  fenced as ```json;
  ## Data Processing Workflow
  text;
  two blocks fenced as ```python, the processing and the verification script.

It may be preceded by thinking, `<think>…</think>`. A line that begins with three
backticks ends a script, so scripts cannot contain one.
"""

from collections.abc import Sequence
import dataclasses
import json
import re
from typing import Any

from datachef_jax.types import PlanItem
from datachef_jax.types import Recipe

_DATA = "## Training Data"
_WORKFLOW = "## Data Processing Workflow"
_FIELDS = {
    "dataset_id": str,
    "split": str,
    "name": str,
    "sample_num": int,
    "reason": str,
}
_JSON_FENCE = re.compile(
    r"\A```(?:json)?[ \t]*\n(.*?)^```[ \t]*\Z", re.DOTALL | re.MULTILINE
)
_OPENING = re.compile(r"^```python[ \t]*$", re.MULTILINE)
_SCRIPT = re.compile(r"^```python[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)


class ParseError(ValueError):
    """Says why a text states no recipe."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What stands before the scripts.

    Attributes:
      training_data: The datasets.
      workflow: What is done with them.
      text: Of both, with their headings.
    """

    training_data: tuple[PlanItem, ...]
    workflow: str
    text: str


def plan(text: str) -> Plan:
    """Returns the plan that a text states, whether or not scripts follow.

    Raises:
      ParseError: If it states none, saying what is missing or wrong.
    """
    return _plan(text)[0]


def parse(text: str) -> Recipe:
    """Returns the recipe that a completion states.

    Raises:
      ParseError: If it states none, saying what is missing or wrong.
    """
    made, rest = _plan(text)
    opened = list(_OPENING.finditer(rest))
    scripts = _SCRIPT.findall(rest)
    if len(opened) != 2 or len(scripts) != 2:
        closed = (
            "" if len(opened) == len(scripts) else f", {len(scripts)} of them closed"
        )
        raise ParseError(
            f"expected exactly 2 ```python blocks, got {len(opened)}{closed}"
        )
    if not scripts[0].strip():
        raise ParseError("the processing script is empty")
    return Recipe(
        training_data=made.training_data,
        workflow=made.workflow,
        processing=scripts[0],
        verification=scripts[1],
    )


def _plan(text: str) -> tuple[Plan, str]:
    """Returns the plan that a text states, and what follows its last heading."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ParseError(f"the text is not valid Unicode: {error.reason}") from error
    rest = _after_heading(split_thinking(text)[1], _DATA)
    data, workflow_at = _before_heading(rest, _WORKFLOW)
    rest = rest[workflow_at:]
    opened = _OPENING.search(rest)
    workflow = rest[: opened.start() if opened else None].strip()
    if not workflow:
        raise ParseError(f"{_WORKFLOW!r} is empty")
    made = Plan(
        training_data=_items(data),
        workflow=workflow,
        text=f"{_DATA}\n{data}\n\n{_WORKFLOW}\n{workflow}",
    )
    return made, rest


def split_thinking(text: str) -> tuple[str, str]:
    """Returns the thinking, "" if there is none, and what follows it.

    Its opening tag may stand in the prompt already.

    Raises:
      ParseError: If the thinking never ends.
    """
    if text.lstrip().startswith("<think>") and "</think>" not in text:
        raise ParseError("the thinking never ends: no </think>")
    heading = _heading(_DATA).search(text)
    end = text.find("</think>")
    opened = text.lstrip().startswith("<think>")
    if end >= 0 and (opened or heading is None or end < heading.start()):
        thinking = text[:end].strip().removeprefix("<think>").strip()
        return thinking, text[end + len("</think>") :]
    return "", text


def _heading(title: str) -> re.Pattern[str]:
    return re.compile(rf"^{re.escape(title)}[ \t]*$", re.MULTILINE)


def _after_heading(text: str, title: str) -> str:
    match = _heading(title).search(text)
    if match is None:
        raise ParseError(f"no heading {title!r}")
    return text[match.end() :]


def _before_heading(text: str, title: str) -> tuple[str, int]:
    """Returns what precedes a heading, and where it ends."""
    match = _heading(title).search(text)
    if match is None:
        raise ParseError(f"no heading {title!r} after {_DATA!r}")
    return text[: match.start()].strip(), match.end()


def _items(data: str) -> tuple[PlanItem, ...]:
    fenced = _JSON_FENCE.match(data)
    try:
        items = json.loads(fenced.group(1) if fenced else data)
        json.dumps(
            items, ensure_ascii=False
        ).encode()  # JSON may escape half characters
    except (ValueError, RecursionError) as error:
        raise ParseError(f"{_DATA!r} is not JSON: {error}") from error
    if not isinstance(items, list) or not items:
        raise ParseError(f"{_DATA!r} must be a JSON list that is not empty")
    return tuple(_item(index, item) for index, item in enumerate(items))


def _item(index: int, item: Any) -> PlanItem:
    where = f"{_DATA!r}, item {index}"
    if not isinstance(item, dict):
        raise ParseError(f"{where} is no JSON object")
    if item.keys() != _FIELDS.keys():
        raise ParseError(f"{where} must have {list(_FIELDS)}, has {list(item)}")
    for field, kind in _FIELDS.items():
        if type(item[field]) is not kind:  # a bool is no number here
            raise ParseError(f"{where}: {field} is {item[field]!r}, no {kind.__name__}")
    if item["sample_num"] < 0:
        raise ParseError(f"{where}: sample_num is {item['sample_num']}, below 0")
    return PlanItem(**item)


def render(recipe: Recipe) -> str:
    """Returns the canonical text of a recipe: `parse(render(r)) == r`.

    That holds where the workflow has no white space around it, both scripts end in a
    newline, and neither of them contains a fence or a heading of this format.
    """
    return "\n".join(
        [
            _DATA,
            _list(recipe.training_data),
            "",
            _WORKFLOW,
            recipe.workflow,
            "",
            _fenced(recipe.processing),
            "",
            _fenced(recipe.verification),
        ]
    )


def _list(items: Sequence[PlanItem]) -> str:
    lines = [
        json.dumps(
            {field: getattr(item, field) for field in _FIELDS}, ensure_ascii=False
        )
        for item in items
    ]
    return "[\n" + ",\n".join(lines) + "\n]"


def _fenced(script: str) -> str:
    return f"```python\n{script}{'' if script.endswith(chr(10)) else chr(10)}```"
