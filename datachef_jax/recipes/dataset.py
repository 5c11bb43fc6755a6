"""What a recipe left under `data/processed/`: reading it, and drawing rows from it.

The files come from a stranger's script. They are opened in a way that no link, pipe or
device can divert, read up to a bound, and parsed strictly.
"""

from collections.abc import Sequence
import json
import os
import pathlib
import stat
from typing import Any

from jaxtyping import Int
import numpy as np

from datachef_jax.types import Dataset
from datachef_jax.types import Row

_FOLDERS = ("data", "processed")
_ROLES = ("user", "assistant")
_MAX_NAMED = 20  # ignored files that are named


class InvalidOutput(ValueError):
    """Says why what a recipe wrote cannot be read at all."""


def read(directory: pathlib.Path, *, max_bytes: int) -> Dataset:
    """Reads every `*.jsonl` directly under `data/processed/`, in name order.

    Rows keep their dialogs and source only. Rows that are JSON but break the schema
    are counted, not raised for: how many are too many is for the verifier to say.

    Args:
      directory: Where the recipe ran.
      max_bytes: All files together may have no more than this.

    Raises:
      InvalidOutput: If a file is no regular file, too large or not JSON lines, naming
        it and the line.
    """
    try:
        folder = _open_folder(directory)
    except FileNotFoundError:
        return Dataset(rows=())
    except OSError as error:
        raise InvalidOutput(f"data/processed is no directory: {error}") from error
    rows: list[Row] = []
    errors: list[str] = []
    ignored: list[str] = []
    try:
        for name in sorted(os.listdir(folder)):
            if not name.endswith(".jsonl"):
                ignored.append(name)
                continue
            content = _read_file(folder, name, max_bytes)
            max_bytes -= len(content)
            for place, value in _parse_lines(name, content):
                error = _schema_error(value)
                if error:
                    errors.append(f"{place}: {error}")
                else:
                    rows.append(_row(value))
    finally:
        os.close(folder)
    return Dataset(
        rows=tuple(rows),
        malformed=len(errors),
        first_error=errors[0] if errors else "",
        ignored=tuple(_printable(name) for name in ignored[:_MAX_NAMED]),
    )


def read_file(path: pathlib.Path) -> list[Row]:
    """Reads a file of rows that a user names: all of them have to be whole.

    Raises:
      ValueError: If it is not JSON lines or a row breaks the schema; names the line.
      OSError: If it cannot be read.
    """
    rows = []
    for place, value in _parse_lines(path.name, path.read_bytes()):
        if error := _schema_error(value):
            raise ValueError(f"{place}: {error}")
        rows.append(_row(value))
    return rows


def _open_folder(directory: pathlib.Path) -> int:
    """Opens `data/processed` step by step, following no link."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for name in _FOLDERS:
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            inner = os.open(name, flags, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def _read_file(folder: int, name: str, max_bytes: int) -> bytes:
    shown = _printable(name)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        raise InvalidOutput(f"{shown} cannot be opened: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise InvalidOutput(f"{shown} is no regular file with one name")
        if status.st_size > max_bytes:
            raise InvalidOutput(f"{shown} is too large: {max_bytes} bytes were left")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes)
    finally:
        os.close(descriptor)


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _parse_lines(name: str, content: bytes) -> list[tuple[str, Any]]:
    """Returns the value of each line, and where it stands. Blank lines do not count."""
    values = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        place = f"{_printable(name)}, line {number}"
        try:
            value = json.loads(line.decode(), parse_constant=_refuse_constant)
            if b"\\u" in line:  # an escape may be half a character, which is no text
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise InvalidOutput(f"{place} is not JSON: {error}") from error
        values.append((place, value))
    return values


def _schema_error(row: Any) -> str:
    """Returns what is wrong with a row, "" if nothing is."""
    if not isinstance(row, dict) or not isinstance(row.get("dialogs"), list):
        return 'a row must be an object with a list "dialogs"'
    if not isinstance(row.get("source", ""), str | None):
        return "source must be text"
    turns = row["dialogs"]
    for turn in turns:
        if not isinstance(turn, dict) or turn.keys() != {"role", "content"}:
            return 'a turn must be an object with "role" and "content"'
        if not isinstance(turn["content"], str):
            return f"content must be text, got {str(turn['content'])[:40]!r}"
    roles = [turn["role"] for turn in turns]
    said = roles[1:] if roles[:1] == ["system"] else roles
    if not said or len(said) % 2 or said != list(_ROLES) * (len(said) // 2):
        return f"roles must alternate from user to assistant, got {str(roles)[:80]}"
    return ""


def _row(value: dict[str, Any]) -> Row:
    turns = [{"role": t["role"], "content": t["content"]} for t in value["dialogs"]]
    source = value.get("source")
    return {"dialogs": turns} | ({"source": source} if source else {})


def draw(
    rows_count: int, k: int, seed: int | Sequence[int]
) -> Int[np.ndarray, " drawn"]:
    """Draws rows without replacement.

    Args:
      rows_count: How many there are.
      k: How many to draw; all of them if there are no more.
      seed: Determines the draw, together with `rows_count`. Of the same two, a smaller
        draw is the beginning of a larger one.

    Returns:
      Their indices, in random order.
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    return generator.permutation(rows_count)[:k]
