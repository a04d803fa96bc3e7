"""Choosing, ordering and laying out elements: functions made of indexing and reshaping."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from ..autograd import Variable, composite, primitive
from ..autograd.operands import as_static
from ..backend import Array, default_dtype, xp
from .arithmetic import REALS, minimum, quotient, where
from .axes import Axis, many_axes, one_axis
from .compare import argsort
from .index import getitem, index_set, numbers, plain, scatter_add
from .joining import operands
from .shape import broadcast_to, moveaxis, ravel, reshape, swapaxes

if TYPE_CHECKING:
    from ..autograd.signatures import Mixed, Operand


@composite
def take(x: Array, indices: Any, axis: int | None = None) -> Array:
    """Slices of x along an axis, chosen by integers (of the flattened x without an axis)."""
    indices = plain(indices)
    indices = xp(indices).asarray(indices)
    if axis is None:
        return getitem(ravel(x), indices)
    return getitem(x, (*[slice(None)] * one_axis(axis, x.ndim), indices))


@composite
def take_along_axis(x: Array, indices: Any, axis: int | None = -1) -> Array:
    """y[.., i, ..] = x[.., indices[.., i, ..], ..] along an axis (PyTorch's ``gather``).

    Without an axis x is flattened. Along the other axes the two broadcast, or ``indices`` may be
    shorter.
    """
    if axis is None:
        x, axis = ravel(x), 0
    return getitem(x, _lines(x, indices, axis))


def _lines(x: Any, indices: Any, axis: int) -> tuple[Any, ...]:
    """The index of positions along an axis, with separate positions for each line."""
    indices = plain(indices)
    np, axis = xp(indices), one_axis(axis, x.ndim)
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"positions along an axis are integers; got dtype {indices.dtype}")
    if np.ndim(indices) != x.ndim:
        raise ValueError(
            f"positions along an axis need as many axes as x ({x.ndim}); got {np.ndim(indices)}"
        )
    index = []
    for k, (n, m) in enumerate(zip(x.shape, indices.shape, strict=True)):
        line = [-1 if k == j else 1 for j in range(x.ndim)]
        index.append(np.arange(n if 1 in (n, m) else m).reshape(line))
    index[axis] = indices
    return tuple(index)


@composite
def sort(x: Array, axis: int | None = -1) -> Array:
    """The values in ascending order along an axis; ȳ goes back to their old places."""
    if axis is None:
        x, axis = ravel(x), 0
    return take_along_axis(x, argsort(x, axis=axis), axis)


@composite
def topk(x: Array, k: int, axis: int = -1) -> tuple[Array, Array]:
    """The k largest along an axis, in descending order, and their positions.

    Equal ones keep their order; NaN counts as largest, as in ``max``.

    Raises:
        ValueError: k is negative or larger than the axis.
    """
    n = x.shape[one_axis(axis, x.ndim)]
    if not 0 <= k <= n:
        raise ValueError(f"topk needs 0 <= k <= {n}, the length of axis {axis}; got {k}")
    order = n - 1 - argsort(flip(x, axis), axis=axis)  # so that equal ones come in reverse order
    descending = moveaxis(flip(order, axis), axis, -1)
    positions = moveaxis(descending[..., :k], -1, axis)
    return take_along_axis(x, positions, axis), positions


@composite
def flip(x: Array, axis: Axis = None) -> Array:
    """The elements in reverse order along one axis, several, or all; a view."""
    flipped = many_axes(axis, x.ndim)
    return getitem(x, tuple(slice(None, None, -1 if k in flipped else 1) for k in range(x.ndim)))


@composite
def roll(x: Array, shift: Any, axis: Any = None) -> Array:
    """The elements shifted by ``shift`` along an axis (or several), wrapping around the end."""
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    shifts, axes = xp().broadcast_arrays(shift, axis)
    for step, k in zip(shifts.flat, axes.flat, strict=True):
        n = x.shape[one_axis(k, x.ndim)]
        x = take(x, (xp().arange(n) - step) % n if n else xp().arange(0), int(k))
    return x


@composite
def repeat(x: Array, repeats: Any, axis: int | None = None) -> Array:
    """Each element (or slice along an axis) repeated ``repeats`` times."""
    if axis is None:
        x, axis = ravel(x), 0
    positions = xp().arange(x.shape[one_axis(axis, x.ndim)])
    return take(x, xp().repeat(positions, numbers(repeats, "repeat")), axis)


@composite
def tile(x: Array, reps: Any) -> Array:
    """x repeated as a whole, ``reps`` times along each axis."""
    counts = tuple(reps) if isinstance(reps, (tuple, list)) else (operator.index(reps),)
    ndim = max(x.ndim, len(counts))
    counts = (1,) * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - x.ndim) + tuple(x.shape)
    between = tuple(n for length in shape for n in (1, length))
    spread = tuple(n for pair in zip(counts, shape, strict=True) for n in pair)
    result = tuple(c * n for c, n in zip(counts, shape, strict=True))
    return reshape(broadcast_to(reshape(x, between), spread), result)


@composite
def pad(x: Array, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Array:
    """x with a border: a constant, or its own elements (``edge``, ``reflect``, ``wrap``, ...).

    Args:
        x: Any shape.
        pad_width: As in NumPy: n, (before, after), or one such pair per axis.
        mode: ``constant``, or a mode of ``numpy.pad`` that repeats elements.
        constant_values: The constant, or as in ``pad_width`` one for each border.
    """
    if isinstance(pad_width, dict):  # by axis
        pad_width = [pad_width.get(k, pad_width.get(k - x.ndim, 0)) for k in range(x.ndim)]
        pad_width = [width if isinstance(width, tuple) else (width, width) for width in pad_width]
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise ValueError(
            f"pad mode must be constant, edge, reflect, symmetric or wrap; got {mode!r}"
        )
    if mode != "constant":
        return getitem(ravel(x), xp().pad(xp().arange(x.size).reshape(x.shape), pad_width, mode))
    widths = xp().broadcast_to(pad_width, (x.ndim, 2)).tolist()
    inside = tuple(
        slice(before, before + n) for (before, _), n in zip(widths, x.shape, strict=True)
    )
    border = xp(plain(x)).zeros(x.shape, x.dtype)
    constants = plain(as_static("pad's constant_values", constant_values))
    return index_set(xp(border).pad(border, widths, constant_values=constants), inside, x)


@primitive
def tril(x: Array, /, k: int = 0) -> Array:
    """The lower triangle (up to the k-th diagonal), zeros above."""
    return xp(x).where(xp(x).tri(*x.shape[-2:], k=k, dtype=bool), x, x.dtype.type(0))


tril.defvjp(x=lambda g, k: tril(g, k))
tril.domain(x=REALS)


@primitive
def triu(x: Array, /, k: int = 0) -> Array:
    """The upper triangle (from the k-th diagonal on), zeros below."""
    return xp(x).where(xp(x).tri(*x.shape[-2:], k=k - 1, dtype=bool), x.dtype.type(0), x)


triu.defvjp(x=lambda g, k: triu(g, k))
triu.domain(x=REALS)


@composite
def diagonal(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The elements x[i, i + offset] of two axes, as a last axis."""
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    n = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    i = xp().arange(n)
    return getitem(x, (..., i + max(-offset, 0), i + max(offset, 0)))


@composite
def diag(x: Array, k: int = 0) -> Array:
    """The k-th diagonal of a matrix, or a matrix with a vector on it."""
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"diag takes a vector or a matrix; got shape {x.shape}")
    n = x.shape[0] + abs(k)
    i = xp().arange(x.shape[0])
    return scatter_add(x, (i + max(-k, 0), i + max(k, 0)), (n, n))


