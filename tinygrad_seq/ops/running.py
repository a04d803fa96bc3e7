"""Functions of successive elements of an axis: running values, differences, areas, windows."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from ..autograd import composite, primitive
from ..autograd.operands import in_single
from ..backend import Array, xp
from .arrange import take, take_along_axis
from .axes import one_axis
from .functions import logaddexp
from .index import getitem
from .joining import operands
from .reduce import cumprod, cumsum, running, sum
from .shape import broadcast_to, concatenate, moveaxis, ravel, reshape


@composite
def cummax(x: Array, axis: int | None = None) -> Array:
    """Running maximum.  y_t = max_{s ≤ t} x_s; ȳ_t goes to the latest x_s that is y_t."""
    return _running_extreme(x, axis, operator.gt)


@composite
def cummin(x: Array, axis: int | None = None) -> Array:
    """Running minimum.  y_t = min_{s ≤ t} x_s; ȳ_t goes to the latest x_s that is y_t."""
    return _running_extreme(x, axis, operator.lt)


def _running_extreme(x: Any, axis: int | None, beats: Callable[[Any, Any], Any]) -> Any:
    """Elements chosen by their positions, which are found by doubling; NaN wins over all."""
    if axis is None or not x.ndim:
        x, axis = ravel(x), 0
    axis = one_axis(axis, x.ndim)
    return take_along_axis(x, running_argmax(x, axis, beats), axis)


@primitive
def running_argmax(x: Array, /, axis: int, beats: Callable[[Any, Any], Any]) -> Array:
    """The latest position of the element up to each one that no other ``beats``."""
    np, best, reach = xp(x), x, 1
    line = [-1 if k == axis else 1 for k in range(x.ndim)]
    at = np.broadcast_to(np.arange(x.shape[axis]).reshape(line), x.shape)
    lead = (slice(None),) * axis
    while reach < x.shape[axis]:
        head, late, early = ((*lead, slice(*s)) for s in ((reach,), (reach, None), (-reach,)))
        stays = beats(best[early], best[late]) | np.isnan(best[early])
        at = np.concatenate([at[head], np.where(stays, at[early], at[late])], axis=axis)
        best = np.concatenate([best[head], np.where(stays, best[early], best[late])], axis=axis)
        reach *= 2
    return at


@composite
@in_single
def logcumsumexp(x: Array, axis: int | None = None) -> Array:
    """Running log-sum-exp.  y_t = ln Σ_{s ≤ t} e^{x_s}."""
    return running(logaddexp, x, axis)


@composite
def cumulative_sum(x: Array, axis: int | None = None, include_initial: bool = False) -> Array:
    """Running sum of a vector, or along an axis; ``include_initial`` puts a 0 before it."""
    return _after(cumsum, x, axis, include_initial, 0)


@composite
def cumulative_prod(x: Array, axis: int | None = None, include_initial: bool = False) -> Array:
    """Running product of a vector, or along an axis; ``include_initial`` puts a 1 before it."""
    return _after(cumprod, x, axis, include_initial, 1)


def _after(scan: Any, x: Any, axis: int | None, include_initial: bool, first: int) -> Any:
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"an array of {x.ndim} dimensions needs axis=, the axis to run along")
        axis = 0
    y = scan(x, axis)
    return concatenate([_edge(first, y, axis), y], axis=axis) if include_initial else y


def _edge(value: Any, x: Any, axis: int) -> Any:
    """The values before or after x along an axis; a number fills one slice."""
    (x, value), axis = operands("an edge", [x, value]), one_axis(axis, x.ndim)
    return value if value.ndim else broadcast_to(value, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))


@composite
def diff(x: Array, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Array:
    """The n-th differences of neighbours.  y_t = x_{t+1} - x_t.

    Args:
        x: One axis or more.
        n: The order of the difference; 0 gives x.
        axis: The axis.
        prepend: Values to put before x along the axis, a number or an array.
        append: Values to put after it.
    """
    if operator.index(n) < 0:
        raise ValueError(f"diff takes n >= 0 differences; got {n}")
    axis = one_axis(axis, x.ndim)
    if n and not (prepend is None and append is None):
        edges = [None if v is None else _edge(v, x, axis) for v in (prepend, append)]
        x = concatenate([v for v in (edges[0], x, edges[1]) if v is not None], axis=axis)
    lead = (slice(None),) * axis
    for _ in range(n):
        x = getitem(x, (*lead, slice(1, None))) - getitem(x, (*lead, slice(-1)))
    return x


@composite
@in_single
def trapezoid(y: Array, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Array:
    """The integral of y by the trapezoidal rule.  Σ (x_{t+1} - x_t) (y_{t+1} + y_t) / 2.

    Args:
        y: Values.
        x: Their positions, a vector or of the shape of y; if None, ``dx`` apart.
        dx: The spacing.
        axis: The axis.
    """
    axis = one_axis(axis, y.ndim)
    lead = (slice(None),) * axis
    pairs = getitem(y, (*lead, slice(1, None))) + getitem(y, (*lead, slice(-1)))
    if x is not None:
        y, x = operands("trapezoid", [y, x])
        dx = diff(x, axis=axis if x.ndim > 1 else 0)
        dx = reshape(dx, (-1, *(1,) * (y.ndim - axis - 1))) if x.ndim == 1 else dx
    return sum(pairs * dx, axis=axis) * 0.5


@composite
def sliding_window_view(x: Array, window_shape: Any, axis: Any = None) -> Array:
    """Every window of the given lengths, as last axes; a copy, where NumPy gives a view.

    Args:
        x: Any shape.
        window_shape: A length, or one for each axis of ``axis``.
        axis: The axes; all by default. Windows start at each position where they fit.

    Raises:
        ValueError: a window is longer than its axis, or there is not one length per axis.
    """
    lengths = window_shape if isinstance(window_shape, (tuple, list)) else (window_shape,)
    axes = axis if isinstance(axis, (tuple, list)) else range(x.ndim) if axis is None else (axis,)
    axes = tuple(one_axis(k, x.ndim) for k in axes)  # an axis may occur twice
    if len(lengths) != len(axes):
        raise ValueError(f"sliding_window_view needs a length per axis: {lengths} for axes {axes}")
    for k, length in zip(axes, lengths, strict=True):
        n = x.shape[k] - operator.index(length) + 1
        if n < 1 or length < 0:
            raise ValueError(f"a window of {length} does not fit axis {k} of length {x.shape[k]}")
        at = xp().arange(n)[:, None] + xp().arange(length)
        x = moveaxis(take(x, at, k), k + 1, -1)
    return x
