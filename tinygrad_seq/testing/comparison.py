"""The comparison inside a gradient check: the library's gradients against references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .backward import Differentiable
from .kinks import kink_at
from .oracles import Array, Index
from .reference import Reference
from .report import Mismatch, Situation, worst


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
            kink = kink_at(subject, cotangents, position, wrong.index)
        raise wrong.error(situation, leaf.label, kink)


def _disagreement(gradient: Array, reference: Reference) -> Mismatch | None:
    """Where a gradient and its reference still differ after the reference was refined there."""
    numeric, tolerance = reference.value.copy(), reference.tolerance.copy()
    while not np.all(np.abs(gradient - numeric) <= tolerance):
        index = worst(gradient, numeric, tolerance)
        if reference.refine is None:
            return Mismatch(gradient, numeric, tolerance, index, reference.source)
        entry = reference.refine(index)
        numeric[index], tolerance[index] = entry.value, entry.tolerance
        if not entry.settled or not abs(gradient[index] - entry.value) <= entry.tolerance:
            return Mismatch(gradient, numeric, tolerance, index, entry.source, entry.settled)
    return None


def _first(where: Array) -> Index:
    return tuple(int(k) for k in np.argwhere(where)[0])
