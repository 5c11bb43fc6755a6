"""Between `datasets` and plain rows, without its caches and fingerprints.

Sources have hundreds of rows. For so few, hashing a script's functions to name cache
files costs more than the work itself: rows are handled as Python dicts and tables are
built directly.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import itertools
import json
import reprlib
from typing import Any

import datasets
from datasets import arrow_dataset
from datasets import fingerprint
import pandas
import pyarrow

Rows = datasets.Dataset | pandas.DataFrame | Sequence[dict[str, Any]]
"""What the toolkit's functions accept as a dataset."""

Map = str | Callable[[dict[str, Any]], Any]
"""A column's name, or a function of a row."""

Made = dict[str, Any] | list[dict[str, Any]] | None
"""What a function of a script may make of a row: a row, several, or none."""

_numbers = itertools.count()


class Row(dict):
    """A row; an unknown column's error says which ones there are."""

    def __missing__(self, column: Any) -> Any:
        raise KeyError(f"no column {column!r}; the columns are {list(self)}")


class _Short(reprlib.Repr):
    """Shows rows with all of their columns, and the ends of their texts."""

    def __init__(self) -> None:
        super().__init__()
        self.maxdict, self.maxstring, self.maxother = 30, 60, 60

    def repr_Row(self, row: Row, level: int) -> str:
        """Shows a row as any other dict; reprlib asks for this name."""
        return self.repr_dict(row, level)


_SHORT = _Short()


def _next_fingerprint(*_: Any) -> str:
    return f"{next(_numbers):016x}"


def disable_fingerprints() -> None:
    """Gives tables consecutive numbers in place of hashes of what made them."""
    fingerprint.update_fingerprint = _next_fingerprint
    arrow_dataset.update_fingerprint = _next_fingerprint
    arrow_dataset.generate_fingerprint = _next_fingerprint


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _column(values: list[Any]) -> pyarrow.Array:
    """Builds a column; values of mixed types become text, as JSON where not text."""
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError):
        return pyarrow.array([_text(value) for value in values], pyarrow.string())


def from_table(table: pyarrow.Table, *, source: str | None) -> datasets.Dataset:
    """Wraps a table; `source` is the id of the dataset that it came from."""
    info = datasets.DatasetInfo(dataset_name=source)
    return datasets.Dataset(table, info=info, fingerprint=_next_fingerprint())


def from_rows(
    rows: Iterable[dict[str, Any]], *, source: str | None
) -> datasets.Dataset:
    """Builds a dataset whose columns are all keys that occur in the rows."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [_column([row.get(name) for row in rows]) for name in names]
    return from_table(pyarrow.Table.from_arrays(columns, names=names), source=source)


def to_rows(ds: Rows) -> list[Row]:
    """Returns the rows of whatever a script takes for a dataset.

    Raises:
      TypeError: If it is none.
    """
    if isinstance(ds, datasets.Dataset):
        return [Row(row) for row in ds.to_list()]
    if isinstance(ds, pandas.DataFrame):
        ds = ds.astype(object).where(ds.notna(), None).to_dict("records")
    if isinstance(ds, list | tuple) and all(isinstance(row, dict) for row in ds):
        return [Row(row) for row in ds]
    raise TypeError(f"expected a Dataset, got {type(ds).__name__}: {str(ds)[:80]}")


def select(ds: Rows, given: Sequence[Row], kept: Sequence[int]) -> datasets.Dataset:
    """Keeps the rows `kept`, with the columns' types even if none is left."""
    if isinstance(ds, datasets.Dataset):
        return ds.select(kept)
    return from_rows([given[index] for index in kept], source=None)


def each(fn: Callable[..., Any], given: Iterable[Any], name: str) -> Iterator[Any]:
    """Yields what a script's function makes of each row.

    Args:
      fn: The function.
      given: The rows; or tuples of arguments, of which rows are a part.
      name: What the function is called in the toolkit.

    Raises:
      Exception: Whatever the function raises, with a note that shows the row.
    """
    for index, value in enumerate(given):
        try:
            result = fn(*value) if isinstance(value, tuple) else fn(value)
        except Exception as error:
            error.add_note(f"[{name} was given row {index}: {_SHORT.repr(value)}]")
            raise
        yield result


def made(value: Made, name: str) -> list[dict[str, Any]]:
    """Returns the rows that a script's function has made of one.

    Raises:
      TypeError: If it has made anything else.
    """
    found = [value] if isinstance(value, dict) else value or []
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        kind = type(value).__name__
        raise TypeError(f"{name} must return a row, a list of rows or None, got {kind}")
    return found


def source_of(ds: Rows) -> str | None:
    """Returns the id of the source that `ds` was loaded from, None if unknown."""
    return ds.info.dataset_name if isinstance(ds, datasets.Dataset) else None


def mapper(map_: Map, rows: Sequence[Row], name: str) -> Callable[[Row], Any]:
    """Returns the function that `map_` stands for.

    Raises:
      KeyError: If it names a column that the rows do not have.
      TypeError: If it is neither a name nor a function.
    """
    if isinstance(map_, str):
        if rows and map_ not in rows[0]:
            raise KeyError(
                f"{name}={map_!r} is no column; the columns are {list(rows[0])}"
            )
        return lambda row: row[map_]
    if not callable(map_):
        raise TypeError(f"{name} must be a column or a function of a row, got {map_!r}")
    return map_
