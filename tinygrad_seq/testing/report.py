"""What a failed gradient check says: where, both values, a likely cause, how to replay it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .oracles import Array

GRADIENT_OF = "the gradient of "


class GradientError(AssertionError):
    """A gradient, or the function that it belongs to, is not what it should be."""


@dataclass(frozen=True)
class Situation:
    """What every message of one check has in common."""

    name: str
    check: str
    seed: int
    inputs: Sequence[str]
    outputs: Sequence[str] = ()

    def error(self, text: str) -> GradientError:
        """A `GradientError` that ends with the shapes and how to replay it."""
        inputs = ", ".join(self.inputs) or "none"
        outputs = ", ".join(self.outputs) or "not known yet"
        function = self.name.removeprefix(GRADIENT_OF)
        return GradientError(
            f"{text}\n"
            f"  inputs   {inputs}\n"
            f"  outputs  {outputs}\n"
            f"  replay   {self.check}({function}, ..., seed={self.seed})"
        )


def describe(label: str, value: Array) -> str:
    """`input 1 (w): float64 (4, 2)`."""
    return f"{label}: {value.dtype} {value.shape}"


def mismatch(
    situation: Situation,
    label: str,
    analytic: Array,
    numeric: Array,
    tolerance: Array,
    oracle: str,
    kink: tuple[float, float] | None,
) -> GradientError:
    """The error for two gradients that differ by more than the tolerance.

    Args:
        situation: names the function, its inputs and the seed.
        label: the input whose gradient is wrong.
        analytic: what the library computed.
        numeric: what the oracle found, of the same shape.
        tolerance: how far apart they may be, of the same shape.
        oracle: the oracle, in words.
        kink: the slopes on either side of a kink at the worst entry, if there is one.
    """
    error = np.abs(analytic - numeric)
    wrong = ~(error <= tolerance)
    index = worst(analytic, numeric, tolerance)
    lines = [
        f"the gradient of {situation.name} with respect to {label} is wrong at index {index}",
        f"  analytic {float(analytic[index])!r}",
        f"  numeric  {float(numeric[index])!r}  ({oracle})",
        f"  error    {float(error[index]):.3g}, tolerance {float(tolerance[index]):.3g}; "
        f"{int(wrong.sum())} of {wrong.size} entries are wrong",
    ]
    hint = _hint(analytic, numeric, tolerance, kink)
    if hint:
        lines.append(f"  hint     {hint}")
    return situation.error("\n".join(lines))


def worst(analytic: Array, numeric: Array, tolerance: Array) -> tuple[int, ...]:
    """Where the error exceeds its tolerance most."""
    excess = np.abs(analytic - numeric) / np.maximum(tolerance, np.finfo(np.float64).tiny)
    return tuple(int(k) for k in np.unravel_index(int(np.argmax(excess)), excess.shape))


def _hint(
    analytic: Array, numeric: Array, tolerance: Array, kink: tuple[float, float] | None
) -> str:
    """The most likely cause, where the numbers show one."""
    if kink is not None:
        return (
            f"the slope is {kink[0]:.6g} on the left and {kink[1]:.6g} on the right: a kink "
            "lies within the step. Draw inputs away from it, as arrays(shape, Interval(low, high, "
            "kinks=(k,))) does, or test the convention at the kink by itself."
        )
    if not analytic.any():
        return "the gradient is zero everywhere: a rule or a path is missing."
    square = analytic.ndim >= 2 and analytic.shape[-1] == analytic.shape[-2]
    if square and np.all(np.abs(np.swapaxes(analytic, -1, -2) - numeric) <= tolerance):
        return "the gradient is the transpose of the right one."
    strong = np.abs(numeric) > 1e3 * tolerance
    if strong.any():
        ratio = analytic[strong] / numeric[strong]
        typical = float(np.median(ratio))
        if strong.sum() > 1 and np.allclose(ratio, typical, rtol=1e-4, atol=0.0):
            return f"every entry is {typical:.6g} times the right one."
    return ""


def shapes_of(values: Sequence[Any]) -> list[str]:
    """`float64 (4, 2)` for each value."""
    return [f"{np.asarray(v).dtype} {np.asarray(v).shape}" for v in values]
