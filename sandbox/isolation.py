"""Which layout the sandbox has come to have, and what that lacks."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import logging
from typing import Any

from sandbox import layout as layouts
from sandbox.layout import GUARANTEES
from sandbox.layout import Layout

_LOG = logging.getLogger(__name__)


class CannotStart(RuntimeError):
    """This platform lacks what nothing runs without, or what is required."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Isolation:
    """What there is.

    Attributes:
      layout: The best one that holds.
      lost: The guarantees that it does not hold.
      instead: Why better layouts are not to be had.
    """

    layout: Layout
    lost: Sequence[str]
    instead: Mapping[Layout, str]

    def record(self) -> dict[str, Any]:
        """Returns it as JSON types, for the record of a run."""
        return {
            "layout": str(self.layout),
            "lost": {name: GUARANTEES[name] for name in self.lost},
            "not to be had": {
                str(layout): why.strip().splitlines()[-1]
                for layout, why in self.instead.items()
            },
        }

    def require(self, names: Sequence[str]) -> None:
        """Makes sure of some guarantees.

        Raises:
          CannotStart: If one is lost, with the reason.
        """
        for name in names:
            if name in self.lost:
                raise CannotStart(
                    f"the sandbox is to hold {name!r} ({GUARANTEES[name]}), and cannot:"
                    f" it has {self.layout}, because of"
                    f" {self.record()['not to be had']}"
                )


def settle(
    candidates: Sequence[Layout],
    readable: Sequence[str],
    start: Callable[[Layout], Sequence[str]],
) -> Isolation:
    """Starts in the first of some layouts that holds, and says once what is lost.

    Args:
      candidates: The best first.
      readable: Files and trees that scripts need.
      start: Starts in a layout and proves that it holds, or raises RuntimeError, with
        nothing left of the attempt. Returns the guarantees that are lost.

    Raises:
      CannotStart: If none holds, with the reason of each.
    """
    instead: dict[Layout, str] = {}
    for layout in candidates:
        problem = layouts.obstacle(layout, readable)
        if not problem:
            try:
                lost = start(layout)
            except RuntimeError as error:
                problem = str(error)
            else:
                if lost:
                    _LOG.warning(
                        "the sandbox has %s and lacks %s", layout, ", ".join(lost)
                    )
                return Isolation(layout=layout, lost=lost, instead=instead)
        instead[layout] = problem
    reasons = "\n".join(f"{layout}: {why}" for layout, why in instead.items())
    raise CannotStart(f"the sandbox cannot start:\n{reasons}")
