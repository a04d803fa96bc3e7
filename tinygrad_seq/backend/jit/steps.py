"""The compiled step of Adam: one pass over memory, where NumPy's calls make fourteen over blocks.

Nothing is regrouped or contracted, so the results equal NumPy's to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import threads
from .cache import compiled
from .loops import larger

WORK = 1 << 18
"""Fewer numbers are not worth a thread."""


def adam(p: Any, g: Any, m: Any, v: Any, largest: Any, *numbers: float) -> None:
    """``backend.steps.adam`` of arrays in C order, of one dtype."""
    beta1, beta2, rate, scale, eps = numbers
    top = v if largest is None else largest
    arrays = [a.reshape(-1) for a in (p, g, m, v, top)]
    rest = map(p.dtype.type, (1 - beta1, beta2, 1 - beta2, rate, scale, eps))
    given = (*arrays, largest is not None, *rest)
    threads.at_once(lambda low, high: _adam(low, high, *given), p.size, threads.share(p.size, WORK))


@compiled(fast=False)
def _adam(
    low: int, high: int, p: Any, g: Any, m: Any, v: Any, largest: Any, keep: bool, new1: Any,
    old2: Any, new2: Any, rate: Any, scale: Any, eps: Any,
) -> None:  # fmt: skip
    p, g, m, v, largest = p[low:high], g[low:high], m[low:high], v[low:high], largest[low:high]
    for i in range(len(p)):
        m[i] += (g[i] - m[i]) * new1
        v[i] = v[i] * old2 + g[i] * new2 * g[i]
        top = v[i]
        if keep:
            largest[i] = top = larger(largest[i], top)
        p[i] -= m[i] * rate / (np.sqrt(top) * scale + eps)
