"""The fields of a JSON body: each is taken once and checked, none is passed over."""

from collections.abc import Mapping
from typing import Any

_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
_MOST_SHOWN = 80  # characters of a wrong value in a message


class BadField(ValueError):
    """A field that cannot be, or that is not supported.

    Attributes:
      field: Its name.
    """

    def __init__(self, field: str, value: Any, problem: str):
        """Names the field, its value and the problem."""
        shown = repr(value)
        if len(shown) > _MOST_SHOWN:
            shown = f"{shown[:_MOST_SHOWN]}…"
        super().__init__(f"{field}={shown}: {problem}")
        self.field = field


class Fields:
    """What is left of a body. A field that is null is as good as missing."""

    def __init__(self, body: Mapping[str, Any]):
        """Takes a parsed body."""
        self._left = {name: x for name, x in body.items() if x is not None}

    def take(
        self,
        name: str,
        kind: type,
        default: Any = None,
        *,
        low: int | float | None = None,
        high: int | float | None = None,
    ) -> Any:
        """Returns a field's value, `default` if it is missing.

        Args:
          name: Of the field.
          kind: What it must be; an integer will do as a float.
          default: See above.
          low: The least value that a number may have.
          high: The largest.

        Raises:
          BadField: If it is of another kind or out of range.
        """
        if name not in self._left:
            return default
        value = self._left.pop(name)
        if not is_a(value, kind):
            raise BadField(name, value, f"must be {_NAMES[kind]}")
        if low is not None and not value >= low:
            raise BadField(name, value, f"must be at least {low}")
        if high is not None and not value <= high:
            raise BadField(name, value, f"must be at most {high}")
        return value

    def take_list(
        self, name: str, kind: type, default: tuple | None = ()
    ) -> tuple | None:
        """Returns the items of a list, all of one kind.

        Raises:
          BadField: If it is anything else.
        """
        items = self.take(name, list)
        if items is None:
            return default
        if not all(is_a(item, kind) for item in items):
            raise BadField(name, items, f"must be a list, each {_NAMES[kind]}")
        return tuple(items)

    def raw(self, name: str) -> Any:
        """Returns a field's value whatever it is; None if it is missing."""
        return self._left.pop(name, None)

    def ignore(self, *names: str) -> None:
        """Drops fields that change no answer."""
        for name in names:
            self._left.pop(name, None)

    def only(self, name: str, *neutral: Any, why: str) -> None:
        """Drops a field whose value asks for nothing.

        Raises:
          BadField: If it asks for something.
        """
        value = self._left.pop(name, None)
        if value is not None and value not in neutral:
            raise BadField(name, value, why)

    def end(self) -> None:
        """Makes sure that nothing is left.

        Raises:
          BadField: Naming the first field that is.
        """
        for name, value in self._left.items():
            raise BadField(name, value, "is not supported")


def is_a(value: Any, kind: type) -> bool:
    """Says whether a JSON value is of a kind; true is no number."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