@composite
def fliplr(x: Array) -> Array:
    """The columns in reverse order (axis 1)."""
    return flip(x, 1)


@composite
def flipud(x: Array) -> Array:
    """The rows in reverse order (axis 0)."""
    return flip(x, 0)


@composite
def rot90(x: Array, k: int = 1, axes: Any = (0, 1)) -> Array:
    """x rotated k times by 90°, from the first of two axes towards the second."""
    first, second = many_axes(axes, x.ndim)
    turns = operator.index(k) % 4
    if turns == 2:
        return flip(x, (first, second))
    if turns == 1:
        x = flip(x, second)
    x = swapaxes(x, first, second) if turns else x
    return flip(x, second) if turns == 3 else x


@composite
def put_along_axis(x: Array, indices: Any, values: Any, axis: int | None = -1) -> Array:
    """x with values at ``indices`` of an axis, as a new tensor: see :func:`take_along_axis`.

    NumPy's function writes into its argument. At a repeated position the last value wins.
    """
    if axis is None:
        return reshape(put_along_axis(ravel(x), indices, values, 0), x.shape)
    return index_set(x, _lines(x, indices, axis), values)


def select(condlist: Any, choicelist: Any, default: Operand = 0) -> Mixed:
    """For each element, the choice of the first condition that holds, else the default."""
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(
            f"select needs a choice for each condition, and one or more; got {len(condlist)} "
            f"conditions and {len(choicelist)} choices"
        )
    y = default
    for k in reversed(range(len(condlist))):
        kind = getattr(getattr(condlist[k], "dtype", None), "kind", type(condlist[k]))
        if kind not in ("b", bool):
            raise TypeError(f"select takes boolean conditions; got one of {kind}")
        y = where(condlist[k], choicelist[k], y)
    return y


