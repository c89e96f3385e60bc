"""How a run on the CPU treats the memory that a step frees."""

from __future__ import annotations

import ctypes

# Names and numbers of malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let glibc keep the large blocks that a step frees for the next one; elsewhere nothing happens.

    By default each large tensor is mapped anew, and the kernel clears its pages.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)
