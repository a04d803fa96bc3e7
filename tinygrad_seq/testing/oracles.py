"""Two independent oracles for a vector-Jacobian product, on plain arrays.

Both take a function of arrays and know nothing of this library's derivative rules: they only run
the forward.  With y = f(x₁, …, xₙ) and a cotangent ȳ of y's shape they return, for every input, the
full

    x̄ᵢ = Σⱼ ȳⱼ ∂yⱼ/∂xᵢ

| oracle                | formula                            | error | asks of f       |
|-----------------------|------------------------------------|-------|-----------------|
| `central_differences` | ȳ · (f(x + h e) - f(x - h e)) / 2h | 1e-6  | smooth around x |
| `complex_step`        | ȳ · Im f(x + i h e) / h            | 1e-9  | analytic        |

The complex step subtracts nothing, so it loses no digits: its step is 1e-20 (Squire and Trapp,
1998).  f must run on complex arrays: no `abs`, no comparisons, no conjugates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Function = Callable[..., Any]
Index = tuple[int, ...]

CENTRAL_STEP = 1e-5
COMPLEX_STEP = 1e-20
LARGEST = float(np.finfo(np.float64).max)
SMALLEST = float(np.finfo(np.float64).smallest_subnormal)


def central_differences(
    f: Function,
    inputs: Sequence[npt.ArrayLike],
    cotangents: npt.ArrayLike | tuple[npt.ArrayLike, ...],
    *,
    step: float = CENTRAL_STEP,
) -> tuple[Array, ...]:
    """The vector-Jacobian product of `f` by central differences.

        x̄[k] = Σ ȳ (f(x + h eₖ) - f(x - h eₖ)) / 2h,  h = step · max(1, |x[k]|)

    Args:
        f: takes as many arrays as there are inputs; returns an array, or a tuple of arrays.
        inputs: float64 arrays of any shape.
        cotangents: an array of the output's shape, or a tuple of them for a tuple of outputs.
        step: the half width of the difference.

    Returns:
        One float64 array per input, of the input's shape.

    Raises:
        TypeError: an input is not float64 (half of float32's digits are lost in the difference).
        ValueError: a cotangent has another shape than its output.
    """
    pairs = central_differences_with_noise(f, inputs, cotangents, step=step)
    return tuple(gradient for gradient, _ in pairs)


def central_differences_with_noise(
    f: Function,
    inputs: Sequence[npt.ArrayLike],
    cotangents: npt.ArrayLike | tuple[npt.ArrayLike, ...],
    *,
    step: float = CENTRAL_STEP,
) -> list[tuple[Array, Array]]:
    """`central_differences`, each with the rounding to expect: ε Σ |ȳ| (|f₊| + |f₋| + m) / 2h.

    Only the outputs that change take part in the sum, so that the noise of an elementwise
    function is that of its one element; where none does, the largest term stands for all, for a
    change may be too small to be seen. An output may be a small difference of large numbers, as
    1 - tanh² is, and then carries their rounding: m, the largest input squared (1 at least), stands
    for them.
    """
    points = _float64(inputs)
    upstream = _check_cotangents(f, points, cotangents)
    pairs = []
    for position, point in enumerate(points):
        gradient, noise = np.zeros(point.shape), np.zeros(point.shape)
        for index in np.ndindex(point.shape):
            gradient[index], noise[index] = central_difference(
                f, points, upstream, position, index, step=step
            )
        pairs.append((gradient, noise))
    return pairs


def central_difference(
    f: Function,
    points: Sequence[Array],
    upstream: Sequence[Array],
    position: int,
    index: Index,
    *,
    step: float = CENTRAL_STEP,
    cautious: bool = True,
) -> tuple[float, float]:
    """The central difference for one entry of one input, and the rounding error to expect.

    Without `cautious`, m is left out: the caller measures the errors that it bounds.
    """
    point = points[position]
    h = max(step * max(1.0, abs(float(point[index]))), SMALLEST)
    high, low = point.copy(), point.copy()
    with np.errstate(all="ignore"):  # next to the largest float
        high[index] = min(high[index] + h, max(point[index], LARGEST))
        low[index] = max(low[index] - h, min(point[index], -LARGEST))
        width = float(high[index] - low[index])
        scale = width if width < 1e-290 else 1.0  # ȳ times the smallest change has no digits
        above = _outputs(f(*points[:position], high, *points[position + 1 :]))
        below = _outputs(f(*points[:position], low, *points[position + 1 :]))
        largest = max(1.0, *(float(np.max(np.abs(p), initial=0.0)) for p in points))
        hidden = largest * largest if cautious else 0.0
        slope = spread = unseen = 0.0
        for g, plus, minus in zip(upstream, above, below, strict=True):
            change = plus - minus
            slope += float(np.sum(g * (change / scale)))
            size = np.abs(g) * (np.abs(plus) + np.abs(minus) + hidden)
            spread += float(np.sum(np.where(change != 0, size, 0)))
            unseen = max(unseen, float(np.max(size, initial=0.0)))
    return slope / (width / scale), float(np.finfo(np.float64).eps) * (spread or unseen) / width


def complex_step(
    f: Function,
    inputs: Sequence[npt.ArrayLike],
    cotangents: npt.ArrayLike | tuple[npt.ArrayLike, ...],
    *,
    step: float = COMPLEX_STEP,
) -> tuple[Array, ...]:
    """The vector-Jacobian product of an analytic `f` by the complex step.

        x̄[k] = Σ ȳ Im f(x + i h eₖ) / h

    Args:
        f: takes as many arrays as there are inputs and runs on complex arrays; returns an array,
            or a tuple of arrays.
        inputs: float64 arrays of any shape.
        cotangents: an array of the output's shape, or a tuple of them for a tuple of outputs.
        step: the size of the imaginary part; so small that its square vanishes.

    Returns:
        One float64 array per input, of the input's shape.

    Raises:
        TypeError: an input is not float64, or `f` drops the imaginary part.
        ValueError: a cotangent has another shape than its output.

    Source: Squire and Trapp (1998), SIAM Review 40(1), 110-112.
    """
    points = _float64(inputs)
    upstream = _check_cotangents(f, points, cotangents)
    gradients = []
    for position, point in enumerate(points):
        gradient = np.zeros(point.shape)
        for index in np.ndindex(point.shape):
            shifted = [p.astype(np.complex128) for p in points]
            shifted[position][index] += 1j * step
            outputs = _outputs(f(*shifted))
            if not any(np.iscomplexobj(y) for y in outputs):
                raise TypeError(
                    f"{name_of(f)} lost the imaginary part: a complex step needs a forward that is "
                    "analytic and keeps complex numbers. Use central differences instead."
                )
            gradient[index] = sum(
                float(np.sum(g * y.imag)) / step for g, y in zip(upstream, outputs, strict=True)
            )
        gradients.append(gradient)
    return tuple(gradients)


def name_of(f: object) -> str:
    """The name by which a message calls a function, a primitive or a module."""
    name = getattr(f, "__name__", None) or getattr(f, "name", None)
    return name if isinstance(name, str) else type(f).__name__


def _float64(inputs: Sequence[npt.ArrayLike]) -> list[Array]:
    """The inputs as arrays; refuses anything but float64."""
    points = [np.asarray(x) for x in inputs]
    for position, point in enumerate(points):
        if point.dtype != np.float64:
            raise TypeError(
                f"the oracles difference float64 arrays; input {position} is {point.dtype}. "
                "Convert floating inputs with .astype(np.float64) and close over the others."
            )
    return points


def _outputs(result: object) -> tuple[Array, ...]:
    """What the function returned, as a tuple of arrays."""
    return tuple(_each(result))


def _each(result: object) -> Iterator[Array]:
    for y in result if isinstance(result, tuple | list) else (result,):
        yield np.asarray(y)


def _check_cotangents(f: Function, points: list[Array], cotangents: Any) -> tuple[Array, ...]:
    """The cotangents as a tuple, one for each output and of its shape."""
    upstream = _outputs(cotangents)
    shapes = [y.shape for y in _outputs(f(*points))]
    given = [g.shape for g in upstream]
    if shapes != given:
        raise ValueError(
            f"{name_of(f)} returns outputs of shape {shapes}; the cotangents have shape {given}. "
            "Pass one cotangent for each output, of the same shape."
        )
    return upstream
