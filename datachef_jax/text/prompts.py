"""What the policy reads: the task, its benchmark and its datasets (paper, 3.1)."""

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

from datachef_jax.types import Source
from datachef_jax.types import Task

_ASKED = """\
Write {what}: choose from the datasets below and turn them into training data
for the task.

Answer with, in this order:
1. `## Training Data`: a JSON list of {{"dataset_id", "split", "name", "sample_num",
   "reason"}}, one entry for each dataset that you use;
2. `## Data Processing Workflow`: in words, what is done with them{end}
"""
_SCRIPTS = """\
exactly two Python blocks: the processing script, which writes JSON lines under
   data/processed/, each {"dialogs": [{"role": "user", "content": ...},
   {"role": "assistant", "content": ...}]}, and a verification script, which checks
   what was written.
"""
_RULES = """
Rules: use only the datasets, splits, configurations and columns that are listed.
Never use data of the benchmark. Every row must stand alone, with all the context it
needs, and its answer must have the benchmark's output format. LLM calls are allowed
to extract, augment, synthesise and check; state their prompts. Scripts have no
network, cannot start processes, and see the datasets through the toolkit only.
"""
_WHOLE = _ASKED.format(what="a data recipe", end=";") + f"3. {_SCRIPTS}{_RULES}"
_PLAN = _ASKED.format(what="the plan of a data recipe", end=".") + _RULES


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptStyle:
    """How much the policy's prompt says.

    Attributes:
      rules: Whether the answer's format and the rules are spelled out. A policy that
        was cold-started on one format can do without.
      toolkit: Description of the scripts' toolkit, "" for none.
      examples_per_source: Rows shown of each dataset.
      max_example_chars: Longer values in those rows are cut.
      apart: Whether the plan is asked for alone, and the scripts by `scripts_request`.
    """

    rules: bool
    toolkit: str
    examples_per_source: int
    max_example_chars: int
    apart: bool = False


def _cut(value: Any, max_chars: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _cut(item, max_chars) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item, max_chars) for item in value[:3]]
    if isinstance(value, str) and len(value) > max_chars:
        return value[:max_chars] + "…"
    return value


def show_row(row: Mapping[str, Any], style: PromptStyle) -> str:
    """Returns a dataset's row as prompts show it."""
    return json.dumps(_cut(row, style.max_example_chars), ensure_ascii=False)


def _describe(source: Source, style: PromptStyle) -> str:
    # What it is comes before its name: a model that reads from left to right then knows
    # at the name whether it wants it. The names stand as a script would load them.
    size = f"({source.split}, {source.name}, {source.num_rows} rows)"
    names = ", ".join(json.dumps(name) for name in (source.id, *source.columns))
    head = f"{size} {source.card}\n{names}"
    rows = [
        show_row(row, style) for row in source.examples[: style.examples_per_source]
    ]
    return "\n".join([head, *rows])


def policy_messages(task: Task, style: PromptStyle) -> list[dict[str, str]]:
    """Returns the chat that asks for a recipe or its plan: one user message."""
    parts = []
    if style.rules:
        parts.append(_PLAN if style.apart else _WHOLE)
    if style.toolkit and not style.apart:
        parts.append(_toolkit(style))
    parts.append(
        f"Task: {task.instruction}\n"
        f"Benchmark: {task.benchmark}. {task.benchmark_description}\n"
        "Datasets:"
    )
    parts += [_describe(source, style) for source in task.sources]
    return [{"role": "user", "content": "\n".join(parts)}]


def scripts_request(style: PromptStyle) -> str:
    """Returns the message that asks for the scripts of a plan."""
    rules = f"Now write {_SCRIPTS}" if style.rules else "Now write the scripts."
    return "\n".join([rules, *([_toolkit(style)] if style.toolkit else [])])


def _toolkit(style: PromptStyle) -> str:
    return f"The toolkit, `from aidp import *`:\n{style.toolkit}\n"
