"""Worker processes keep freed memory, for the next pictures.

A worker decodes pictures of a megabyte or more, and frees them once they are in a batch. By default glibc gives such memory back to the
kernel each time and gets it anew, page by page: a sixth of a worker's time (measured, 960 x 540 pixels).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT_BYTES = 256 << 20
_LARGEST_BYTES = 32 << 20  # the most that glibc takes
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


class WorkerStart:
    """Called in each worker process before it reads.

    Args:
        then: The user's own ``worker_init_fn``.
    """

    def __init__(self, then: Callable[[int], None] | None) -> None:
        self._then = then

    def __call__(self, number: int) -> None:
        """Set this process's allocator, then what the user wants."""
        keep_freed_memory()
        if self._then is not None:
            self._then(number)


def keep_freed_memory() -> None:
    """Let this process keep up to 256 MiB that it freed; nothing changes without glibc, or where the user chose in the environment."""
    if sys.platform != "linux" or any(variable in os.environ for variable in _VARIABLES):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
