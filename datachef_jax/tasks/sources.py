"""Raw source files: reading them as they are, and refusing those that cannot serve."""

import csv
import json
import pathlib
from typing import Any

import pyarrow
from pyarrow import parquet

FORMATS = ("jsonl", "csv", "parquet", "json")


def _records(content: Any, records: str) -> list[dict[str, Any]]:
    if records == "*":
        return [{**row, "id": key} for key, row in content.items()]
    return content[records] if records else content


def read_rows(
    path: pathlib.Path, file_format: str, records: str
) -> list[dict[str, Any]]:
    """Reads every row of a source file.

    Args:
      path: The file.
      file_format: One of `FORMATS`.
      records: See `types.Source.records`.

    Raises:
      ValueError: If the file is missing, unreadable, not of that format or without
        rows, naming the file.
    """
    if file_format not in FORMATS:
        raise ValueError(
            f"source {path}: format {file_format!r} is not one of {FORMATS}"
        )
    try:
        if file_format == "parquet":
            rows = parquet.read_table(path).to_pylist()
        else:
            text = path.read_text(encoding="utf-8")
            if file_format == "jsonl":
                rows = [json.loads(line) for line in text.split("\n") if line.strip()]
            elif file_format == "csv":
                rows = list(csv.DictReader(text.splitlines()))
            else:
                rows = _records(json.loads(text), records)
    except (
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        pyarrow.ArrowInvalid,
    ) as error:
        raise ValueError(
            f"source {path} cannot be read as {file_format}: {error}"
        ) from error
    if not rows:
        raise ValueError(f"source {path} has no rows")
    return rows
