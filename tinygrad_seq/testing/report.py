"""What a failed gradient check says: where, both values, a likely cause, how to replay it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .oracles import Array, Index

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


def constant(name: str) -> str:
    """What to say where no gradient reached any input, and rightly so."""
    return (
        f"there is nothing to check: no floating output of {name} was recorded as a function of "
        "its inputs. Give something that depends on them, and is not detached."
    )


def describe(label: str, value: Array) -> str:
    """`input 1 (w): float64 (4, 2)`."""
    return f"{label}: {value.dtype} {value.shape}"


@dataclass(frozen=True)
class Mismatch:
    """Two gradients of one input that differ by more than the tolerance.

    Attributes:
        analytic: what the library computed.
        numeric: what the oracle found, of the same shape.
        tolerance: how far apart they may be, of the same shape.
        index: the entry to report.
        source: where its numeric value comes from, in words.
        settled: False if differences of ever smaller steps kept changing.
        hidden: True if the tolerance is too wide to tell which is right.
    """

    analytic: Array
    numeric: Array
    tolerance: Array
    index: Index
    source: str
    settled: bool = True
    hidden: bool = False

    def error(
        self, situation: Situation, label: str, kink: tuple[float, float] | None
    ) -> GradientError:
        """What to raise.

        Args:
            situation: names the function, its inputs and the seed.
            label: the input whose gradient it is.
            kink: the slopes on either side of a kink at the entry, if there is one.
        """
        error = np.abs(self.analytic - self.numeric)
        wrong = np.asarray(~(error <= self.tolerance))
        wrong[self.index] = True
        index = self.index
        decided = self.settled and not self.hidden
        verdict = "is wrong" if decided else "cannot be checked"
        count = "are wrong" if decided else "differ"
        lines = [
            f"the gradient of {situation.name} with respect to {label} {verdict} at index {index}",
            f"  analytic {float(self.analytic[index])!r}",
            f"  numeric  {float(self.numeric[index])!r}  ({self.source})",
            f"  error    {float(error[index]):.3g}, tolerance {float(self.tolerance[index]):.3g}; "
            f"{int(wrong.sum())} of {wrong.size} entries {count}",
        ]
        hint = self._hint(kink)
        if hint:
            lines.append(f"  hint     {hint}")
        return situation.error("\n".join(lines))

    def _hint(self, kink: tuple[float, float] | None) -> str:
        """The most likely cause, where the numbers show one."""
        analytic, numeric, tolerance = self.analytic, self.numeric, self.tolerance
        if kink is not None:
            return (
                f"the slope is {kink[0]:.6g} on the left and {kink[1]:.6g} on the right: a kink "
                "lies within the step. Draw inputs away from it, as arrays(shape, Interval(low, "
                "high, kinks=(k,))) does, or test the convention at the kink by itself."
            )
        if self.hidden:
            return (
                "the outputs or inputs are so large that their rounding hides the gradient: check "
                "without what makes them large, such as a constant that is added."
            )
        if not self.settled:
            return (
                "the differences keep changing as the step shrinks: here the function is too steep "
                "or too rough for them. Draw smaller inputs, or fewer steps of a recurrence."
            )
        if not analytic.any():
            return "the gradient is zero everywhere: a rule or a path is missing."
        square = analytic.ndim >= 2 and analytic.shape[-1] == analytic.shape[-2]
        if square and np.all(np.abs(np.swapaxes(analytic, -1, -2) - numeric) <= tolerance):
            return "the gradient is the transpose of the right one."
        strong = np.abs(numeric) > 1e3 * tolerance
        if strong.sum() > 1:
            ratio = analytic[strong] / numeric[strong]
            typical = float(np.median(ratio))
            same = np.allclose(ratio, typical, rtol=1e-4, atol=0.0)
            if same and abs(typical - 1) > 0.01:
                return f"every entry is {typical:.6g} times the right one."
        return ""


def worst(analytic: Array, numeric: Array, tolerance: Array) -> Index:
    """Where the error exceeds its tolerance most."""
    excess = np.abs(analytic - numeric) / np.maximum(tolerance, np.finfo(np.float64).tiny)
    return tuple(int(k) for k in np.unravel_index(int(np.argmax(excess)), excess.shape))


def shapes_of(values: Sequence[Any]) -> list[str]:
    """`float64 (4, 2)` for each value."""
    return [f"{np.asarray(v).dtype} {np.asarray(v).shape}" for v in values]
