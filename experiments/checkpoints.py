"""Model folders: found from the repository's root, compared with their checksums."""

import hashlib
import pathlib

_SUMS = "SHA256SUMS"


def is_url(checkpoint: str) -> bool:
    """Says whether a checkpoint is a model that is served, as http://host:8000/name."""
    return checkpoint.startswith(("http://", "https://"))


def find(folder: str, root: pathlib.Path) -> pathlib.Path:
    """Returns a checkpoint's folder, whose shipped files are what they should be.

    Args:
      folder: Relative to `root`, or absolute.
      root: The checkout.

    Raises:
      ValueError: If there is no such folder, or a file in it differs from the
        checksum that a `SHA256SUMS` beside the folder has for it.
    """
    path = root / folder
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}")
    for name, expected in sums(path.parent).items():
        file = path.parent / name
        if not file.is_relative_to(path):
            continue
        if not file.exists():
            raise ValueError(f"{file} is missing, but listed in {_SUMS}")
        if sha256(file) != expected:
            raise ValueError(f"{file} does not have the checksum in {_SUMS}")
    return path


def sums(folder: pathlib.Path) -> dict[str, str]:
    """Returns file name -> checksum from the file of `sha256sum`, if there is one."""
    path = folder / _SUMS
    if not path.exists():
        return {}
    lines = (line.split(maxsplit=1) for line in path.read_text().splitlines())
    return {name.lstrip("*"): checksum for checksum, name in lines}


def sha256(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
