"""Settings that the library makes for the whole process, and the switch for them.

- glibc keeps freed memory (:func:`keep_freed_memory`), from the first backward pass on.
- OpenBLAS uses one thread while compiled loops share a product; the number is restored afterwards
  (``blas.one_thread``).
- numba's machine code is written to the user's cache folder (``jit.cache.folder``).

TINYGRAD_SEQ_PROCESS=0 in the environment, read at import, switches off all three.
"""

from __future__ import annotations

import functools
import os

import numpy

allowed = os.environ.get("TINYGRAD_SEQ_PROCESS", "1") != "0"


@functools.cache
def keep_freed_memory() -> None:
    """Let the C library keep what a step frees for the next step, once for the process.

    glibc gives freed blocks of more than a threshold back to the system, and a training step then
    spends a fifth of its time on page faults. Freeing one large block raises the threshold, up to
    32 MiB; the block is never touched, so this takes no time and no memory. It cannot be undone.
    """
    if allowed:
        block = numpy.empty(31 << 20, numpy.uint8)
        del block
