"""The kinds of mini sources: how many rows, which fault, what the card says."""

import dataclasses

from datachef_jax.tasks.mini import faults


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of source.

    Attributes:
      fault: Turns clean examples into the source's rows.
      rows: How many examples go in.
      remark: What the card says after the topic.
      worth: See `types.Handling`.
      level: Of the family's questions: "normal", "easier" or "harder".
      keep: The filter of an expert, over `{answer}` and `{quality}`.
      mend: The expert's expression for the bare answer, over `{answer}`; "" where
        the answer already follows the contract.
    """

    fault: faults.Fault
    rows: int
    remark: str
    worth: float
    level: str = "normal"
    keep: str = ""
    mend: str = ""


_UNBOX = "extract_boxed({answer})"
_UNJSON = 'extract_json({answer})["answer"]'

KINDS: dict[str, Kind] = {
    "clean": Kind(fault=faults.clean, rows=240, remark="Checked by hand.", worth=1.0),
    "scored": Kind(
        fault=faults.scored,
        rows=900,
        remark="Many answers are wrong: those with less than 3 points.",
        worth=1.0,
        keep="{quality} >= 3",
    ),
    "buried": Kind(
        fault=faults.buried,
        rows=500,
        remark="Answers are sentences.",
        worth=1.0,
        mend="extract_final({answer})",
    ),
    "other_contract": Kind(
        fault=faults.other_contract,
        rows=500,
        remark="Answers have another format.",
        worth=1.0,
    ),
    "broken": Kind(
        fault=faults.broken,
        rows=600,
        remark="Many answers are empty or cut off.",
        worth=0.9,
        keep='{answer} and "..." not in {answer}',
    ),
    "duplicated": Kind(
        fault=faults.duplicated, rows=600, remark="Rows repeat ten times.", worth=0.5
    ),
    "leaked": Kind(
        fault=faults.leaked, rows=200, remark="Taken from the benchmark.", worth=0.0
    ),
    "foreign": Kind(fault=faults.clean, rows=600, remark="Checked by hand.", worth=0.0),
    "easier": Kind(
        fault=faults.clean,
        rows=400,
        remark="Easier ones.",
        worth=0.4,
        level="easier",
    ),
    "harder": Kind(
        fault=faults.clean,
        rows=400,
        remark="Harder ones.",
        worth=0.4,
        level="harder",
    ),
    "unanswered": Kind(
        fault=faults.unanswered, rows=400, remark="Without answers.", worth=0.7
    ),
    "unchecked": Kind(
        fault=faults.unchecked,
        rows=600,
        remark="Answers of a weak model, nobody checked them.",
        worth=0.1,
    ),
}

ALWAYS = (
    "clean",
    "scored",
    "buried",
    "other_contract",
    "broken",
    "duplicated",
    "leaked",
)
SOMETIMES = ("foreign", "easier", "harder", "unanswered", "unchecked")
"""Each task has all of the first and one to five of the second: 8 to 12 sources."""


def mend(kind: str, contract: str) -> str:
    """Returns the expert's expression for the bare answer, "" if none is needed."""
    if kind != "other_contract":
        return KINDS[kind].mend
    return _UNJSON if faults.OTHER_CONTRACT[contract] == "json" else _UNBOX
