"""Choosing, ordering and laying out elements: functions made of indexing and reshaping."""

from __future__ import annotations

import operator
from typing import Any

from ..autograd import composite
from ..backend import xp
from .arithmetic import where
from .axes import Axis, many_axes, one_axis
from .compare import argsort
from .index import getitem, index_set, plain, scatter_add
from .shape import broadcast_to, concatenate, moveaxis, ravel, reshape


@composite
def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Slices of x along an axis, chosen by integers (of the flattened x without an axis)."""
    indices = plain(indices)
    indices = xp(indices).asarray(indices)
    if axis is None:
        return getitem(ravel(x), indices)
    return getitem(x, (*[slice(None)] * one_axis(axis, x.ndim), indices))


@composite
def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    """y[.., i, ..] = x[.., indices[.., i, ..], ..] along an axis (PyTorch's ``gather``).

    Along the other axes the two broadcast, or ``indices`` may be shorter.
    """
    indices = plain(indices)
    np, axis = xp(indices), one_axis(axis, x.ndim)
    if np.ndim(indices) != x.ndim:
        raise ValueError(
            f"take_along_axis needs indices with as many axes as x ({x.ndim}); "
            f"got {np.ndim(indices)}"
        )
    index = []
    for k, (n, m) in enumerate(zip(x.shape, indices.shape, strict=True)):
        line = [-1 if k == j else 1 for j in range(x.ndim)]
        index.append(np.arange(n if 1 in (n, m) else m).reshape(line))
    index[axis] = indices
    return getitem(x, tuple(index))


@composite
def sort(x: Any, axis: int | None = -1) -> Any:
    """The values in ascending order along an axis; ȳ goes back to where each came from."""
    if axis is None:
        x, axis = ravel(x), 0
    return take_along_axis(x, argsort(x, axis=axis), axis)


@composite
def topk(x: Any, k: int, axis: int = -1) -> tuple[Any, Any]:
    """The k largest along an axis, in descending order, and their positions.

    Of equal ones the first comes first; NaN counts as largest, as in ``max``.

    Raises:
        ValueError: k is negative or larger than the axis.
    """
    n = x.shape[one_axis(axis, x.ndim)]
    if not 0 <= k <= n:
        raise ValueError(f"topk needs 0 <= k <= {n}, the length of axis {axis}; got {k}")
    order = n - 1 - argsort(flip(x, axis), axis=axis)  # so that of equal ones the first is last
    descending = moveaxis(flip(order, axis), axis, -1)
    positions = moveaxis(descending[..., :k], -1, axis)
    return take_along_axis(x, positions, axis), positions


@composite
def flip(x: Any, axis: Axis = None) -> Any:
    """The elements in reverse order along an axis, several, or all; a view."""
    flipped = many_axes(axis, x.ndim)
    return getitem(x, tuple(slice(None, None, -1 if k in flipped else 1) for k in range(x.ndim)))


@composite
def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """The elements moved on by ``shift`` along an axis (or several); what falls off comes first."""
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    shifts, axes = xp().broadcast_arrays(shift, axis)
    for step, k in zip(shifts.flat, axes.flat, strict=True):
        n = x.shape[one_axis(k, x.ndim)]
        x = take(x, (xp().arange(n) - step) % n if n else xp().arange(0), int(k))
    return x


@composite
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each element (or slice along an axis) ``repeats`` times in a row."""
    if axis is None:
        x, axis = ravel(x), 0
    positions = xp().arange(x.shape[one_axis(axis, x.ndim)])
    return take(x, xp().repeat(positions, plain(repeats)), axis)


@composite
def tile(x: Any, reps: Any) -> Any:
    """x laid out ``reps`` times along each axis."""
    counts = tuple(reps) if isinstance(reps, (tuple, list)) else (operator.index(reps),)
    ndim = max(x.ndim, len(counts))
    counts = (1,) * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - x.ndim) + tuple(x.shape)
    between = tuple(n for length in shape for n in (1, length))
    spread = tuple(n for pair in zip(counts, shape, strict=True) for n in pair)
    result = tuple(c * n for c, n in zip(counts, shape, strict=True))
    return reshape(broadcast_to(reshape(x, between), spread), result)


@composite
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Any:
    """x with a border: a constant, or its own elements (``edge``, ``reflect``, ``wrap``, ...).

    Args:
        x: Any shape.
        pad_width: As in NumPy: n, (before, after), or one such pair per axis.
        mode: ``constant``, or a mode of ``numpy.pad`` that repeats elements.
        constant_values: The constant.
    """
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise ValueError(
            f"pad mode must be constant, edge, reflect, symmetric or wrap; got {mode!r}"
        )
    if mode != "constant":
        return getitem(ravel(x), xp().pad(xp().arange(x.size).reshape(x.shape), pad_width, mode))
    widths = xp().broadcast_to(pad_width, (x.ndim, 2)).tolist()
    shape = tuple(before + n + after for (before, after), n in zip(widths, x.shape, strict=True))
    inside = tuple(
        slice(before, before + n) for (before, _), n in zip(widths, x.shape, strict=True)
    )
    border = xp(plain(x)).full(shape, constant_values, x.dtype)
    return index_set(border, inside, x)


@composite
def tril(x: Any, k: int = 0) -> Any:
    """The lower triangle (up to the k-th diagonal), zeros above."""
    return where(xp(plain(x)).tri(*x.shape[-2:], k=k, dtype=bool), x, x.dtype.type(0))


@composite
def triu(x: Any, k: int = 0) -> Any:
    """The upper triangle (from the k-th diagonal on), zeros below."""
    return where(xp(plain(x)).tri(*x.shape[-2:], k=k - 1, dtype=bool), x.dtype.type(0), x)


@composite
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The elements x[i, i + offset] of two axes, as a last axis."""
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    n = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    i = xp().arange(n)
    return getitem(x, (..., i + max(-offset, 0), i + max(offset, 0)))


@composite
def diag(x: Any, k: int = 0) -> Any:
    """The k-th diagonal of a matrix, or a matrix with a vector on it."""
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"diag takes a vector or a matrix; got shape {x.shape}")
    n = x.shape[0] + abs(k)
    i = xp().arange(x.shape[0])
    return scatter_add(x, (i + max(-k, 0), i + max(k, 0)), (n, n))


def vstack(xs: Any) -> Any:
    """Rows below one another: vectors become rows."""
    rows = [reshape(x, (1, -1)) if xp(plain(x)).ndim(plain(x)) < 2 else x for x in xs]
    return concatenate(rows, axis=0)


def hstack(xs: Any) -> Any:
    """Side by side: along axis 1, or axis 0 for vectors."""
    parts = [reshape(x, (1,)) if xp(plain(x)).ndim(plain(x)) == 0 else x for x in xs]
    return concatenate(parts, axis=0 if plain(parts[0]).ndim == 1 else 1)
