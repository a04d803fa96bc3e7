"""How NumPy's work is cut for the pool of threads: products by rows, the rest by blocks.

The cuts depend on shapes alone, and every part is computed as it would be within the whole, so no
result here depends on the number of threads.

Where loops are compiled, OpenBLAS keeps to one thread meanwhile: its own wait for more work by
spinning, for tens of milliseconds, on the cores that the loops' threads need. On NumPy alone they
make all products, for the thin ones of a loop gain from threads that are awake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from . import threads
from .blas import in_one_thread
from .jit import usable

Array: TypeAlias = Any

ALONE = 1 << 18
"""OpenBLAS makes a product of fewer multiplications in one thread anyway."""

PRODUCT = 8_000_000
"""Fewer multiplications of a product are not worth a thread: a tenth of a millisecond."""

ROWS = 24
"""OpenBLAS computes so many rows at a time, or a part of them: it rounds whole ones the same."""


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """NumPy's ``matmul(a, b, out)``, rows of a large product shared between threads.

    A stack of products, two arrays of the same leading axes, is shared by its first axis.
    """
    if a.ndim < 2 or b.ndim < 2:
        return np.matmul(a, b, out=out)
    each = a.size * b.shape[-1]  # multiplications, where b has no leading axes of its own
    if each < ALONE or not usable():
        return np.matmul(a, b, out=out)

    def cut(said: bool) -> Array:
        if said and a.dtype == b.dtype and a.shape[-1] == b.shape[-2]:
            if a.ndim == b.ndim == 2 and len(a) >= 2 * ROWS:
                return _shared(a, b, out, len(a), ROWS, each)
            if a.ndim > 2 and a.shape[:-2] == b.shape[:-2] and len(a) > 1:
                return _shared(a, b, out, len(a), 1, each)
        return np.matmul(a, b, out=out)

    return in_one_thread(cut)


def _shared(a: Array, b: Array, out: Array | None, size: int, unit: int, work: int) -> Array:
    """The product in parts of so many units of rows each, or of matrices; the rest is the last's.

    Whoever asks for one thread gets NumPy's product itself.
    """
    units = size // unit
    each = threads.share(units, -(-PRODUCT * units // work))
    if each >= units:
        return np.matmul(a, b, out=out)
    if out is None:
        out = np.empty((*a.shape[:-1], b.shape[-1]), a.dtype)

    def part(low: int, high: int) -> None:
        rows = slice(low * unit, size if high == units else high * unit)
        np.matmul(a[rows], b if b.ndim == 2 else b[rows], out=out[rows])

    threads.at_once(part, units, each)
    return out


BLOCK = 1 << 16
"""Elements at a time: what one computation makes of them is still in the cache for the next."""

BLOCKS = 4
"""Fewer blocks are not worth a thread: a tenth of a millisecond."""


def in_blocks(work: Callable[[int, int], object], size: int, width: int = 1) -> None:
    """``work(low, high)`` for the rows of a large array, block by block, shared between threads.

    ``work`` writes to places of its own, by calls that hold no lock, as NumPy's ufuncs.

    Args:
        size: How many rows.
        width: Elements of a row.
    """
    block = max(1, BLOCK // max(1, width))
    blocks = -(-size // block)

    def run(low: int, high: int) -> None:
        for start in range(low * block, min(high * block, size), block):
            work(start, min(start + block, size))

    if blocks:
        threads.at_once(run, blocks, threads.share(blocks, BLOCKS))
