"""Writes a recipe out from what is to be done with each source.

Hand-written recipes, demonstrations and single-source baselines all differ only in
which sources they use, how they handle them, and whether they remove duplicates.
"""

from collections.abc import Sequence
import json
import re

from datachef_jax.types import Handling
from datachef_jax.types import PlanItem
from datachef_jax.types import Recipe
from datachef_jax.types import Source

_OUTPUT = "data/processed/train.jsonl"

_GENERATE = (
    'ds = generate_dataset_with_llm(ds, system_prompt="Answer the question.",'
    " user_map=lambda row: {user},"
    ' response_parser=lambda response, raw: [{{**raw, "response": response}}])'
)

_VERIFICATION = f"""\
import json

rows = [json.loads(line) for line in open("{_OUTPUT}")]
assert rows, "no rows"
assert all(turn["content"] for row in rows for turn in row["dialogs"]), "empty turns"
print(len(rows), "rows")
"""


def _reason(handling: Handling) -> str:
    if handling.generate:
        return "the model answers it"
    if handling.keep:
        return "keep the good rows"
    if "(" in handling.assistant:
        return "rewrite the answers"
    return "as it is"


def _block(source: Source, handling: Handling) -> list[str]:
    expressions = handling.keep + handling.user + handling.assistant
    used = [
        c for c in source.columns if re.search(rf"row\[(['\"]){c}\1\]", expressions)
    ]
    names = ", ".join(json.dumps(name) for name in (source.id, *used))
    lines = [f"ds = load_remote_dataset({names})"]
    if handling.keep:
        lines.append(f"ds = select_by_filter(ds, lambda row: {handling.keep})")
    if handling.generate:
        lines.append(_GENERATE.format(user=handling.user))
    lines.append(
        f"ds = format_to_sharegpt(ds, user_map=lambda row: {handling.user},"
        f" assistant_map=lambda row: {handling.assistant})"
    )
    return lines + ["parts.append(ds)", ""]


def compose(
    uses: Sequence[tuple[Source, Handling]],
    *,
    deduplicate: bool,
    then: Sequence[str] = (),
) -> Recipe:
    """Returns the recipe that handles each source as told and joins the results.

    Args:
      uses: Sources in the order in which they are loaded, each with its handling.
      deduplicate: Whether rows with an equal question are removed at the end.
      then: Lines of Python that do something else to `ds` before it is written.
    """
    items = tuple(
        PlanItem(
            dataset_id=source.id,
            split=source.split,
            name=source.name,
            sample_num=source.num_rows,
            reason=_reason(handling),
        )
        for source, handling in uses
    )
    imports = ["import re"] if any("re.sub(" in h.user for _, h in uses) else []
    script = [*imports, "from aidp import *", "", "parts = []"]
    for source, handling in uses:
        script += _block(source, handling)
    script.append("ds = concatenate_datasets(parts)")
    if deduplicate:
        script.append(
            "ds = deduplicate_by_text_hash(ds, text_map=lambda row:"
            ' row["dialogs"][0]["content"])'
        )
    script += then
    script.append(f'dump_dataset(ds, "{_OUTPUT}")')
    end = "remove repeated questions, write." if deduplicate else "write."
    return Recipe(
        training_data=items,
        workflow=f"Handle each dataset as said above, join them, {end}",
        processing="\n".join(script) + "\n",
        verification=_VERIFICATION,
    )
