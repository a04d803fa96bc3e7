"""The compiled loop of a linear recurrence, for real or complex numbers.

It runs row by row, in the order of memory; threads share the columns. Nothing is regrouped or
contracted, so real results equal those of NumPy's loop to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import threads
from ..dtypes import plain
from .cache import compiled

WORK = 500_000
"""Fewer numbers in all steps are not worth a thread."""


def linear_scan(a: Any, b: Any, start: Any, backwards: bool, adjoint: bool, y: Any) -> None:
    """Write all h of one recurrence to y.

    Args:
        a: Factors, of a shape that broadcasts to that of ``b``.
        b: What comes in ``(T, ...)``.
        start: h before the first step ``(...)``, or None.
        backwards: Whether the last step comes first.
        adjoint: Whether a step uses the factor of the step before.
        y: The output, of the shape of ``b``, in C order.
    """
    steps = len(b)
    timed = a.ndim == b.ndim and len(a) == steps
    factors = _rows(np.broadcast_to(a, b.shape if timed else b[:1].shape))
    rows = _rows(b)
    first = rows[:1] if start is None else _rows(start[None])
    begin, by = (steps - 1, -1) if backwards else (0, 1)
    rest = (begin, by, adjoint, factors, rows, y.reshape(steps, -1), first, start is not None)
    share = threads.share(rows.shape[1], max(64, WORK // steps))
    threads.at_once(lambda low, high: _loop(low, high, *rest), rows.shape[1], share)


def _rows(x: Any) -> Any:
    """An array as rows ``(T, columns)``, in the form that the code is compiled for."""
    return plain(x).reshape(len(x), -1)


@compiled(fast=False)
def _loop(
    low: int, high: int, begin: int, by: int, adjoint: bool, a: Any, b: Any, y: Any, start: Any,
    begun: bool,
) -> None:  # fmt: skip
    t, same = begin, len(a) == 1
    now, come = y[t, low:high], b[t, low:high]
    factor, past = a[0 if same else t, low:high], start[0, low:high]
    for i in range(len(now)):
        now[i] = factor[i] * past[i] + come[i] if begun else come[i]
    for _ in range(1, len(b)):
        last, t = t, t + by
        now, past, come = y[t, low:high], y[last, low:high], b[t, low:high]
        factor = a[0 if same else last if adjoint else t, low:high]
        for i in range(len(now)):
            now[i] = factor[i] * past[i] + come[i]
