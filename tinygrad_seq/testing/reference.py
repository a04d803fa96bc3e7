"""What a gradient should be, and how far from it one may lie: the oracles' word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from ..tensor import Tensor
from .backward import Differentiable
from .extrapolation import ROUNDING, Estimate, extrapolate
from .oracles import (
    CENTRAL_STEP,
    COMPLEX_STEP,
    Array,
    Index,
    central_difference,
    central_differences_with_noise,
    complex_step,
)
from .subject import Subject

Oracle = Literal["central", "complex"]
RTOL: dict[Oracle, float] = {"central": 1e-6, "complex": 1e-9}


@dataclass(frozen=True)
class Reference:
    """The gradient of one leaf to compare with.

    Attributes:
        value: the gradient.
        tolerance: how far from it each entry may be.
        source: where it comes from, in words.
        refine: for a reference that has errors of its own: one entry again, with more effort.
    """

    value: Array
    tolerance: Array
    source: str
    refine: Callable[[Index], Refined] | None = None


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
    rounding = (
        256 * np.finfo(np.float64).eps * sum(float(np.sum(np.abs(g * y))) for g, y in outputs)
    )
    if oracle == "complex":
        return _by_complex_step(subject, cotangents, rtol, rounding)
    f = _forward(subject.call)
    pairs = central_differences_with_noise(f, subject.values, tuple(cotangents))
    found = []
    for position, (value, noise) in enumerate(pairs):
        allowed = _Allowance(rtol, _largest(value), rounding)
        refine = partial(_refine, f, subject.values, cotangents, allowed, position)
        source = f"central differences, step {CENTRAL_STEP:g}"
        found.append(Reference(value, allowed(value) + ROUNDING * noise, source, refine))
    return found


@dataclass(frozen=True)
class _Allowance:
    """rtol · (|value| + 0.1 · largest) + rounding: what a right gradient may be off by."""

    rtol: float
    largest: float
    rounding: float

    def __call__(self, value: Any) -> Any:
        return self.rtol * (np.abs(value) + 0.1 * self.largest) + self.rounding


def _by_complex_step(
    subject: Differentiable, cotangents: list[Array], rtol: float, rounding: float
) -> list[Reference]:
    plain = isinstance(subject, Subject) and all(leaf.parameter is None for leaf in subject.leaves)
    if not isinstance(subject, Subject) or not plain:
        raise TypeError(
            "the complex step runs on plain complex arrays, which a Module's parameters cannot "
            "hold; use oracle='central' for Modules."
        )
    values = complex_step(_forward(subject.apply), subject.values, tuple(cotangents))
    source = f"complex step {COMPLEX_STEP:g}"
    return [Reference(x, _Allowance(rtol, _largest(x), rounding)(x), source) for x in values]


def _refine(
    f: Callable[..., tuple[Array, ...]],
    values: Sequence[Array],
    cotangents: Sequence[Array],
    allowed: _Allowance,
    position: int,
    index: Index,
) -> Refined:
    """One entry from central differences of smaller steps, with their error in the tolerance."""

    def difference(step: float) -> tuple[float, float]:
        return central_difference(f, values, cotangents, position, index, step=step)

    found: Estimate = extrapolate(difference, CENTRAL_STEP, allowed)
    return Refined(
        found.value,
        float(allowed(found.value)) + found.error,
        f"central differences, extrapolated from steps {CENTRAL_STEP:g} to {found.step:.2g}",
        settled=found.error <= 1e-2 * max(abs(found.value), 0.1 * allowed.largest),
    )


def _forward(f: Callable[[Sequence[Array]], list[Any]]) -> Callable[..., tuple[Array, ...]]:
    """A function of a list of leaves as the oracles call it."""

    def forward(*values: Array) -> tuple[Array, ...]:
        return tuple(
            np.asarray(y.detach().numpy() if isinstance(y, Tensor) else y) for y in f(values)
        )

    return forward


def _largest(x: Array) -> float:
    return float(np.max(np.abs(x), initial=0.0))
