"""Joining arrays, and cutting them apart."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..autograd import Variable, composite
from ..autograd.operands import as_operand
from ..backend import Array, is_array, result_dtype, xp
from .axes import one_axis
from .index import plain
from .shape import broadcast_to, concatenate, moveaxis, ravel, reshape, split

if TYPE_CHECKING:
    from ..autograd.signatures import Listed, Mixed, Operand


def operands(name: str, xs: Any) -> list[Any]:
    """Several arguments as arrays and tensors.

    Raises:
        ValueError: there are none.
        TypeError: one of them is neither a number, an array nor a tensor.
    """
    if isinstance(xs, str) or not hasattr(xs, "__iter__"):
        raise TypeError(f"{name} takes a list of arrays; got {type(xs).__name__}")
    if isinstance(xs, Variable) or is_array(xs):
        xs = [xs[k] for k in range(len(xs))]
    xs = list(xs)
    if not xs:
        raise ValueError(f"{name} needs at least one array; got none")
    beside = [plain(x) for x in xs if isinstance(x, Variable) or is_array(x)]
    return [
        x if isinstance(x, Variable) else _array(as_operand(x, beside, name), beside) for x in xs
    ]


def _array(value: Any, beside: list[Any]) -> Any:
    """An array; a Python number does not decide the dtype."""
    return xp(*beside).asarray(value, result_dtype(*beside) if isinstance(value, float) else None)


def atleast_1d(*xs: Operand) -> Mixed:
    """With at least one axis: a number becomes a vector. Several arguments give a tuple."""
    return _each("atleast_1d", xs, lambda x: x if x.ndim else reshape(x, (1,)))


def atleast_2d(*xs: Operand) -> Mixed:
    """With at least two axes: a vector becomes a row. Several arguments give a tuple."""
    return _each("atleast_2d", xs, _rows)


def atleast_3d(*xs: Operand) -> Mixed:
    """With at least three axes: (n,) as (1, n, 1), (m, n) as (m, n, 1). Several give a tuple."""
    return _each("atleast_3d", xs, lambda x: x if x.ndim > 2 else reshape(x, (*_rows(x).shape, 1)))


def _listed(function: Callable[[Any], Any]) -> Listed:
    """The function itself, typed as a function of a list."""
    return cast("Listed", function)


def _rows(x: Any) -> Any:
    return x if x.ndim > 1 else reshape(x, (1, -1))


def _each(name: str, xs: Sequence[Any], f: Any) -> Any:
    made = tuple([f(x) for x in operands(name, xs)])
    return made[0] if len(made) == 1 else made


@_listed
def vstack(xs: Any) -> Any:
    """Joined along axis 0: vectors become rows."""
    return concatenate([_rows(x) for x in operands("vstack", xs)], axis=0)


@_listed
def hstack(xs: Any) -> Any:
    """Joined along axis 1, or axis 0 for vectors."""
    parts = [x if x.ndim else reshape(x, (1,)) for x in operands("hstack", xs)]
    return concatenate(parts, axis=0 if parts[0].ndim == 1 else 1)


@_listed
def dstack(xs: Any) -> Any:
    """Joined along axis 2: (n,) is taken as (1, n, 1), (m, n) as (m, n, 1)."""
    return concatenate([atleast_3d(x) for x in operands("dstack", xs)], axis=2)


@_listed
def column_stack(xs: Any) -> Any:
    """Joined along axis 1: vectors become columns."""
    parts = operands("column_stack", xs)
    return concatenate([x if x.ndim > 1 else reshape(x, (-1, 1)) for x in parts], axis=1)


@composite
def append(x: Array, values: Any, axis: int | None = None) -> Array:
    """``values`` appended to x along an axis; without an axis both are flattened."""
    x, values = operands("append", [x, values])
    if axis is None:
        x, values, axis = ravel(x), ravel(values), 0
    return concatenate([x, values], axis=axis)


def block(arrays: Any) -> Mixed:
    """An array of blocks, given as nested lists: ``block([[a, b], [c, d]])``."""
    depth, inner = 0, arrays
    while isinstance(inner, list):
        if not inner:
            raise ValueError("block needs at least one array in each list; got an empty one")
        depth, inner = depth + 1, inner[0]
    flat = iter(operands("block", list(_leaves(arrays, depth))))
    made = list(flat)
    ndim = max(depth, *(x.ndim for x in made))
    parts = iter([reshape(x, (1,) * (ndim - x.ndim) + tuple(x.shape)) for x in made])

    def joined(part: Any, level: int) -> Any:
        if level == 0:
            return next(parts)
        return concatenate([joined(p, level - 1) for p in part], axis=ndim - level)

    return joined(arrays, depth)


def _leaves(part: Any, depth: int) -> Any:
    """The arrays of nested lists, in order."""
    if isinstance(part, list) != (depth > 0):
        raise ValueError("block needs lists that are nested equally deep")
    if not depth:
        yield part
    for inner in part if depth else ():
        yield from _leaves(inner, depth - 1)


def broadcast_arrays(*xs: Operand) -> tuple[Mixed, ...]:
    """Each array broadcast to their common shape."""
    parts = operands("broadcast_arrays", xs)
    shape = xp().broadcast_shapes(*(x.shape for x in parts))
    return tuple([broadcast_to(x, shape) for x in parts])


def meshgrid(*xs: Operand, indexing: str = "xy", sparse: bool = False) -> tuple[Mixed, ...]:
    """The coordinates of a grid, one array for each vector.

    Args:
        *xs: Vectors of lengths n₁, n₂, …, the coordinates along each axis.
        indexing: ``"xy"`` gives shape (n₂, n₁, …), ``"ij"`` (n₁, n₂, …).
        sparse: Keep length 1 along the axes on which a coordinate does not change.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f'meshgrid takes indexing="xy" or "ij"; got {indexing!r}')
    if not xs:
        return ()
    parts = [ravel(x) for x in operands("meshgrid", xs)]
    axes = list(range(len(parts)))
    if indexing == "xy" and len(parts) > 1:
        axes[:2] = 1, 0
    lined = [
        reshape(x, tuple(-1 if k == axis else 1 for k in range(len(parts))))
        for x, axis in zip(parts, axes, strict=True)
    ]
    return tuple(lined) if sparse else broadcast_arrays(*lined)


