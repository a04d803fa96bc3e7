"""What a gradient should be by an oracle, how far from it one may lie, and the comparison.

Where one step of a central difference does not settle an entry, its step is halved.

A central difference D(h) is off by a truncation error in h², which nothing bounds in advance: a
few steps of a recurrent net with large weights have a third derivative of 1e10. It can be measured.
Two steps cancel its first term,

    R(h) = D(h) + (D(h) - D(2h)) / 3

(Richardson, 1911), and the error of R(h) is less than the change from R(2h) to R(h). Steps are
halved until that change is small enough, or smaller than rounding, which grows as 1/h.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from ..autograd.operands import on_host
from .backward import Differentiable
from .oracles import (
    CENTRAL_STEP,
    COMPLEX_STEP,
    Array,
    Index,
    central_difference,
    central_differences_with_noise,
    complex_step,
)
from .report import Mismatch, Situation, worst
from .subject import Subject

__tracebackhide__ = True  # pytest shows the frames of the function that is tested

Oracle = Literal["central", "complex"]
HALVINGS = 20  # down to a step of 1e-11
ROUNDING = 16  # the error to allow for, in units of the rounding to expect: see `references`
WIDE_STEP = 0.1  # where rounding hides the gradient from CENTRAL_STEP
NEEDED = 1e-2  # how closely, in parts of a gradient's size, a check must be able to tell
RTOL: dict[Oracle, float] = {"central": 1e-6, "complex": 1e-9}


@dataclass(frozen=True)
class Reference:
    """The gradient of one leaf to compare with.

    Attributes:
        value: the gradient.
        tolerance: how far from it each entry may be.
        source: where it comes from, in words.
        refine: for a reference that has errors of its own: the entry at an index again, with more
            effort, for the gradient found there.
    """

    value: Array
    tolerance: Array
    source: str
    refine: Callable[[Index, float], Refined] | None = None


@dataclass(frozen=True)
class Refined:
    """One entry of a reference, with the error that was measured in the tolerance.

    Attributes:
        value, tolerance, source: as for `Reference`.
        settled: False if the measured error is too large for the entry to say anything.
    """

    value: float
    tolerance: float
    source: str
    settled: bool


def references(
    subject: Differentiable,
    cotangents: list[Array],
    oracle: Oracle = "central",
    rtol: float | None = None,
) -> list[Reference]:
    """The oracle's gradient for each leaf."""
    rtol = RTOL[oracle] if rtol is None else rtol
    # Where a gradient is 0, or nearly, the rule's own rounding is what is left of it.
    outputs = zip(cotangents, subject.call(subject.values), strict=True)
    size = 256 * np.finfo(np.float64).eps * sum(float(np.sum(np.abs(g * y))) for g, y in outputs)
    rounding = [size / np.maximum(1.0, np.abs(value)) for value in subject.values]
    if oracle == "complex":
        return _by_complex_step(subject, cotangents, rtol, rounding)
    f = _forward(subject.call)
    pairs = central_differences_with_noise(f, subject.values, tuple(cotangents))
    found = []
    for position, (value, noise) in enumerate(pairs):
        allowed = _Allowance(rtol, _largest(value), rounding[position])
        refine = partial(_refine, f, subject.values, cotangents, allowed, position)
        source = f"central differences, step {CENTRAL_STEP:g}"
        found.append(Reference(value, allowed(value) + ROUNDING * noise, source, refine))
    return found


@dataclass(frozen=True)
class _Allowance:
    """rtol · (|value| + 0.1 · largest) + rounding: what a right gradient may be off by."""

    rtol: float
    largest: float
    rounding: Array

    def __call__(self, value: Any, index: Index = ()) -> Any:
        return self.rtol * (np.abs(value) + 0.1 * self.largest) + self.rounding[index]


def _by_complex_step(
    subject: Differentiable, cotangents: list[Array], rtol: float, rounding: list[Array]
) -> list[Reference]:
    plain = isinstance(subject, Subject) and all(leaf.parameter is None for leaf in subject.leaves)
    if not isinstance(subject, Subject) or not plain:
        raise TypeError(
            "the complex step runs on plain complex arrays, which a Module's parameters cannot "
            "hold; use oracle='central' for Modules."
        )
    values = complex_step(_forward(subject.apply), subject.values, tuple(cotangents))
    source = f"complex step {COMPLEX_STEP:g}"
    pairs = zip(values, rounding, strict=True)
    return [Reference(x, _Allowance(rtol, _largest(x), r)(x), source) for x, r in pairs]


