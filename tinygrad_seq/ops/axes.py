"""Axes given as None, an int or several, also negative, converted to numbers from 0."""

from __future__ import annotations

import operator
from typing import Any, TypeAlias

from ..backend import AxisError

Axis: TypeAlias = "int | tuple[int, ...] | None"


def one_axis(axis: Any, ndim: int) -> int:
    """An axis as a number from 0.

    Raises:
        AxisError: there is no such axis.
    """
    k = operator.index(axis)
    if not -ndim <= k < ndim:
        raise AxisError(f"axis {k} is out of bounds for {ndim} dimensions")
    return k % ndim


def many_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes (all, one or several) as numbers from 0, in the order given.

    Raises:
        AxisError: there is no such axis.
        ValueError: an axis is given twice.
    """
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = tuple(one_axis(k, ndim) for k in given)
    if len(set(axes)) != len(axes):
        raise ValueError(f"an axis is given twice: {tuple(given)}")
    return axes
