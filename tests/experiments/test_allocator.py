"""Tests for experiments/allocator.py, by the page faults of a process that uses it."""

import subprocess
import sys

_STEPS = """
import resource, sys
import numpy as np
from experiments import allocator

if sys.argv[1] == "kept":
    assert allocator.keep_freed_memory().startswith("glibc"), "no glibc"
for step in range(12):
    if step == 2:  # the first ones are to fault
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    # 64 MiB each, above what glibc's threshold for mapping can say.
    buffers = [np.ones(2**23) for _ in range(3)]
    del buffers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> int:
    command = [sys.executable, "-c", _STEPS, how]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


def test_a_step_finds_the_memory_that_the_last_one_freed():
    # A factor, not a count: with huge pages a fault fetches 512 pages.
    assert _faults("kept") < _faults("as it is") / 10
