"""Arrays for the page: small ones exactly, large ones on a coarse grid."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from ...autograd.operands import on_host

BUDGET = 1_000_000  # numbers that one page stores, roughly


class Arrays:
    """A store of arrays that a page shows; equal ones are stored once.

    Args:
        expected: About how many there will be, which decides how coarse the grid is.

    Attributes:
        limit: An array of at most this many elements is stored exactly. A larger one is divided
            into at most this many blocks, each stored as its element of largest magnitude.
        stored: The records for the page, one per array.
    """

    def __init__(self, expected: int) -> None:
        self.limit = next((n for n in (1024, 256, 64) if n * expected <= BUDGET), 16)
        self.stored: list[dict[str, Any]] = []
        self._known: dict[tuple[Any, ...], int] = {}

    def add(self, given: Any) -> int:
        """The number of this array in the store."""
        array = on_host(given)
        key = (array.shape, array.dtype.str, array.tobytes())
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self.stored)
            self.stored.append(_record(array, self.limit))
        return number


def norm(array: Any) -> float:
    """√Σ aᵢ², in float64."""
    values = on_host(array).astype(np.float64).ravel()
    with np.errstate(all="ignore"):
        return math.sqrt(float(values @ values))


def number(x: float) -> float | str:
    """A number for JSON, which has no NaN and no infinities: these become text."""
    return x if math.isfinite(x) else "NaN" if x != x else "Infinity" if x > 0 else "-Infinity"


def _record(array: Any, limit: int) -> dict[str, Any]:
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    grid = _grid(values)
    exact = array.size <= limit
    cells = grid if exact else _coarse(grid, limit)
    kind = "f8" if exact and array.dtype.itemsize > 4 else "f4"
    with np.errstate(over="ignore"):
        data = np.ascontiguousarray(cells, f"<{kind}")
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "norm": number(norm(values)),
        "min": number(float(finite.min())) if finite.size else "NaN",
        "max": number(float(finite.max())) if finite.size else "NaN",
        "nan": int(np.isnan(values).sum()),
        "inf": int(np.isinf(values).sum()),
        "zero": bool(array.size and not values.any()),
        "exact": exact,
        "rows": cells.shape[0],
        "columns": cells.shape[1],
        "kind": kind,
        "data": base64.b64encode(data.tobytes()).decode(),
    }


def _grid(values: Any) -> Any:
    """As rows and columns: the last axis runs to the right, all others downwards."""
    return (
        values.reshape(-1, values.shape[-1])
        if values.ndim and values.size
        else values.reshape(1, -1)
    )


def _coarse(grid: Any, limit: int) -> Any:
    """The element of largest magnitude in each of at most ``limit`` blocks; NaN is the largest."""
    rows, columns = grid.shape
    across = min(columns, max(math.isqrt(limit), limit // rows))
    down = min(rows, limit // across)
    size = np.where(np.isnan(grid), np.inf, np.abs(grid))
    made = np.empty((down, across))
    top = np.linspace(0, rows, down + 1).astype(int)
    left = np.linspace(0, columns, across + 1).astype(int)
    for i in range(down):
        for j in range(across):
            block = np.s_[top[i] : top[i + 1], left[j] : left[j + 1]]
            made[i, j] = grid[block].flat[size[block].argmax()]
    return made
