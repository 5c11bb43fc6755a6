"""Selecting, deduplicating, mixing, formatting and writing rows."""

from collections.abc import Callable, Sequence
import hashlib
import json
import pathlib
import random
import re
from typing import Any

import datasets

from sandbox.aidp import rows
from sandbox.aidp import session

_NON_CHARACTERS = re.compile(r"[\W_]+")


def _select(ds: rows.Rows, given: Sequence[Any], kept: list[int]) -> datasets.Dataset:
    """Keeps the rows `kept`, with the columns' types even if none is left."""
    if isinstance(ds, datasets.Dataset):
        return ds.select(kept)
    return rows.from_rows([given[index] for index in kept], source=None)


def select_by_filter(
    ds: rows.Rows, fn: Callable[[dict[str, Any]], Any]
) -> datasets.Dataset:
    """Keeps the rows for which `fn(row)` is true."""
    given = rows.to_rows(ds)
    kept = [index for index, row in enumerate(given) if fn(row)]
    session.record("select_by_filter", len(given), len(kept))
    return _select(ds, given, kept)


def deduplicate_by_text_hash(
    ds: rows.Rows,
    text_map: rows.Map | None = None,
    lowercase: bool = True,
    ignore_non_character: bool = False,
) -> datasets.Dataset:
    """Keeps the first of all rows that have the same text.

    Args:
      ds: The rows.
      text_map: The text: a column, or a function of a row. By default the first user
        message of rows with `dialogs`, else the whole row.
      lowercase: Whether texts that differ only in case are the same.
      ignore_non_character: Whether texts that differ only in spaces and punctuation
        are the same.
    """
    given = rows.to_rows(ds)
    text_of = rows.mapper(
        _question if text_map is None else text_map, given, "text_map"
    )
    seen: set[bytes] = set()
    kept = []
    for index, row in enumerate(given):
        text = str(text_of(row))
        text = text.lower() if lowercase else text
        text = _NON_CHARACTERS.sub("", text) if ignore_non_character else text
        key = hashlib.sha1(text.encode("utf-8", "backslashreplace")).digest()
        if key not in seen:
            seen.add(key)
            kept.append(index)
    session.record("deduplicate_by_text_hash", len(given), len(kept))
    return _select(ds, given, kept)


def _question(row: dict[str, Any]) -> str:
    if "dialogs" in row:
        turns = [turn for turn in row["dialogs"] if turn["role"] == "user"]
        return turns[0]["content"] if turns else ""
    return json.dumps(row, default=str)


def sample_dataset(ds: rows.Rows, n: int, seed: int = 0) -> datasets.Dataset:
    """Keeps `n` random rows, or all if there are no more than that, in their order."""
    given = rows.to_rows(ds)
    kept = sorted(random.Random(seed).sample(range(len(given)), min(n, len(given))))
    session.record("sample_dataset", len(given), len(kept))
    return _select(ds, given, kept)


def concatenate_datasets(dsets: Sequence[datasets.Dataset]) -> datasets.Dataset:
    """Joins datasets one after another, as `datasets.concatenate_datasets` does."""
    joined = datasets.concatenate_datasets(list(dsets))
    session.record("concatenate_datasets", sum(map(len, dsets)), len(joined))
    return joined


def format_to_sharegpt(
    ds: rows.Rows, user_map: rows.Map, assistant_map: rows.Map
) -> datasets.Dataset:
    """Turns rows into training rows `{"dialogs": [...], "source": id}`.

    Args:
      ds: The rows.
      user_map: What the user says: a column, or a function of a row.
      assistant_map: What the assistant answers, likewise.
    """
    given = rows.to_rows(ds)
    user = rows.mapper(user_map, given, "user_map")
    assistant = rows.mapper(assistant_map, given, "assistant_map")
    source = rows.source_of(ds)
    formatted = []
    for row in given:
        dialogs = [
            {"role": "user", "content": _content(user(row))},
            {"role": "assistant", "content": _content(assistant(row))},
        ]
        formatted.append({"dialogs": dialogs} | ({"source": source} if source else {}))
    session.record("format_to_sharegpt", len(given), len(formatted))
    return rows.from_rows(formatted, source=source)


def _content(value: Any) -> str:
    return "" if value is None else str(value)


def dump_dataset(ds: rows.Rows, path: str) -> None:
    """Writes rows as JSON lines; training rows belong in `data/processed/*.jsonl`.

    Raises:
      ValueError: If the path does not end in `.jsonl`.
    """
    if not str(path).endswith(".jsonl"):
        raise ValueError(f"the path must end in .jsonl, got {str(path)!r}")
    given = rows.to_rows(ds)
    lines = []
    for row in given:
        if row.get("source", "") is None:  # joined with rows whose source is known
            del row["source"]
        lines.append(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    file = pathlib.Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(lines), encoding="utf-8")
    session.record("dump_dataset", len(given), len(lines))
