"""Where scripts write: one directory for each that runs at the same time.

They lie in a folder that its supervisor holds locked, so that whoever starts next
knows which ones nobody needs any more.
"""

from collections.abc import Sequence
import contextlib
import dataclasses
import fcntl
import os
import pathlib
import tempfile

from sandbox import directories
from sandbox import output

_PREFIX = "datachef-sandbox-"
_LOCK = "lock"


@dataclasses.dataclass
class Slot:
    """A directory for one script at a time.

    Attributes:
      number: Which one.
      path: As the script sees it.
      fd: As its supervisor does.
      user: Who owns it; None for whoever runs all this.
    """

    number: int
    path: str
    fd: int
    user: int | None

    def prepare(self) -> None:
        """Makes what every script finds in it."""
        self.clear()
        for folder in ("data", "/".join(output.FOLDERS), "tmp"):
            os.mkdir(folder, dir_fd=self.fd)
            if self.user is not None:
                os.chown(folder, self.user, self.user, dir_fd=self.fd)
        if self.user is not None:
            os.fchown(self.fd, self.user, self.user)

    def clear(self) -> None:
        """Removes what the last script has left."""
        directories.empty(self.fd)


class Scratch:
    """A folder in the file system of the host, for slots without namespaces.

    Attributes:
      paths: Of the slots.
    """

    def __init__(self, parent: pathlib.Path, count: int) -> None:
        """Makes it.

        Args:
          parent: Where such folders are made.
          count: Of slots.

        Raises:
          OSError: If they cannot be made there.
        """
        made = pathlib.Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=parent))
        self._lock = os.open(made / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Seen by others only now that it is locked.
        self._folder = made.rename(made.with_name(made.name.removeprefix(".")))
        self._folder.chmod(0o711)  # scripts may have user ids of their own
        folders = [self._folder / f"slot{number}" for number in range(count)]
        for folder in folders:
            folder.mkdir(mode=0o700)
        self.paths: Sequence[str] = [str(folder.resolve()) for folder in folders]

    def remove(self) -> None:
        """Removes it; nobody may use it any more."""
        directories.wipe(self._folder)
        os.close(self._lock)


def sweep(parent: pathlib.Path) -> None:
    """Removes the folders of this user that no supervisor holds any more."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody was faster
            if folder.lstat().st_uid != os.geteuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                directories.wipe(folder)
            finally:
                os.close(lock)