def _refine(
    f: Callable[..., tuple[Array, ...]],
    values: Sequence[Array],
    cotangents: Sequence[Array],
    allowed: _Allowance,
    position: int,
    index: Index,
    gradient: float,
) -> Refined:
    """One entry from central differences of smaller steps, with their error in the tolerance.

    If rounding hides the entry, wider steps are tried, whose error is only what they change by. For
    an input smaller than the step, steps smaller than the input are tried first, and kept if they
    give `gradient`; if rounding hides the entry from them too and there is a kink, the slope on one
    of its sides is taken if it is `gradient`.
    """

    def estimate(start: float, cautious: bool, least: float) -> Refined:
        def difference(step: float) -> tuple[float, float]:
            at = f, values, cotangents, position, index
            return central_difference(*at, step=step, cautious=cautious)

        found = extrapolate(difference, start, lambda value: float(allowed(value, index)))
        return Refined(
            found.value,
            float(allowed(found.value, index)) + found.error,
            f"central differences, extrapolated from steps {start:g} to {found.step:.2g}",
            settled=found.error <= 1e-2 * max(abs(found.value), least),
        )

    kink: tuple[float, float] | None = None
    size = abs(float(values[position][index])) or _largest(values[position])
    if 0 < size < CENTRAL_STEP:  # a kink at 0, as of a norm, may lie within the usual step
        near = estimate(1e-2 * size, cautious=False, least=1e-4)
        if near.settled and abs(near.value - gradient) <= near.tolerance:
            return near
        kink = None if near.settled else _kink_at(f, values, cotangents, position, index)
    found = estimate(CENTRAL_STEP, cautious=True, least=0.1 * allowed.largest)
    if not found.settled:
        wide = estimate(WIDE_STEP, cautious=False, least=1e-4)
        found = wide if wide.settled and wide.tolerance < found.tolerance else found
    if found.settled and abs(found.value - gradient) <= found.tolerance:
        return found
    for slope in kink or ():
        tolerance = 1e-3 * abs(slope) + 1e-6
        if abs(slope - gradient) <= tolerance:
            return Refined(slope, tolerance, "the slope on one side of a kink", settled=True)
    return found


def _forward(f: Callable[[Sequence[Array]], list[Any]]) -> Callable[..., tuple[Array, ...]]:
    """A function of a list of leaves as the oracles call it."""
    return lambda *values: tuple(map(on_host, f(values)))


def _largest(x: Array) -> float:
    return float(np.max(np.abs(x), initial=0.0))


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


def compare(
    subject: Differentiable,
    cotangents: list[Array],
    gradients: Sequence[Array | None],
    expected: Sequence[Reference],
    situation: Situation,
) -> None:
    """Raise for the first leaf whose gradient is not the expected one.

    Where they differ, the entry with the largest error is refined if the reference allows it, until
    all entries agree, or a refined one does not.
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
            f = _forward(subject.call)
            kink = _kink_at(f, subject.values, cotangents, position, wrong.index)
        raise wrong.error(situation, leaf.label, kink)


def _disagreement(gradient: Array, reference: Reference) -> Mismatch | None:
    """Where a gradient and its reference still differ after the reference was refined there.

    A tolerance may be so wide that a wrong gradient lies within it. Then the two must also agree to
    NEEDED, or the check cannot decide which of them is right.
    """
    numeric, tolerance = np.array(reference.value), np.array(reference.tolerance)
    needed = np.maximum(
        NEEDED * (np.abs(numeric) + 0.1 * np.max(np.abs(numeric), initial=0.0)), 1e-6
    )
    while not np.all(np.abs(gradient - numeric) <= np.minimum(tolerance, needed)):
        index = worst(gradient, numeric, np.minimum(tolerance, needed))
        source, settled = reference.source, True
        if reference.refine is not None:
            entry = reference.refine(index, float(gradient[index]))
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
    f: Callable[..., tuple[Array, ...]],
    values: Sequence[Array],
    upstream: Sequence[Array],
    position: int,
    index: Index,
) -> tuple[float, float] | None:
    """The slopes of Σ ȳ y on either side of an input, if a kink lies within the oracle's step.

    On a smooth function the two draw together as the step shrinks.
    """
    start = f(*values)

    def slope(h: float) -> float:
        moved = [*values]
        moved[position] = values[position].copy()
        moved[position][index] += h
        pairs = zip(upstream, f(*moved), start, strict=True)
        return sum(float(np.sum(g * (y - y0))) for g, y, y0 in pairs) / h

    left, right = slope(-CENTRAL_STEP), slope(CENTRAL_STEP)
    gap, nearer = abs(right - left), abs(slope(CENTRAL_STEP / 4) - slope(-CENTRAL_STEP / 4))
    jumps = gap > 1e-3 * max(abs(left), abs(right)) and nearer > 0.6 * gap
    return (left, right) if jumps else None
