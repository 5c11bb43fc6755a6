"""Result files: written whole or not at all, so that a killed run can go on.

Every stage of an experiment ends in such a file; a stage whose file is there is done.
"""

from collections.abc import Callable, Iterable
import json
import os
import pathlib
import tempfile
from typing import Any


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file such that readers see the old one or all of the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temporary, 0o644)  # mkstemp's own is 0600
    os.replace(temporary, path)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes `value` as JSON; floats keep every bit."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_jsonl(path: pathlib.Path, rows: Iterable[Any]) -> None:
    """Writes one JSON value a line."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    write_text(path, "".join(line + "\n" for line in lines))


def read_json(path: pathlib.Path) -> Any:
    """Reads what `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: pathlib.Path) -> list[Any]:
    """Reads what `write_jsonl` wrote; no rows if there is no such file."""
    if not path.exists():
        return []
    # Not splitlines(): U+2028 and its like are legal inside a JSON string.
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def once(path: pathlib.Path, compute: Callable[[], Any]) -> Any:
    """Returns the value kept in a file, which is computed and written if missing.

    The value comes back from the file in either case, so that a resumed run sees the
    very same value (lists for tuples) as one that was never interrupted.
    """
    if not path.exists():
        write_json(path, compute())
    return read_json(path)
