"""Checkpoints that are complete or absent, and checked before they are trusted.

A checkpoint is a folder `step_<number>`: `data/`, written by Orbax, holds the state and
the position in the stream of tasks; `manifest.json`, written last, holds the sha256 of
every file. The folder gets its name when all of it is there, so a run killed while
saving leaves nothing that looks like a checkpoint. A file that was truncated or changed
afterwards is found by its checksum, and the checkpoint before it is used.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
from typing import Any

import grain
import jax
from orbax.checkpoint import v1 as ocp

from datachef_jax.training.state import TrainState

_NAME = re.compile(r"step_(\d{6,})")
_MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skipped:
    """A checkpoint that could not be used, and why."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restored:
    """What was found.

    Attributes:
      state: The latest readable one, or None if nothing was ever saved.
      skipped: Later ones that are damaged, latest first.
    """

    state: TrainState | None
    skipped: tuple[Skipped, ...]


def save(
    folder: str | os.PathLike,
    state: TrainState,
    tasks: grain.DatasetIterator,
    *,
    keep: int,
) -> None:
    """Saves a checkpoint and deletes all but the latest `keep`.

    Args:
      folder: Of all checkpoints of a run.
      state: After `state.step` steps.
      tasks: Its position is saved: the next batch is that of step `state.step`.
      keep: How many to keep, at least 1.
    """
    folder = pathlib.Path(folder).absolute()
    path = folder / f"step_{state.step:06d}"
    unfinished = folder / f"unfinished_{path.name}"
    for leftover in folder.glob("unfinished_*"):
        shutil.rmtree(leftover)
    unfinished.mkdir(parents=True)
    ocp.save_checkpointables(
        unfinished / "data", {"state": _by_path(state), "tasks": tasks}
    )
    manifest = {
        str(file.relative_to(unfinished)): _checksum(file)
        for file in sorted(unfinished.rglob("*"))
        if file.is_file()
    }
    (unfinished / _MANIFEST).write_text(json.dumps(manifest, indent=1))
    os.rename(unfinished, path)
    for old in steps(folder)[:-keep]:
        shutil.rmtree(folder / f"step_{old:06d}")


def restore_latest(
    folder: str | os.PathLike, state: TrainState, tasks: grain.DatasetIterator
) -> Restored:
    """Loads the latest checkpoint that is intact.

    Args:
      folder: Of all checkpoints of a run.
      state: A state of the same shapes, dtypes and shardings; only read.
      tasks: Is moved to the position it had.

    Returns:
      The state, and what was passed over. Damaged checkpoints are renamed, so that
      they neither are tried again nor count among those to keep.

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
        return Restored(state=None, skipped=())
    loaded = _load(path / "data", state, tasks)
    for bad in skipped:
        aside = folder / f"damaged_{bad.name}"
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(folder / bad.name, aside)
    return Restored(state=TrainState(step=step, **loaded), skipped=tuple(skipped))


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


def _load(
    path: pathlib.Path, state: TrainState, tasks: grain.DatasetIterator
) -> dict[str, Any]:
    """Loads `_trees` onto the places where those of `state` are."""
    names = _by_path(state)
    shapes = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
        for name, x in names.items()
    }
    loaded = ocp.load_checkpointables(path, {"state": shapes, "tasks": tasks})
    structure = jax.tree.structure(_trees(state))
    return structure.unflatten(loaded["state"][name] for name in names)


def _trees(state: TrainState) -> dict[str, Any]:
    """Returns the part of a state that consists of arrays."""
    return {"params": state.params, "opt_state": state.opt_state}


def _by_path(state: TrainState) -> dict[str, jax.Array]:
    """Returns the arrays of a state by name, a form that outlives our classes."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree.leaves_with_path(_trees(state))
    }


def _checksum(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
