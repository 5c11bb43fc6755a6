"""The directories that scripts write to: measuring and emptying them.

Scripts may leave what breaks the obvious tools: thousands of nested directories,
names that are no text, directories that may not be entered.
"""

from collections.abc import Iterator
import errno
import itertools
import os
import pathlib

_MAX_DEPTH = 32
_MAX_ENTRIES = 100  # of one directory, looked at for names
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def used(directory: int, *, enough: int) -> int:
    """Returns how many bytes a directory, maybe in use, holds, or `enough` if more.

    Each entry counts as at least one block of 4 KiB. What cannot be looked into, or
    is nested deeper than honest scripts do, counts as `enough`.

    Args:
      directory: Its descriptor.
      enough: No more than this is counted.
    """
    total = 0
    try:
        for size in _sizes(directory, 0):
            total += size
            if total >= enough:
                return enough
    except OSError:
        return enough
    return total


def files(directory: int, *, most: int) -> list[str]:
    """Returns paths of some files in a directory that nobody uses any more.

    Args:
      directory: Its descriptor.
      most: So many of them, of names that can be shown, not more than two levels deep.
    """
    found: list[str] = []
    folders = [""]
    while folders and len(found) < most:
        path = folders.pop()
        try:
            inner = os.open(path or ".", _DIRECTORY, dir_fd=directory)
        except OSError:  # closed by the script, or a link
            continue
        try:
            with os.scandir(inner) as entries:
                for entry in itertools.islice(entries, _MAX_ENTRIES):
                    if not entry.name.isprintable():
                        continue
                    name = f"{path}/{entry.name}".removeprefix("/")
                    if entry.is_file(follow_symlinks=False):
                        found.append(name)
                    elif path.count("/") < 2 and entry.is_dir(follow_symlinks=False):
                        folders.append(name)
        finally:
            os.close(inner)
    return sorted(found)[:most]


def _sizes(directory: int, depth: int) -> Iterator[int]:
    """Yields the bytes of each entry; one descriptor is open for each level.

    Raises:
      OSError: If it cannot be looked into, or is nested too deep.
    """
    if depth > _MAX_DEPTH:
        raise OSError(errno.ELOOP, "nested too deep")
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
                yield max(4096, status.st_blocks * 512)
                if not entry.is_dir(follow_symlinks=False):
                    continue
                inner = os.open(entry.name, _DIRECTORY, dir_fd=directory)
            except FileNotFoundError:  # removed in the meantime
                continue
            try:
                yield from _sizes(inner, depth + 1)
            finally:
                os.close(inner)


def empty(directory: int) -> None:
    """Removes all that is in a directory which nobody uses any more.

    Directories inside directories are moved up first, so that neither the stack nor
    the length of a path grows with their depth.

    Args:
      directory: Its descriptor.
    """
    moved = 0
    while names := os.listdir(directory):
        for name in names:
            moved = _dismantle(directory, os.fsencode(name), moved)


def wipe(directory: pathlib.Path) -> None:
    """Removes a directory that nobody uses any more, whatever is in it."""
    top = os.open(directory, _DIRECTORY)
    try:
        empty(top)
    finally:
        os.close(top)
    directory.rmdir()


def _dismantle(top: int, name: bytes, moved: int) -> int:
    """Removes an entry of `top`, first moving what it contains up into `top`."""
    try:
        os.unlink(name, dir_fd=top)
        return moved
    except (IsADirectoryError, PermissionError):
        os.chmod(name, 0o700, dir_fd=top)
    inner = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        for entry in map(os.fsencode, os.listdir(inner)):
            try:
                os.unlink(entry, dir_fd=inner)
            except (IsADirectoryError, PermissionError):
                os.chmod(entry, 0o700, dir_fd=inner)
                moved = _move_up(inner, entry, top, moved)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)
    return moved


def _move_up(inner: int, entry: bytes, top: int, moved: int) -> int:
    """Moves a directory into `top` under a name that is free there."""
    while True:
        moved += 1
        try:
            os.rename(entry, b"moved-%d" % moved, src_dir_fd=inner, dst_dir_fd=top)
            return moved
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
