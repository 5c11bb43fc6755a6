"""What a recipe left under `data/processed/`, read where it can do no harm.

The files come from a stranger's script. They are opened one folder after the other, so
that no link leads elsewhere (as `openat2` would, which not every platform has), only
where they are regular files of one name; read up to a bound, and parsed strictly. Of
each line only what a row consists of is kept, before the next one is looked at.
"""

from collections.abc import Iterator
import json
import os
import stat
from typing import Any

from sandbox.job import Limits
from sandbox.job import Output

FOLDERS = ("data", "processed")
_ROLES = ("user", "assistant")
_MAX_NAMED = 20  # ignored files that are named

Row = dict[str, Any]


class InvalidOutput(ValueError):
    """Says why what a recipe wrote cannot be read at all."""


def read(directory: int, limits: Limits) -> Output:
    """Reads every `*.jsonl` directly under `data/processed/`, in name order.

    Rows keep their dialogs and source only. Rows that are JSON but break the schema
    are counted, not raised for: how many are too many is for others to say.

    Args:
      directory: Descriptor of where the recipe ran.
      limits: Of the recipe.

    Raises:
      InvalidOutput: If a file is no regular file, too large or not JSON lines, naming
        it and the line.
    """
    try:
        folder = _open_folder(directory)
    except FileNotFoundError:
        return Output()
    except OSError as error:
        raise InvalidOutput(f"data/processed is no directory: {error}") from error
    rows: list[Row] = []
    errors: list[str] = []
    ignored: list[str] = []
    left = limits.dataset_bytes
    try:
        for name in sorted(os.listdir(folder)):
            if not name.endswith(".jsonl"):
                ignored.append(name)
                continue
            content = _read_file(folder, name, left)
            left -= len(content)
            for place, row, error in parse(name, content, limits.line_bytes):
                if error:
                    errors.append(f"{place}: {error}")
                else:
                    rows.append(row)
                if len(rows) + len(errors) > limits.dataset_rows:
                    raise InvalidOutput(f"more than {limits.dataset_rows} rows")
    finally:
        os.close(folder)
    return Output(
        rows=rows,
        malformed=len(errors),
        first_error=errors[0] if errors else "",
        ignored=tuple(_printable(name) for name in ignored[:_MAX_NAMED]),
    )


def parse(
    name: str, content: bytes, line_bytes: int
) -> Iterator[tuple[str, Row | None, str]]:
    """Yields where each line stands, its row, and what is wrong with it.

    Blank lines do not count; what is wrong is "" where nothing is.

    Args:
      name: Of the file.
      content: Of the file.
      line_bytes: Longest line.

    Raises:
      InvalidOutput: If a line is too long or no JSON.
    """
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        place = f"{_printable(name)}, line {number}"
        if len(line) > line_bytes:
            raise InvalidOutput(f"{place} has more than {line_bytes} bytes")
        try:
            value = json.loads(line.decode(), parse_constant=_refuse_constant)
            if b"\\u" in line:  # an escape may be half a character, which is no text
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise InvalidOutput(f"{place} is not JSON: {error}") from error
        error = _schema_error(value)
        yield place, None if error else _row(value), error


def _open_folder(directory: int) -> int:
    """Opens `data/processed` step by step, following no link."""
    folder = os.dup(directory)
    for name in FOLDERS:
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(name, flags, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def _read_file(folder: int, name: str, max_bytes: int) -> bytes:
    shown = _printable(name)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
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
