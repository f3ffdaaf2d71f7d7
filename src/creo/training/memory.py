"""Memory that a training step frees, kept for the next one.

glibc gives freed memory back to the system when much of it lies at the top of the heap, or when a block was large
enough to be mapped by itself. A training step frees all its activations, so each step would ask for its memory anew and
the system would clear every page of it: a tenth of the time of a step that touches tens of megabytes.
`keep_freed_memory` raises both limits to `LIMIT` bytes. The process's largest use does not grow by that; it only falls
later.

Other C libraries have no such limits and are left as they are, and so is a process whose environment sets either of
them (`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`, `GLIBC_TUNABLES`).

Source: mallopt(3), https://man7.org/linux/man-pages/man3/mallopt.3.html.
"""

from __future__ import annotations

import ctypes
import os
import sys

LIMIT = 2**29
#: Numbers of the two parameters in malloc.h, and what sets them from outside.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
SET_OUTSIDE = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let freed memory stay with this process; whether that was possible."""
    if sys.platform != "linux" or any(name in os.environ for name in SET_OUTSIDE):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return all([library.mallopt(parameter, LIMIT) == 1 for parameter in (TRIM_THRESHOLD, MMAP_THRESHOLD)])
