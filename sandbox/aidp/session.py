"""What the toolkit knows of the run it works in: sources, seed, and the way out.

One process runs one script, so there is one session: the sandbox opens it before the
script starts. Scripts have no use for it.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

Frame = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A source file as the script may load it; fields as in `sandbox.job`.

    Attributes:
      fd: The file, open for reading: it has no path here.
    """

    id: str
    fd: int
    format: str
    records: str
    split: str
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """One run of one script.

    Attributes:
      sources: Files by dataset id.
      row_cap: How many rows of a source are loaded; 0 for all.
      seed: Determines which ones.
      send: Passes a frame to the sandbox.
      receive: Waits for the next frame from it.
      loaded: The columns of what the script has loaded, by dataset id.
    """

    sources: Mapping[str, Source]
    row_cap: int
    seed: int
    send: Callable[[Frame], None]
    receive: Callable[[], Frame]
    loaded: dict[str, list[str]] = dataclasses.field(default_factory=dict)


_open: list[Session] = []


def start(session: Session) -> None:
    """Makes `session` the one that the toolkit works in."""
    _open[:] = [session]


def current() -> Session:
    """Returns the session that this process works in.

    Raises:
      RuntimeError: If there is none, that is, outside of the sandbox.
    """
    if not _open:
        raise RuntimeError("the toolkit works only inside the sandbox")
    return _open[0]


def record(function: str, rows_in: int, rows_out: int) -> None:
    """Counts a call of a toolkit function."""
    current().send({"call": [function, rows_in, rows_out]})
