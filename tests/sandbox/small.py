"""Limits that attacks reach quickly, and a language model that is quick as well."""

import contextlib
import json
import pathlib
import threading
import time

from sandbox import layout
from sandbox import packages
from sandbox import pool
from sandbox.job import Job
from sandbox.job import Limits

PACKAGES = ("datasets", "pandas", "regex")
LIMITS = Limits(
    cpu_seconds=1.0,
    wall_seconds=5.0,
    memory_bytes=2**28,
    processes=32,
    file_bytes=2**21,
    output_bytes=4096,
    dataset_bytes=2**22,
    dataset_rows=10_000,
    line_bytes=2**18,
    script_bytes=2**16,
    llm_calls=400,
    llm_tokens=10**9,
    llm_seconds=60.0,
)


ROW = {
    "dialogs": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ]
}
# What makes an honest end of any script: one row of output, on one line.
WRITE = f"open('data/processed/a.jsonl', 'w').write({json.dumps(ROW)!r})"


PLAIN = layout.Layout(namespaces=False, own_users=False)


@contextlib.contextmanager
def only(*candidates):
    """Lets sandboxes that are started meanwhile have these layouts only."""
    before = layout.candidates
    layout.candidates = lambda outer: list(candidates)
    try:
        yield
    finally:
        layout.candidates = before


def available():
    """Returns the layouts that are to be had here, as far as is known before."""
    readable = packages.readable(PACKAGES)
    found = layout.candidates("")
    return [each for each in found if not layout.obstacle(each, readable)]


def jobs(scripts, **fields):
    """Returns a job for each script, without sources unless they are given."""
    given = dict(verification="", sources=(), row_cap=0, seed=0) | fields
    return [Job(processing=script, **given) for script in scripts]


def descendants(pid):
    """Returns the processes that have come from one, and from those."""
    found = []
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *descendants(child)]
    return found


def started(**fields):
    """Returns a sandbox that has not been entered, with these fields in its place."""
    given = dict(
        limits=LIMITS,
        workers=2,
        workers_per_supervisor=4,
        scratch=None,
        importable=PACKAGES,
        outer="",
        require=(),
        answer=Model(),
    )
    return pool.Sandbox(**given | fields)


class Model:
    """Answers each chat with its last message, backwards; remembers what it was asked.

    Attributes:
      seconds: How long it takes for a batch.
      batches: How many chats there were in each.
      most: How many batches there were at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Starts afresh."""
        self.seconds, self.batches, self.most, self._now = 0.0, [], 0, 0

    def __call__(self, chats):
        with self._lock:
            self.batches.append(len(chats))
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        texts = [messages[-1]["content"][::-1] for messages in chats]
        return [(text, len(text)) for text in texts]
