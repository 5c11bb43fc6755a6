"""Keys that a run shows or wants to be shown.

They stand in no config: those are saved with the run.
"""

import os
import pathlib

from experiments import checks


def read(section: str, variable: str, file: str, root: pathlib.Path) -> str:
    """Returns the key that a variable of the environment or a file holds, "" for none.

    Args:
      section: Of the config, where `key_variable` and `key_file` stand.
      variable: Name of the variable, or "".
      file: Path of the file, or "".
      root: What a relative path is relative to.

    Raises:
      UserError: If there is none where one is named, or both are.
    """
    checks.require(
        not (variable and file), f"config.{section}.key_file", file, "beside a variable"
    )
    if variable:
        key = os.environ.get(variable, "").strip()
        field, value = f"config.{section}.key_variable", variable
    elif file:
        field, value = f"config.{section}.key_file", file
        with checks.blame(field, value):
            key = (root / file).read_text(encoding="utf-8").strip()
    else:
        return ""
    checks.require(key != "", field, value, "holds no key")
    checks.require(
        key.isascii() and key.isprintable(), field, value, "is not printable"
    )
    return key
