"""Settings that the library makes for the whole process, and the switch for them.

- glibc keeps some freed memory (:func:`keep_freed_memory`), from the first backward pass on.
- OpenBLAS uses one thread while compiled loops share a product; the number is restored afterwards
  (``blas.one_thread``).
- numba's machine code is written to the user's cache folder (``jit.cache.folder``).

TINYGRAD_SEQ_PROCESS=0 in the environment, read at import, switches off all three.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable

allowed = os.environ.get("TINYGRAD_SEQ_PROCESS", "1") != "0"


LARGEST, KEPT = 32 << 20, 256 << 20
"""Bytes of the largest block that is kept, which is glibc's limit, and of all that are."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


@functools.cache
def keep_freed_memory() -> None:
    """Let the C library keep what a step frees for the next step, once for the process.

    glibc gives freed blocks back to the system, and a training step then spends a fifth to a half
    of its time on page faults. This raises both of its thresholds: up to :data:`KEPT` bytes at the
    end of the heap stay with the process. Nothing is done if the environment sets a threshold of
    glibc, or with another C library.
    """
    given = [name for name in os.environ if name.startswith("MALLOC_")]
    if allowed and not given and "glibc.malloc" not in os.environ.get("GLIBC_TUNABLES", ""):
        mallopt = _mallopt()
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, LARGEST)
            mallopt(_M_TRIM_THRESHOLD, KEPT)


def _mallopt() -> Callable[[int, int], int] | None:
    """The function of glibc that sets a threshold; None with another C library."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "mallopt", None)
