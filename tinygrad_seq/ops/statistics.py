"""Averages and order statistics, with and without NaN."""

from __future__ import annotations

from typing import Any

from ..autograd import composite
from ..autograd.operands import as_flag, in_single
from ..backend import Array, xp
from .arithmetic import where
from .arrange import sort
from .axes import Axis
from .compare import isnan
from .index import getitem, numbers, plain
from .joining import operands
from .reduce import axes_of, gathered, kept, mean, sum
from .shape import astype, broadcast_to, moveaxis, reshape


@composite
def nansum(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The sum of the elements that are not NaN."""
    x = where(isnan(x), 0.0, x) if x.dtype.kind == "f" else x
    return sum(x, axis=axis, keepdims=keepdims)


@composite
@in_single
def nanmean(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The mean of the elements that are not NaN; NaN if all are."""
    missing = isnan(x)
    total = sum(where(missing, 0.0, x), axis=axis, keepdims=keepdims)
    return total / sum(astype(~missing, total.dtype), axis=axis, keepdims=keepdims)


@composite
@in_single
def average(x: Array, axis: Axis = None, weights: Any = None, keepdims: bool = False) -> Array:
    """Weighted mean.  y = Σ wᵢ xᵢ / Σ wᵢ.

    Args:
        x: Any shape.
        axis: Averaged axes; all by default.
        weights: Of the shape of x, or of the averaged axes in their order; 1 by default.
        keepdims: Keep the averaged axes at length 1.

    Raises:
        ValueError: the weights have neither shape.
    """
    if weights is None:
        return mean(x, axis=axis, keepdims=keepdims)
    x, w = operands("average", [x, weights])
    if w.shape != x.shape:
        axes = axes_of(x.ndim, axis)
        if axis is None or w.shape != tuple(x.shape[k] for k in axes):
            raise ValueError(
                f"average needs weights of the shape of x, {tuple(x.shape)}, or of its averaged "
                f"axes; got {tuple(w.shape)} along axis={axis}"
            )
        order = sorted(range(len(axes)), key=axes.__getitem__)
        w = moveaxis(w, tuple(order), tuple(range(len(order))))
        w = reshape(w, tuple(n if k in axes else 1 for k, n in enumerate(x.shape)))
        w = broadcast_to(w, x.shape)
    total = sum(w, axis=axis, keepdims=keepdims)
    return sum(x * w, axis=axis, keepdims=keepdims) / total


@composite
@in_single
def quantile(x: Array, q: Any, axis: Axis = None, keepdims: bool = False) -> Array:
    """The value below which a share q of the elements lies, with linear interpolation.

    Args:
        x: Any shape with elements.
        q: In [0, 1]: a number, or an array, whose axes come first in the result.
        axis: Reduced axes; all by default.
        keepdims: Keep them at length 1.

    Raises:
        ValueError: q is outside [0, 1], or x is empty.
    """
    np = xp(plain(x))
    q = np.asarray(numbers(q, "quantile"), dtype=float)
    if not ((q >= 0) & (q <= 1)).all():
        raise ValueError(f"quantile takes q in [0, 1]; got {q}")
    x = astype(x, int) if x.dtype.kind == "b" else x  # NumPy cannot subtract booleans
    lined = sort(gathered(x, axis), 0)
    n = lined.shape[0]
    if not n:
        raise ValueError(f"quantile of no element: x has shape {tuple(x.shape)}")
    low = np.floor(q * (n - 1)).astype(int)
    part = (q * (n - 1) - low).astype(x.dtype if x.dtype.kind == "f" else float)
    part = part.reshape(q.shape + (1,) * (lined.ndim - 1))
    below, above = getitem(lined, low), getitem(lined, np.minimum(low + 1, n - 1))
    y = where(part == 0, below, below + (above - below) * part)
    y = where(isnan(lined[-1]), np.nan, y)  # sorting puts NaN last
    if as_flag("keepdims", keepdims):
        y = reshape(y, (*q.shape, *kept(lined[-1], x.shape, axis, False).shape))
    return y


@composite
def percentile(x: Array, q: Any, axis: Axis = None, keepdims: bool = False) -> Array:
    """:func:`quantile` with q in percent."""
    return quantile(x, xp().true_divide(numbers(q, "quantile"), 100), axis, keepdims)


@composite
def median(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The middle element in ascending order, or the mean of the two middle ones."""
    return quantile(x, 0.5, axis, keepdims)
