"""Selecting, changing, mixing, formatting and writing rows."""

from collections.abc import Callable, Mapping, Sequence
import json
import numbers
import pathlib
import random
from typing import Any

import datasets

from sandbox.aidp import rows
from sandbox.aidp import session

_PROCESSED = pathlib.Path("data/processed")  # where training rows are read


def select_by_filter(
    ds: rows.Rows, fn: Callable[[dict[str, Any]], Any]
) -> datasets.Dataset:
    """Keeps the rows for which `fn(row)` is true."""
    given = rows.to_rows(ds)
    kept = [index for index, keep in enumerate(rows.each(fn, given, "fn")) if keep]
    session.record("select_by_filter", len(given), len(kept))
    return rows.select(ds, given, kept)


def map_rows(
    ds: rows.Rows, fn: Callable[[dict[str, Any]], rows.Made]
) -> datasets.Dataset:
    """Makes new rows of each row.

    Args:
      ds: The rows.
      fn: Function of a row that returns a row, a list of rows, or None for none.

    Raises:
      TypeError: If the function returns anything else.
    """
    given = rows.to_rows(ds)
    found = rows.each(fn, given, "fn")
    made = [new for value in found for new in rows.made(value, "fn")]
    session.record("map_rows", len(given), len(made))
    return rows.from_rows(made, source=rows.source_of(ds))


def select_columns(
    ds: rows.Rows, columns: Sequence[str] | Mapping[str, str]
) -> datasets.Dataset:
    """Keeps some columns.

    Args:
      ds: The rows.
      columns: Their names; or new names by the old ones.

    Raises:
      KeyError: If there is no such column; says which there are.
    """
    given = rows.to_rows(ds)
    columns = [columns] if isinstance(columns, str) else columns
    names = dict(columns) if isinstance(columns, Mapping) else {c: c for c in columns}
    for name in names:
        rows.mapper(name, given, "columns")
    made = [{new: row[old] for old, new in names.items()} for row in given]
    session.record("select_columns", len(given), len(made))
    return rows.from_rows(made, source=rows.source_of(ds))


def filter_by_length(
    ds: rows.Rows,
    text_map: rows.Map,
    min_chars: int = 1,
    max_chars: int | None = None,
) -> datasets.Dataset:
    """Keeps the rows whose text has a length between two bounds, both included.

    Args:
      ds: The rows.
      text_map: The text: a column, or a function of a row.
      min_chars: The fewest characters.
      max_chars: The most; None for any.
    """
    given = rows.to_rows(ds)
    text_of = rows.mapper(text_map, given, "text_map")
    texts = rows.each(text_of, given, "text_map")
    lengths = [len(_content(text)) for text in texts]
    most = max(lengths, default=0) if max_chars is None else max_chars
    kept = [i for i, length in enumerate(lengths) if min_chars <= length <= most]
    session.record("filter_by_length", len(given), len(kept))
    return rows.select(ds, given, kept)


def sample_dataset(ds: rows.Rows, n: int, seed: int = 0) -> datasets.Dataset:
    """Keeps `n` random rows, or all if there are no more than that, in their order."""
    given = rows.to_rows(ds)
    kept = sorted(_draw(given, n, seed))
    session.record("sample_dataset", len(given), len(kept))
    return rows.select(ds, given, kept)


def _draw(given: Sequence[rows.Row], n: int, seed: int) -> list[int]:
    """Returns which rows are drawn, at most `n`.

    Raises:
      ValueError: If `n` is a share, a text or negative.
    """
    if not isinstance(n, numbers.Integral) or n < 0:
        raise ValueError(f"n must be a whole number of rows, got {n!r}")
    return random.Random(seed).sample(range(len(given)), min(n, len(given)))


def split_dataset(
    ds: rows.Rows, n: int, seed: int = 0
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Returns `n` random rows and all others, both in their order."""
    given = rows.to_rows(ds)
    drawn = set(_draw(given, n, seed))
    session.record("split_dataset", len(given), len(given))
    parts = [
        [i for i in range(len(given)) if (i in drawn) == one] for one in (True, False)
    ]
    return tuple(rows.select(ds, given, kept) for kept in parts)


def mix_datasets(
    dsets: Sequence[rows.Rows], weights: Sequence[float], n: int, seed: int = 0
) -> datasets.Dataset:
    """Joins random rows of several datasets, by weights.

    A dataset that has fewer rows than its share gives all that it has.

    Args:
      dsets: The datasets.
      weights: One for each, at least 0.
      n: Rows of all together.
      seed: Of the draw.

    Raises:
      ValueError: If the weights do not fit the datasets.
    """
    are_numbers = all(isinstance(weight, numbers.Real) for weight in weights)
    if (
        not are_numbers
        or len(weights) != len(dsets)
        or min(weights) < 0
        or not sum(weights)
    ):
        raise ValueError(f"{len(dsets)} datasets want as many weights: {list(weights)}")
    rng = random.Random(seed)
    ends = [
        round(n * sum(weights[: i + 1]) / sum(weights)) for i in range(len(weights))
    ]
    drawn = []
    for ds, share in zip(
        dsets, (b - a for a, b in zip([0, *ends], ends)), strict=False
    ):
        given = rows.to_rows(ds)
        kept = sorted(rng.sample(range(len(given)), min(share, len(given))))
        drawn.append(rows.select(ds, given, kept))
    joined = datasets.concatenate_datasets(drawn)
    session.record("mix_datasets", sum(map(len, dsets)), len(joined))
    return joined


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
    said = rows.each(user, given, "user_map")
    answered = rows.each(assistant, given, "assistant_map")
    for question, answer in zip(said, answered, strict=True):
        dialogs = [
            {"role": "user", "content": _content(question)},
            {"role": "assistant", "content": _content(answer)},
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
    if file.parent != _PROCESSED and not file.is_absolute():
        print(f"{file} is not in {_PROCESSED}/: no training rows are read from it")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(lines), encoding="utf-8")
    session.record("dump_dataset", len(given), len(lines))