@composite
def interp(x: Array, xp_: Any, fp: Any, left: Any = None, right: Any = None) -> Array:
    """Linear interpolation between points; constant outside them.

    Args:
        x: Where to interpolate.
        xp_: The points' positions, ascending; a vector.
        fp: The values at the points.
        left: The value before the first point; that of the first point by default.
        right: The value after the last point; that of the last point by default.
    """
    xs, ys = operands("interp", [xp_, fp])
    if isinstance(x, Variable):
        xs, ys = (v if isinstance(v, Variable) else x._wrap(v) for v in (xs, ys))
    if xs.ndim != 1 or xs.shape != ys.shape or not xs.shape[0]:
        raise ValueError(f"interp needs two vectors of one length; got {xs.shape} and {ys.shape}")
    i = interval(x, xs)
    j = minimum(i + 1, xs.shape[0] - 1)
    x0, x1, y0, y1 = (getitem(v, k) for v, k in ((xs, i), (xs, j), (ys, i), (ys, j)))
    inside = (x0 <= x) & (x < x1)
    y = y0 + where(inside, x - x0, 0.0) * quotient(y1 - y0, x1 - x0)
    y = where(x < xs[0], ys[0] if left is None else left, y)
    y = where(x == xs[-1], ys[-1], y)
    return where(x > xs[-1], ys[-1] if right is None else right, y)


@primitive
def interval(x: Array, xs: Array, /) -> Array:
    """The position of the last of the ascending ``xs``, but the very last, that is at most x."""
    np = xp(x, xs)
    return np.clip(np.searchsorted(xs, x, side="right") - 1, 0, max(len(xs) - 2, 0))


@composite
def evenly_spaced(
    start: Array, stop: Any, num: int = 50, endpoint: bool = True, axis: int = 0
) -> Array:
    """``num`` values from start to stop, as ``numpy.linspace``; for arrays, along a new axis."""
    if operator.index(num) < 0:
        raise ValueError(f"linspace takes num >= 0 values; got {num}")
    start, stop = operands("linspace", [start, stop])
    ndim = max(start.ndim, stop.ndim)
    like = start if start.dtype.kind == "f" else stop
    dtype = like.dtype if like.dtype.kind == "f" else default_dtype()
    steps = xp(plain(start)).arange(num, dtype=dtype) / max(num - endpoint, 1)
    steps = reshape(steps, (-1, *(1,) * ndim))
    return moveaxis(start * (1 - steps) + stop * steps, 0, axis)
