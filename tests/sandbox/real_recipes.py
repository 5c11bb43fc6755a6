"""How recipes over the real files are written down, and the model that answers them.

The recipes themselves stand in `real_recipes_*.py`, one file for each way of going
right or wrong. They are what a language model might write: most are templates, in
which `$id`, `$user` and the like stand for the names of a real file.
"""

from collections.abc import Callable, Mapping
import collections
import dataclasses
import functools
import json
import string

from sandbox.job import Job
from sandbox.job import Output
from tests.sandbox import real_sources
from tests.sandbox.real_sources import Raw

Pair = tuple[str, str]
"""What the user says in the first turn and what the assistant answers to it."""

# Beginnings and ends that many templates share.
LOAD = """
from aidp import *

ds = load_remote_dataset("$id")
"""
TURNS = """
        "dialogs": [
            {"role": "user", "content": row["$user"]},
            {"role": "assistant", "content": row["$assistant"]},
        ],
"""
WRITE = """
with open("data/processed/train.jsonl", "w") as f:
    for row in rows:
        f.write(json.dumps(row) + "\\n")
"""

_MORE = ("svamp", "aqua")  # so that a message about what exists has something to list


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """One recipe, and how it is to end.

    Attributes:
      name: Of the case.
      script: What is run.
      sources: Names in `real_sources.RAWS` of what it is offered.
      kinds: In which it may end; nearly always one.
      says: What its author has to be told, in the log or with the first bad row.
      pairs: Returns the rows that it may leave; None if that does not matter.
      count: How many of them it leaves, in any order; None for all, in their order.
      malformed: How many lines it leaves that are no training rows.
      by_source: How many rows come from which source id; None if it does not matter.
    """

    name: str
    script: str
    sources: tuple[str, ...]
    kinds: tuple[str, ...]
    says: tuple[str, ...] = ()
    pairs: Callable[[], list[Pair]] | None = None
    count: int | None = None
    malformed: int = 0
    by_source: Mapping[str, int] | None = None

    def job(self) -> Job:
        """Returns it as the sandbox takes it."""
        return Job(
            processing=self.script,
            verification="",
            sources=tuple(real_sources.RAWS[name].source() for name in self.sources),
            row_cap=0,
            seed=0,
        )

    def check_rows(self, output: Output) -> None:
        """Makes sure that it has left what it is to leave."""
        found = [
            tuple(
                next(t["content"] for t in row["dialogs"] if t["role"] == role)
                for role in ("user", "assistant")
            )
            for row in output.rows
        ]
        assert output.malformed == self.malformed, output.first_error
        if self.by_source is not None:
            ids = collections.Counter(row.get("source") for row in output.rows)
            assert ids == self.by_source
        if self.pairs is None:
            assert self.count is None or len(found) == self.count
        elif self.count is None:
            assert found == self.pairs()
        else:
            assert len(found) == self.count
            assert not collections.Counter(found) - collections.Counter(self.pairs())


def _pairs(make: Callable, raw: Raw, key: str) -> list[Pair]:
    return make(real_sources.rows(key), raw)


def cross(
    name: str,
    over: Mapping[str, Mapping[str, str]] | tuple[str, ...],
    script: str,
    *,
    kind: str | tuple[str, ...],
    says: tuple[str, ...] = (),
    fault: str = "",
    pairs: Callable[[list[dict], Raw], list[Pair]] | None = None,
    count: int | None = None,
    malformed: int | None = 0,
    sources: tuple[str, ...] = _MORE,
    by_source: Mapping[str, int] | None = None,
) -> list[Recipe]:
    """Returns a recipe for each of several files.

    Args:
      name: Of the case.
      over: Names of the files; where the template has names of its own, these.
      script: Template, of `string.Template`. It knows the fields of `Raw`.
      kind: In which they end, or some that are as legitimate.
      says: See `Recipe`; templates as well, which also know `$columns` and `$ids`,
        those of the datasets on offer, as Python writes lists of them.
      fault: A piece of the template that stands in the line at fault and in no other:
        its number has to be told.
      pairs: Makes of a file's rows those that the recipe may leave.
      count: See `Recipe`.
      malformed: See `Recipe`; None for as many as the file has rows.
      sources: What is offered besides.
      by_source: See `Recipe`.
    """
    made = []
    for key in over:
        raw = real_sources.RAWS[key]
        offered = (key, *(other for other in sources if other != key))
        names = dataclasses.asdict(raw) | {
            "columns": str(list(raw.columns)),
            "ids": str([real_sources.RAWS[other].id for other in offered]),
        }
        names |= over[key] if isinstance(over, Mapping) else {}

        def fill(template: str, names: Mapping[str, str] = names) -> str:
            return string.Template(template).substitute(names)

        where = ()
        if fault:
            (number,) = [
                number
                for number, line in enumerate(script.lstrip("\n").split("\n"), 1)
                if fault in line
            ]
            where = (f'File "processing.py", line {number}',)
        made.append(
            Recipe(
                name=f"{name}, {key}",
                script=fill(script.lstrip("\n")),
                sources=offered,
                kinds=(kind,) if isinstance(kind, str) else kind,
                says=(*where, *map(fill, says)),
                pairs=pairs and functools.partial(_pairs, pairs, raw, key),
                count=count,
                malformed=raw.num_rows if malformed is None else malformed,
                by_source=by_source,
            )
        )
    return made


def plain(rows: list[dict], raw: Raw) -> list[Pair]:
    """Returns the two columns of a file that stand for user and assistant."""
    return [(str(row[raw.user]), str(row[raw.assistant])) for row in rows]


def plain_of(name: str) -> list[Pair]:
    """Returns the same of a file by its short name."""
    return plain(real_sources.rows(name), real_sources.RAWS[name])


def says_yes(text: str) -> bool:
    """Whether the model says yes to a text when it is asked for a yes or a no."""
    return len(text) % 2 == 0


def score(text: str) -> int:
    """Returns the model's score of a text, from 1 to 5."""
    return len(text) % 5 + 1


def refuses(text: str) -> bool:
    """Whether the model answers to a text without the JSON that it is asked for."""
    return len(text) % 3 == 0


def answer(chats: list[list[dict[str, str]]]) -> list[tuple[str, int]]:
    """Answers chats as the system prompt asks for it, else in capital letters."""
    replies = []
    for chat in chats:
        told, text = chat[0]["content"], chat[-1]["content"]
        if "yes or no" in told:
            reply = "Yes." if says_yes(text) else "No, it is not."
        elif "from 1" in told:
            reply = f"Score: {score(text)}"
        elif "JSON" in told and refuses(text):
            reply = "I am sorry, but I cannot help with that."
        elif "JSON" in told:
            made = {"question": text.upper(), "answer": "42"}
            reply = f"Sure!\n```json\n{json.dumps(made)}\n```"
        else:
            reply = text.upper()
        replies.append((reply, 10))
    return replies
