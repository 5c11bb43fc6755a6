"""Checkpoints that are complete or absent, and checked before they are trusted.

A checkpoint is a folder `step_<number>`: `data/`, written by Orbax, holds the arrays;
`position.json` whatever else a run needs to go on (where the stream of tasks stands);
`manifest.json`, written last, the sha256 of every file. The folder gets its name when
all of it is there, so a run killed while saving leaves nothing that looks like a
checkpoint. A file that was truncated or changed afterwards is found by its checksum,
and the checkpoint before it is used.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils
from jaxtyping import PyTree
from orbax.checkpoint import v1 as ocp

_NAME = re.compile(r"step_(\d{6,})")
_MANIFEST, _POSITION = "manifest.json", "position.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skipped:
    """A checkpoint that could not be used, and why."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restored:
    """What was found.

    Attributes:
      step: Of the latest readable checkpoint; 0 if nothing was ever saved.
      arrays: Its arrays, None if there is none.
      position: What was saved beside them.
      skipped: Later ones that are damaged, latest first.
    """

    step: int
    arrays: PyTree | None
    position: Mapping[str, Any]
    skipped: tuple[Skipped, ...]


class Saver:
    """Saves checkpoints into a folder while the training goes on.

    Only copying the arrays off the devices holds the caller up; leaving its context
    waits for the last one, also after an error of the caller's. In a run of several
    processes each calls the same methods, on a folder that all of them see.
    """

    def __init__(self, folder: str | os.PathLike, *, keep: int):
        """Starts nothing yet.

        Args:
          folder: Of all checkpoints of a run.
          keep: How many to keep, at least 1.
        """
        self._folder = pathlib.Path(folder).absolute()
        self._keep = keep
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *error: Any) -> None:
        self.wait()

    def save(self, step: int, arrays: PyTree, position: Mapping[str, Any]) -> None:
        """Begins to save a checkpoint, once the one before is complete.

        Args:
          step: Steps done, its name.
          arrays: May be given up as soon as this returns.
          position: JSON types.
        """
        self.wait()
        unfinished = self._folder / f"unfinished_step_{step:06d}"
        first = jax.process_index() == 0
        if first:
            for leftover in self._folder.glob("unfinished_*"):
                shutil.rmtree(leftover)
            unfinished.mkdir(parents=True)
            text = json.dumps(position, indent=1, sort_keys=True)
            (unfinished / _POSITION).write_text(text + "\n")
        _all_here(f"a place for checkpoint {step}")
        written = ocp.save_checkpointables_async(
            unfinished / "data", {"state": _by_path(arrays)}
        )

        def finish() -> None:
            try:
                written.result()
                if first:
                    _complete(unfinished, self._folder / f"step_{step:06d}")
                    for old in steps(self._folder)[: -self._keep]:
                        shutil.rmtree(self._folder / f"step_{old:06d}")
            except BaseException as error:  # whatever it is, `wait` raises it
                self._error = error

        self._thread = threading.Thread(target=finish, name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Returns when the last checkpoint is complete; raises what kept it from it."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
        _all_here("the last checkpoint is complete")


def restore_latest(folder: str | os.PathLike, like: PyTree) -> Restored:
    """Loads the latest checkpoint that is intact.

    Args:
      folder: Of all checkpoints of a run.
      like: Arrays, or their shapes with shardings; only read. The mesh need not be
        that of the run that saved.

    Returns:
      The arrays in the structure and the places of `like`, and what was passed over.
      Damaged checkpoints are renamed, so that they neither are tried again nor count
      among those to keep.

    Raises:
      ValueError: If there are checkpoints but none is intact. To start over without
        saying so would throw a run away.
    """
    folder = pathlib.Path(folder).absolute()
    found = steps(folder)
    skipped = []
    for step in reversed(found):
        path = folder / f"step_{step:06d}"
        reason = damage(path)
        if not reason:
            break
        skipped.append(Skipped(name=path.name, reason=reason))
    else:
        if skipped:
            raise ValueError(
                f"no checkpoint in {folder} is intact ({skipped[0].name}: "
                f"{skipped[0].reason}); delete that folder to start over"
            )
        return Restored(step=0, arrays=None, position={}, skipped=())
    arrays = _load(path / "data", like)
    position = json.loads((path / _POSITION).read_text())
    _all_here("everyone has read the checkpoint")
    if jax.process_index() == 0:
        for bad in skipped:
            aside = folder / f"damaged_{bad.name}"
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(folder / bad.name, aside)
    return Restored(step=step, arrays=arrays, position=position, skipped=tuple(skipped))


def steps(folder: str | os.PathLike) -> list[int]:
    """Returns after how many steps there are checkpoints, damaged ones included."""
    folder = pathlib.Path(folder)
    names = (_NAME.fullmatch(path.name) for path in folder.glob("step_*"))
    return sorted(int(name.group(1)) for name in names if name)


def damage(path: pathlib.Path) -> str:
    """Returns what is wrong with a checkpoint, or ""."""
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
    except (OSError, ValueError) as error:
        return f"{_MANIFEST} is unreadable: {error}"
    for name, checksum in manifest.items():
        if not (path / name).is_file():
            return f"{name} is missing"
        if _checksum(path / name) != checksum:
            return f"{name} is not what was written"
    return ""


def _complete(unfinished: pathlib.Path, path: pathlib.Path) -> None:
    """Writes the manifest and gives the checkpoint its name."""
    manifest = {
        str(file.relative_to(unfinished)): _checksum(file)
        for file in sorted(unfinished.rglob("*"))
        if file.is_file()
    }
    (unfinished / _MANIFEST).write_text(json.dumps(manifest, indent=1))
    os.rename(unfinished, path)


def _load(path: pathlib.Path, like: PyTree) -> PyTree:
    shapes = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
        for name, x in _by_path(like).items()
    }
    loaded = ocp.load_checkpointables(path, {"state": shapes})["state"]
    return jax.tree.structure(like).unflatten(loaded[name] for name in shapes)


def _by_path(arrays: PyTree) -> dict[str, Any]:
    """Returns arrays by name, a form that outlives our classes."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree.leaves_with_path(arrays)
    }


def _checksum(file: pathlib.Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _all_here(why: str) -> None:
    """Waits for all processes of the run."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(why)
