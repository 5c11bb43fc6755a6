"""The directories that scripts write to: measuring and removing what they left.

Scripts may leave what breaks the obvious tools: thousands of nested directories,
names that are no text, directories that may not be entered.
"""

import errno
import os
import pathlib

_MAX_DEPTH = 32


def exceeds(directory: pathlib.Path, max_bytes: int) -> bool:
    """Says whether a directory, in use, holds more than `max_bytes`.

    Each entry counts as at least one block of 4 KiB. What cannot be looked into, or
    is nested deeper than honest scripts do, counts as too much.
    """
    total = 0
    waiting = [(os.fsencode(directory), 0)]
    while waiting:
        path, depth = waiting.pop()
        try:
            entries = os.scandir(path)
        except FileNotFoundError:  # removed in the meantime
            continue
        except OSError:
            return True
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                total += max(4096, status.st_blocks * 512)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, depth + 1))
                if total > max_bytes or depth > _MAX_DEPTH:
                    return True
    return False


def wipe(directory: pathlib.Path) -> None:
    """Removes a directory that nobody uses any more, whatever is in it.

    Directories inside directories are moved up first, so that neither the stack nor
    the length of a path grows with their depth.
    """
    if not directory.exists():
        return
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        moved = 0
        while names := os.listdir(top):
            for name in names:
                moved = _dismantle(top, os.fsencode(name), moved)
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
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
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
