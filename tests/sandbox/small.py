"""Limits that attacks reach quickly, and a language model that is quick as well."""

import threading
import time

from sandbox import pool

LIMITS = pool.Limits(
    cpu_seconds=1.0,
    wall_seconds=5.0,
    memory_bytes=2**28,
    processes=32,
    file_bytes=2**21,
    output_bytes=4096,
    dataset_bytes=2**22,
    llm_calls=400,
)


class Model:
    """Answers each chat with its last message, backwards; remembers what it was asked.

    Attributes:
      seconds: How long it takes for a batch.
      batches: How many chats there were in each.
      threads: Who asked.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Starts afresh."""
        self.seconds, self.batches, self.threads = 0.0, [], set()

    def __call__(self, chats):
        self.batches.append(len(chats))
        self.threads.add(threading.current_thread())
        time.sleep(self.seconds)
        return [messages[-1]["content"][::-1] for messages in chats]
