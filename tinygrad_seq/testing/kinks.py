"""Whether a kink explains why central differences disagree with a gradient."""

from __future__ import annotations

import numpy as np

from .backward import Differentiable
from .oracles import CENTRAL_STEP, Array, Index


def kink_at(
    subject: Differentiable, upstream: list[Array], position: int, index: Index
) -> tuple[float, float] | None:
    """The slopes of Σ ȳ y on either side of an input, if a kink lies within the oracle's step.

    On a smooth function the two draw together as the step shrinks.
    """
    values = subject.values
    start = subject.call(values)

    def slope(h: float) -> float:
        moved = [*values]
        moved[position] = values[position].copy()
        moved[position][index] += h
        pairs = zip(upstream, subject.call(moved), start, strict=True)
        return sum(float(np.sum(g * (y - y0))) for g, y, y0 in pairs) / h

    left, right = slope(-CENTRAL_STEP), slope(CENTRAL_STEP)
    gap, nearer = abs(right - left), abs(slope(CENTRAL_STEP / 4) - slope(-CENTRAL_STEP / 4))
    jumps = gap > 1e-3 * max(abs(left), abs(right)) and nearer > 0.6 * gap
    return (left, right) if jumps else None