@composite
def array_split(x: Array, indices_or_sections: Any, axis: int = 0) -> tuple[Array, ...]:
    """As :func:`split`, but the sections may differ by one in length, the longer ones first."""
    if hasattr(indices_or_sections, "__len__"):
        return split(x, indices_or_sections, axis=axis)
    sections = operator.index(indices_or_sections)
    if sections < 1:
        raise ValueError(f"array_split needs one section or more; got {sections}")
    n, longer = divmod(x.shape[one_axis(axis, x.ndim)], sections)
    cuts = [k * n + min(k, longer) for k in range(1, sections)]
    return split(x, cuts, axis=axis)


@composite
def hsplit(x: Array, indices_or_sections: Any) -> tuple[Array, ...]:
    """Pieces along axis 1, or axis 0 of a vector."""
    return _split_along("hsplit", x, indices_or_sections, 0 if x.ndim == 1 else 1)


@composite
def vsplit(x: Array, indices_or_sections: Any) -> tuple[Array, ...]:
    """Pieces along axis 0, of an array of at least two axes."""
    return _split_along("vsplit", x, indices_or_sections, 0, least=2)


@composite
def dsplit(x: Array, indices_or_sections: Any) -> tuple[Array, ...]:
    """Pieces along axis 2."""
    return _split_along("dsplit", x, indices_or_sections, 2)


def _split_along(name: str, x: Any, parts: Any, axis: int, least: int = 1) -> tuple[Any, ...]:
    least = max(least, axis + 1)
    if x.ndim < least:
        raise ValueError(f"{name} needs {least} axes or more; got shape {tuple(x.shape)}")
    return split(x, parts, axis=axis)


@composite
def rollaxis(x: Array, axis: int, start: int = 0) -> Array:
    """An axis moved to just before the one at ``start``."""
    axis = one_axis(axis, x.ndim)
    start = x.ndim if start == x.ndim else one_axis(start, x.ndim)
    return moveaxis(x, axis, start - (axis < start))
