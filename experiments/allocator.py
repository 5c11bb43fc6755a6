"""What becomes of memory that XLA frees on a CPU.

XLA's CPU client takes the buffers of every step from malloc and gives them back
after it. glibc by default maps large ones apart and returns them to the kernel at
once, which hands out the same pages again, zeroed, a page fault each, at the next
step.
"""

import ctypes

# malloc.h of glibc
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


def keep_freed_memory() -> str:
    """Lets this process keep up to 2 GiB of what it has freed, where glibc runs it.

    Returns:
      What was done, for the run's record.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    wanted = {
        _M_MMAP_MAX: 0,  # the largest threshold, 32 MiB, is below a step's buffers
        _M_TRIM_THRESHOLD: 2**31 - 1,
        _M_TOP_PAD: 64 * 2**20,
    }
    if mallopt and all(mallopt(name, value) for name, value in wanted.items()):
        return "glibc keeps up to 2 GiB of freed memory"
    return "as the platform has it: freed memory may be fetched anew at every step"
