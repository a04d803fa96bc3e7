"""Divides NumPy's work among the pool of threads: products by rows, other work by blocks.

The division depends only on shapes, and each part is computed as in the whole, so no result depends
on the number of threads.

Where loops are compiled, OpenBLAS uses one thread meanwhile: its threads spin for tens of
milliseconds while they wait, on cores that the loops' threads need. On NumPy alone OpenBLAS makes
all products with its threads, because the thin products of a loop gain from threads that spin.
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

FEW = range(4, 2 * ROWS)
"""OpenBLAS makes a product x Wᵀ of so few rows as (W xᵀ)ᵀ in 0.5 to 0.9 of the time."""


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """NumPy's ``matmul(a, b, out)``, rows of a large product shared between threads.

    A stack of products, two arrays of the same leading axes, is shared by its first axis.
    """
    if a.ndim < 2 or b.ndim < 2:
        return np.matmul(a, b, out=out)
    each = a.size * b.shape[-1]  # multiplications, if b has no leading axes
    if each >= ALONE and out is None and _few(a, b):
        turned = np.empty((b.shape[1], len(a)), a.dtype)
        return np.ascontiguousarray(product(b.T, a.T, turned).T)
    if each < ALONE or threads.count() == 1 or not usable():
        return np.matmul(a, b, out=out)

    def cut(said: bool) -> Array:
        if said and a.dtype == b.dtype and a.shape[-1] == b.shape[-2]:
            if a.ndim == b.ndim == 2 and len(a) >= 2 * ROWS:
                return _shared(a, b, out, len(a), ROWS, each)
            if a.ndim > 2 and a.shape[:-2] == b.shape[:-2] and len(a) > 1:
                return _shared(a, b, out, len(a), 1, each)
        return np.matmul(a, b, out=out)

    return in_one_thread(cut)


def _few(a: Array, b: Array) -> bool:
    """Whether ``b`` is a transposed weight and ``a`` has few rows."""
    wide = a.ndim == b.ndim == 2 and len(a) in FEW and b.shape[1] >= FEW.stop
    return bool(wide and b.T.flags.c_contiguous and a.dtype == b.dtype)


def _shared(a: Array, b: Array, out: Array | None, size: int, unit: int, work: int) -> Array:
    """The product in parts of some units of rows, or of matrices; the last part has the rest.

    With one thread this is NumPy's own product.
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

    Calls of ``work`` must write to separate places and hold no lock, like NumPy's ufuncs.

    Args:
        size: The number of rows.
        width: The number of elements of a row.
    """
    block = max(1, BLOCK // max(1, width))
    blocks = -(-size // block)

    def run(low: int, high: int) -> None:
        for start in range(low * block, min(high * block, size), block):
            work(start, min(start + block, size))

    if blocks:
        threads.at_once(run, blocks, threads.share(blocks, BLOCKS))
