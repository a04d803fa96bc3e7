"""Sharing work between threads: compiled loops and matrix products, which hold no lock."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

VARIABLES = ("TINYGRAD_SEQ_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""What says how many threads to use; the first that is set counts."""


@functools.cache
def count() -> int:
    """How many threads to use: as the environment says, or else one for each core.

    Raises:
        ValueError: the environment says something else than a number above 0.
    """
    for name in VARIABLES:
        given = os.environ.get(name)
        if given:
            if not given.isdecimal() or int(given) < 1:
                raise ValueError(f"{name} must be a number above 0; got {given!r}")
            return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def share(size: int, least: int) -> int:
    """How many of ``size`` each thread takes, where fewer than ``least`` are not worth one."""
    return -(-size // max(1, min(count(), size // max(least, 1))))


def at_once(work: Callable[[int, int], object], size: int, each: int) -> None:
    """``work(low, high)`` for the parts of ``range(size)``, of ``each`` or fewer, at one time.

    ``work`` must hold no lock and write to places of its own.
    """
    low, *lows = range(0, size, each)
    others = [_pool().submit(work, k, min(k + each, size)) for k in lows]
    try:
        work(low, min(low + each, size))
    finally:
        for other in others:
            other.result()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # 10 ms, which not every program needs

    return ThreadPoolExecutor(max(1, count() - 1), thread_name_prefix="tinygrad_seq")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not follow into a child
