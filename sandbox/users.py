"""User ids for scripts, of which no two that run at the same time have the same."""

from collections.abc import Sequence
import fcntl
import os

MOST = 16  # ids of one process
_FIRST, _BLOCKS = 64_000, 90  # ids above 61,183 belong to no account
_LOCKS = "/tmp/.datachef-users-{}"  # locked where the block is taken
_FLAGS = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class Users:
    """A block of user ids, its own as long as this process lives."""

    def __init__(self, count: int) -> None:
        """Takes a block that nobody on this machine has.

        Args:
          count: How many ids, at most `MOST`.

        Raises:
          RuntimeError: If all are taken.
        """
        for block in range(_BLOCKS):
            self._lock = os.open(_LOCKS.format(block), _FLAGS, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                continue
            first = _FIRST + block * MOST
            self.ids: Sequence[int] = range(first, first + count)
            return
        raise RuntimeError(f"all {_BLOCKS} blocks of user ids are taken")
