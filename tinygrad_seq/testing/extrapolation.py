"""Central differences of ever smaller steps, for an entry where one step does not settle it.

A central difference D(h) is off by a truncation error in h², which nothing bounds in advance: a
few steps of a recurrent net with large weights have a third derivative of 1e10. It can be measured.
Two steps cancel its first term,

    R(h) = D(h) + (D(h) - D(2h)) / 3

(Richardson, 1911), and the change from R(2h) to R(h) is more than what is still missing. Steps are
halved until that change is as small as it is asked to be, or rounding, which grows as 1/h, has the
upper hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

HALVINGS = 20  # down to a step of 1e-11
ROUNDING = 16  # the error to allow for, in units of the rounding to expect: see `reference`


@dataclass(frozen=True)
class Estimate:
    """A derivative, how far from it the true one may be, and the smallest step it took."""

    value: float
    error: float
    step: float


def extrapolate(
    difference: Callable[[float], tuple[float, float]],
    step: float,
    wanted: Callable[[float], float],
) -> Estimate:
    """The best estimate of a derivative by halving the step of a central difference.

    Args:
        difference: the central difference for a step, and the rounding error to expect of it.
        step: the first step.
        wanted: the error, for a derivative of a given size, at which to stop.
    """
    coarse, _ = difference(step)
    best: Estimate | None = None
    previous: float | None = None
    for _ in range(HALVINGS):
        step /= 2
        fine, noise = difference(step)
        value = fine + (fine - coarse) / 3
        rounding = 2 * ROUNDING * noise
        if previous is not None and math.isfinite(value):
            error = abs(value - previous) + rounding
            if best is None or error < best.error:
                best = Estimate(value, error, step)
            if best.error <= wanted(best.value) or rounding > best.error:
                break
        coarse, previous = fine, value if math.isfinite(value) else None
    return best or Estimate(math.nan, math.inf, step)
