"""Which files the interpreter of recipes consists of, and none beside them.

Recipes run on the interpreter that runs everything, of whose packages they see what
they may import and what that needs in turn.
"""

from collections.abc import Iterable, Sequence
from importlib import metadata
import os
import pathlib
import re
import sys
import sysconfig

from packaging.requirements import Requirement

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_GUARDS = ("landlockpy",)  # for the zygote itself
_SYSTEM_PATHS = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
)
_NODES = ("/dev/urandom",)


def readable(packages: Sequence[str]) -> list[str]:
    """Returns the files and trees that a recipe may read.

    Args:
      packages: Names of distributions that it may import.

    Raises:
      ValueError: If one is not installed.
    """
    paths = {*_SYSTEM_PATHS, *_NODES}
    for library in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")):
        if pathlib.Path(library).is_relative_to(sys.base_prefix):
            paths |= {str(path) for path in pathlib.Path(library).iterdir()}
    shared = pathlib.Path(sys.base_prefix, sys.platlibdir).glob("libpython*")
    paths |= {str(path) for path in shared}
    paths = {path for path in paths if not path.endswith("-packages")}
    paths |= _installed(packages)
    return sorted({os.path.realpath(path) for path in paths if os.path.exists(path)})


def startable(packages: Sequence[str]) -> list[str]:
    """Returns what is needed to start a zygote: `readable`, and more.

    Raises:
      ValueError: If a package is not installed.
    """
    own = [sys.executable, os.path.realpath(sys.executable)]
    own += [str(pathlib.Path(sys.prefix, "pyvenv.cfg")), str(_ROOT / "sandbox")]
    found = {path for path in own if os.path.exists(path)}
    found |= set(readable((*packages, *_GUARDS))) | _links()
    return sorted(found)


def _links() -> set[str]:
    """Returns directories that are links, which are looked for by that name."""
    return {path for path in _SYSTEM_PATHS if os.path.islink(path)}


def _installed(packages: Iterable[str]) -> set[str]:
    """Returns the files of distributions, and of all that those need."""
    found: set[str] = set()
    waiting, seen = [Requirement(name) for name in packages], set()
    asked = {requirement.name for requirement in waiting}
    while waiting:
        wanted = waiting.pop()
        key = _normal(wanted.name), frozenset(wanted.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            distribution = metadata.distribution(wanted.name)
        except metadata.PackageNotFoundError as error:
            if wanted.name in asked:
                raise ValueError(f"recipes are to import {error}") from error
            continue  # what they need may do without
        found |= {str(path) for path in _tops(distribution)}
        for text in distribution.requires or ():
            needed = Requirement(text)
            extras = wanted.extras or {""}
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in extras):
                waiting.append(needed)
    return found


def _tops(distribution: metadata.Distribution) -> Iterable[pathlib.Path]:
    """Yields the entries of site-packages that belong to a distribution."""
    for file in distribution.files or ():
        if file.parts[0] not in ("..", "__pycache__"):
            yield pathlib.Path(distribution.locate_file(file.parts[0]))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
