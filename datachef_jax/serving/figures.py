"""What a lane has done so far, in figures."""

import numpy as np

from datachef_jax.sampling.engine import Engine


class Figures:
    """Counts how requests ended, and how long they waited.

    Attributes:
      ended: How many, by `done`, `cancelled`, `expired` (at their deadline), `failed`.
    """

    def __init__(self):
        """Nothing has been done yet."""
        self.ended = dict(done=0, cancelled=0, expired=0, failed=0)
        self._begun = 0
        self._queue_seconds = 0.0
        self._longest = 0.0

    def begun(self, seconds: float) -> None:
        """Notes that the device got a request so long after it had been handed in."""
        self._begun += 1
        self._queue_seconds += seconds
        self._longest = max(self._longest, seconds)

    def report(
        self, engine: Engine, *, waiting: int, running: int, version: int
    ) -> dict[str, float | int]:
        """Returns everything by name.

        Keys: `requests_waiting` (nothing of them on the device), `requests_running`,
        `requests_done`, `_cancelled`, `_expired`, `_failed`; `queue_seconds_mean` and
        `_max`, from being handed in to the device; `device_seconds`;
        `tokens_per_second` and `prompt_tokens_per_second` of these; `pages_in_use` and
        `pages`; `prefix_hit_share` of prompt tokens; `preempted` completions;
        `version` of the weights.
        """
        counts, held = engine.statistics(), engine.held()
        seconds = engine.device_seconds
        prompts = counts["found"] + counts["read"]
        return {
            "requests_waiting": waiting,
            "requests_running": running,
            **{f"requests_{how}": number for how, number in self.ended.items()},
            "queue_seconds_mean": self._queue_seconds / max(self._begun, 1),
            "queue_seconds_max": self._longest,
            "device_seconds": seconds,
            "tokens_per_second": counts["decoded"] / seconds if seconds else 0.0,
            "prompt_tokens_per_second": counts["read"] / seconds if seconds else 0.0,
            "pages_in_use": int((held > 0).sum()),
            "pages": int(np.size(held)),
            "prefix_hit_share": counts["found"] / max(prompts, 1),
            "preempted": counts["preempted"],
            "version": version,
        }
