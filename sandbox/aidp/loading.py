"""Loading the raw sources, each by its dataset id."""

from collections.abc import Mapping, Sequence
import csv
import io
import json
import os
import random
from typing import Any

import datasets
import pyarrow
from pyarrow import compute
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from sandbox.aidp import rows
from sandbox.aidp import session

_PIECE_BYTES = 2**26
# Text that a number is always written as: "007" and "+1" stay text.
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_DECIMAL = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?$"


def load_remote_dataset(
    id: str,
    *columns: str,
    name: str | None = None,
    split: str | None = None,
    shuffle: bool = False,
) -> datasets.Dataset:
    """Loads a raw dataset.

    Args:
      id: Its id, `owner/name`.
      *columns: Those to keep; all if none is named.
      name: Its configuration; there is one, which may be left out.
      split: Its split; there is one, which may be left out.
      shuffle: Whether to put its rows in random order.

    Raises:
      ValueError: If there is no such dataset, configuration, split or column; says
        which there are.
    """
    run = session.current()
    if not isinstance(id, str) or id not in run.sources:
        raise ValueError(f"no dataset {id!r}; the datasets are {list(run.sources)}")
    source = run.sources[id]
    if name not in (None, source.name):
        raise ValueError(f"{id} has no name {name!r}, only {source.name!r}")
    if split not in (None, source.split):
        raise ValueError(f"{id} has no split {split!r}, only {source.split!r}")
    draw = _Draw(run.row_cap, random.Random(f"{run.seed} {id}"), shuffle)
    loaded = _READERS[source.format](source, draw)
    run.loaded[id] = loaded.column_names
    if columns:
        unknown = [column for column in columns if column not in loaded.column_names]
        if unknown:
            raise ValueError(
                f"{id} has no column {unknown[0]!r}; its columns are"
                f" {loaded.column_names}"
            )
        loaded = rows.from_table(
            loaded.data.table.select(list(columns)), source=source.id
        )
    session.record("load_remote_dataset", len(loaded), len(loaded))
    return loaded


class _Draw:
    """Which rows of a file are taken, and in which order."""

    def __init__(self, cap: int, rng: random.Random, shuffle: bool) -> None:
        self._cap, self._rng, self._shuffle = cap, rng, shuffle

    def indices(self, count: int) -> Sequence[int]:
        """Returns which of `count` rows are taken."""
        taken: Sequence[int] = range(count)
        if self._cap and self._cap < count:
            taken = sorted(self._rng.sample(taken, self._cap))
        if self._shuffle:
            taken = self._rng.sample(taken, len(taken))
        return taken

    def take(self, table: pyarrow.Table) -> pyarrow.Table:
        """Returns the rows of a table that are taken."""
        taken = self.indices(len(table))
        return table if taken == range(len(table)) else table.take(taken)


def _content(source: session.Source) -> bytes:
    """Reads all of a file, wherever others that share its descriptor are in it."""
    pieces: list[bytes] = []
    at = 0
    while piece := os.pread(source.fd, _PIECE_BYTES, at):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _read_jsonl(source: session.Source, draw: _Draw) -> datasets.Dataset:
    """Reads JSON lines; what is no JSON object is left out and counted."""
    content = _content(source)
    lines = [line for line in content.split(b"\n") if line.strip()]
    found = []
    taken = draw.indices(len(lines))
    for index in taken:
        try:
            row = json.loads(lines[index].decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            found.append(row)
    if len(found) < len(taken):
        print(f"{source.id}: {len(taken) - len(found)} lines are no JSON objects")
    return rows.from_rows(found, source=source.id)


def _read_json(source: session.Source, draw: _Draw) -> datasets.Dataset:
    text = _content(source).decode("utf-8", "replace")
    content: Any = json.loads(text)
    if source.records == "*":
        content = [{**row, "id": key} for key, row in content.items()]
    elif source.records:
        content = content[source.records]
    taken = draw.indices(len(content))
    return rows.from_rows([content[index] for index in taken], source=source.id)


def _read_parquet(source: session.Source, draw: _Draw) -> datasets.Dataset:
    # Without threads: a pool of them costs more than it saves on files this small.
    buffer = pyarrow.py_buffer(_content(source))
    table = parquet.read_table(buffer, use_threads=False)
    return rows.from_table(draw.take(table), source=source.id)


def _read_csv(source: session.Source, draw: _Draw) -> datasets.Dataset:
    """Reads CSV: empty cells are None, columns that hold only numbers are numbers.

    Arrow's own inference would also make dates, times and booleans of texts.
    """
    content = _content(source).decode("utf-8-sig", "replace")
    header = next(csv.reader(io.StringIO(content, newline="")))
    table = arrow_csv.read_csv(
        pyarrow.BufferReader(content.encode()),
        read_options=arrow_csv.ReadOptions(use_threads=False),
        parse_options=arrow_csv.ParseOptions(
            newlines_in_values=True, invalid_row_handler=lambda _: "skip"
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types={column: pyarrow.string() for column in header},
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    columns = [_number(column) for column in table.columns]
    table = pyarrow.Table.from_arrays(columns, names=table.column_names)
    return rows.from_table(draw.take(table), source=source.id)


def _number(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    for pattern, kind in ((_INTEGER, pyarrow.int64()), (_DECIMAL, pyarrow.float64())):
        if compute.all(compute.match_substring_regex(column, pattern)).as_py():
            return column.cast(kind)
    return column


_READERS: Mapping[str, Any] = {
    "jsonl": _read_jsonl,
    "json": _read_json,
    "parquet": _read_parquet,
    "csv": _read_csv,
}
