"""What is asked of the C library's memory."""

from __future__ import annotations

import functools

import numpy


@functools.cache
def keep_freed_memory() -> None:
    """Let the C library keep what a step frees for the next step, once for the process.

    glibc gives freed blocks of more than a threshold back to the system, and a training step then
    spends a fifth of its time on page faults. Freeing one large block raises the threshold, up to
    32 MiB; the block is never touched, so this takes no time and no memory.
    """
    block = numpy.empty(31 << 20, numpy.uint8)
    del block
