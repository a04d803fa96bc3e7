"""The comparison inside a gradient check: the library's gradients against references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .backward import Differentiable
from .oracles import CENTRAL_STEP, Array, Index
from .reference import Reference
from .report import Mismatch, Situation, worst

__tracebackhide__ = True  # pytest shows the frames of the function that is tested

NEEDED = 1e-2  # how closely, in parts of a gradient's size, a check must be able to tell


def compare(
    subject: Differentiable,
    cotangents: list[Array],
    gradients: Sequence[Array | None],
    expected: Sequence[Reference],
    situation: Situation,
) -> None:
    """Raise for the first leaf whose gradient is not the expected one.

    Where they differ and the reference can be refined, the entry that is furthest off is, until
    none is off any more, or one is off for good.
    """
    for position, (leaf, found) in enumerate(zip(subject.leaves, gradients, strict=True)):
        reference = expected[position]
        if not np.isfinite(reference.value).all():
            index = _first(~np.isfinite(reference.value))
            raise situation.error(
                f"{subject.name} is not finite within a step of {leaf.label} at index {index}: "
                "draw the inputs from inside its domain."
            )
        gradient = np.zeros(reference.value.shape) if found is None else found
        wrong = _disagreement(gradient, reference)
        if wrong is None:
            continue
        if found is None:
            raise situation.error(
                f"no gradient of {subject.name} reaches {leaf.label}, but at index {wrong.index} "
                f"it is {float(wrong.numeric[wrong.index])!r} ({wrong.source})."
            )
        kink = None
        if reference.refine is not None:
            kink = _kink_at(subject, cotangents, position, wrong.index)
        raise wrong.error(situation, leaf.label, kink)


def _disagreement(gradient: Array, reference: Reference) -> Mismatch | None:
    """Where a gradient and its reference still differ after the reference was refined there.

    A tolerance in which a wrong gradient could hide decides nothing: within it the two must agree
    as closely as a check has to, or there is no saying which is right.
    """
    numeric, tolerance = np.array(reference.value), np.array(reference.tolerance)
    needed = np.maximum(
        NEEDED * (np.abs(numeric) + 0.1 * np.max(np.abs(numeric), initial=0.0)), 1e-6
    )
    while not np.all(np.abs(gradient - numeric) <= np.minimum(tolerance, needed)):
        index = worst(gradient, numeric, np.minimum(tolerance, needed))
        source, settled = reference.source, True
        if reference.refine is not None:
            entry = reference.refine(index)
            numeric[index], tolerance[index] = entry.value, entry.tolerance
            source, settled = entry.source, entry.settled
        error = abs(gradient[index] - numeric[index])
        if not settled or not error <= min(tolerance[index], needed[index]):
            hidden = bool(error <= tolerance[index])
            return Mismatch(gradient, numeric, tolerance, index, source, settled, hidden)
    return None


def _first(where: Array) -> Index:
    return tuple(int(k) for k in np.argwhere(where)[0])


def _kink_at(
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
