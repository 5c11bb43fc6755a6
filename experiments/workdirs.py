"""Where the processes of a run write.

All processes do the same and decide by the files that they find: what is there is not
done again. So each has a folder of its own, that of process 0 being the run's; at every
start the others begin with a copy of it. Only checkpoints, of which every process has
a part, are written into one place that all must see.
"""

import atexit
import functools
import os
import pathlib
import shutil
import sys
import tempfile

import jax
from jax.experimental import multihost_utils
import tqdm

_LINK = ".shared"
# Not copied: what no decision reads, or every process makes anew.
_LEFT = shutil.ignore_patterns("checkpoints", "sandbox", "tensorboard", "programs")


def own(workdir: pathlib.Path) -> pathlib.Path:
    """Returns this process's folder, and silences all but the first process.

    Args:
      workdir: Of the run, seen by all processes.
    """
    if jax.process_count() == 1:
        return workdir
    folder = workdir
    multihost_utils.sync_global_devices("nobody writes yet")
    if jax.process_index():
        private = tempfile.mkdtemp(prefix="datachef-")
        atexit.register(shutil.rmtree, private, ignore_errors=True)
        folder = pathlib.Path(private) / "run"
        if workdir.exists():
            shutil.copytree(workdir, folder, ignore=_LEFT)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LINK).unlink(missing_ok=True)
        (folder / _LINK).symlink_to(workdir)
        tqdm.tqdm.__init__ = functools.partialmethod(tqdm.tqdm.__init__, disable=True)
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    multihost_utils.sync_global_devices("everyone has a folder")
    return folder


def shared(folder: pathlib.Path) -> pathlib.Path:
    """Returns the folder of process 0 that corresponds to one of this process's."""
    for parent in (folder, *folder.parents):
        if (parent / _LINK).is_symlink():
            return (parent / _LINK).resolve() / folder.relative_to(parent)
    return folder
