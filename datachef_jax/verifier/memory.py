"""A memory of what is known of rows: the recipes of all steps draw on the same ones."""

import collections
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memory(Generic[Key, Value]):
    """Keeps what was computed of the things that were asked for last.

    Unlike `functools.lru_cache` it has all that is new computed in one go.
    """

    def __init__(self, most: int):
        """Knows nothing yet.

        Args:
          most: Things that are kept from one call to the next.
        """
        self._most = most
        self._known: collections.OrderedDict[Key, Value] = collections.OrderedDict()

    def __len__(self) -> int:
        """Returns how many things are known."""
        return len(self._known)

    def recall(
        self,
        keys: Iterable[Key],
        compute: Callable[[Sequence[Key]], Iterable[Value]],
    ) -> dict[Key, Value]:
        """Returns what is known of each key, once.

        Args:
          keys: Of the things; may repeat.
          compute: Returns the values of those that are not known, in their order.
        """
        asked = list(dict.fromkeys(keys))
        new = [key for key in asked if key not in self._known]
        for key in asked:
            if key in self._known:
                self._known.move_to_end(key)
        self._known.update(zip(new, compute(new), strict=True))
        found = {key: self._known[key] for key in asked}
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return found
