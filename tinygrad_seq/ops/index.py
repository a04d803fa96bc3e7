"""Choosing elements and putting them back. Taking and adding are each other's rule:

y = x[index]                    x̄ = 0 everywhere, then x̄[index] += ȳ
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..autograd import Variable, elementwise, primitive
from ..autograd.observe import looked, replaceable
from ..autograd.operands import on_host
from ..backend import Array, backend_of, default_dtype, is_array, narrowed, wider, xp
from .arithmetic import REALS, where

if TYPE_CHECKING:
    from ..autograd.signatures import Index, Mixed, Operand


def plain(index: Any) -> Any:
    """An index with tensors and lists in it replaced by arrays."""
    if isinstance(index, tuple):
        return tuple([plain(part) for part in index])
    if isinstance(index, Variable):
        return index._data
    if isinstance(index, list):
        parts = (numbers(part, "an index") for part in index)
        array = xp().asarray([on_host(part) if is_array(part) else part for part in parts])
        return array if array.size else array.astype(int)
    return index


def numbers(x: Any, how: str) -> Any:
    """:func:`plain` of x, noted as read: a cell that reads values may branch on them."""
    looked(x, how)
    return plain(x)


def is_basic(index: Any) -> bool:
    """Whether an index has only ints, slices, None and Ellipsis, so that no element repeats."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is ... or type(part) in (int, slice) for part in parts)


@primitive
def getitem(x: Array, /, index: Index) -> Array:
    """x[index] in every NumPy form; a view for slices, a copy for masks and integer arrays."""
    return x[backend_of(x).index(index, x.shape)]


getitem.domain(x=REALS)


@primitive
def scatter_add(x: Array, /, index: Any, shape: tuple[int, ...]) -> Array:
    """Zeros of the given shape with x added at index; repeated positions add up."""
    return _added(xp(x).zeros(shape, x.dtype), index, x)


def _added(y: Array, index: Any, v: Any) -> Array:
    """v added to y at index, in place; float16 is summed in float32, in another array."""
    wide = wider(y) if y.dtype.kind == "f" else y
    _add_at(wide, xp(y).asarray(v, wide.dtype), index)
    return narrowed(wide, y)


def _add_at(y: Array, v: Array, index: Any) -> None:
    """Add v to y at index, in place."""
    backend = backend_of(y)
    if is_basic(index):
        y[index] += v
    else:
        backend.scatter_add(y, backend.index(index, y.shape), v)


getitem.defvjp(x=lambda g, index, x_shape: scatter_add(g, index, x_shape))
getitem.accumulate(x=lambda total, g, index, x_shape: _add_at(total, g, index))
scatter_add.defvjp(x=lambda g, index: getitem(g, index))
scatter_add.domain(x=REALS)


@primitive
def set_at(x: Array, v: Array, /, index: Any) -> Array:
    """A copy of x with v at index; at a repeated position the last value wins."""
    backend = backend_of(x, v)
    y = backend.np.array(x)
    backend.assign(y, backend.index(index, y.shape), v)
    return y


def _set_at_rule(g: Any, v_shape: tuple[int, ...], index: Any) -> Any:
    """ȳ at index for the values that won: only the last one of a repeated position."""
    taken = getitem(g, index)
    if not is_basic(index):
        taken = where(lasting(g, index), taken, 0.0)
    extra = len(v_shape) - taken.ndim  # NumPy allows v to have extra leading axes of length 1
    return getitem(taken, (None,) * extra) if extra > 0 else taken


@primitive
def lasting(x: Array, /, index: Any) -> Array:
    """Of each element of x[index], whether its position does not come again after it."""
    backend = backend_of(x)
    np, index = backend.np, backend.index(index, x.shape)
    order = np.arange(x[index].size).reshape(x[index].shape)
    winner = np.zeros(x.shape, order.dtype)
    backend.assign(winner, index, order)
    return winner[index] == order


set_at.defvjp(x=lambda g, index: set_at(g, 0.0, index), v=_set_at_rule)
set_at.domain(x=REALS, v=REALS)


@primitive
def add_at(x: Array, v: Array, /, index: Any) -> Array:
    """A copy of x with v added at index; repeated positions add up."""
    backend = backend_of(x, v)
    return _added(backend.np.array(x), index, v)


add_at.defvjp(x=lambda g: g, v=lambda g, index: getitem(g, index))
add_at.domain(x=REALS, v=REALS)


def index_set(x: Operand, index: Index, v: Operand) -> Mixed:
    """x with v at index, as a new tensor: the functional form of ``x[index] = v``.

    Raises:
        TypeError: v is floating and x is not: v would be truncated to integers.
    """
    _check_kinds("index_set", x, v)
    return set_at(x, v, index)


def index_add(x: Operand, index: Index, v: Operand) -> Mixed:
    """x with v added at index, as a new tensor; repeated positions add up.

    Raises:
        TypeError: v is floating and x is not: v would be truncated to integers.
    """
    _check_kinds("index_add", x, v)
    return add_at(x, v, index)


def _check_kinds(name: str, x: Any, v: Any) -> None:
    np = xp(plain(x), plain(v))
    kinds = [np.asarray(plain(value)).dtype for value in (x, v)]
    if kinds[0].kind != "f" and kinds[1].kind == "f":
        raise TypeError(
            f"{name} of {kinds[1]} values into a target of {kinds[0]} would cut them to integers: "
            "convert it first, x.astype(v.dtype)"
        )


@elementwise
def ids_below(x: Array, /, size: int, says: str = "ids") -> Array:
    """Integers within 0..size-1, as int64.

    Raises:
        IndexError: one is out of range; the message names the first, and its position.
    """
    host = on_host(x)
    if host.size and (host.min() < 0 or host.max() >= size):
        where = tuple([int(i) for i in xp(host).argwhere((host < 0) | (host >= size))[0]])
        raise IndexError(f"{says} from 0 to {size - 1}; got {host[where]} at index {where}")
    return x.astype("int64", copy=False)


@primitive
def chosen(x: Array, /, size: int, dtype: Any) -> Array:
    """1 or True at each of the integers, 0 or False elsewhere: shape (..., size)."""
    np = xp(x)
    return (np.asarray(x)[..., None] == np.arange(size)).astype(dtype)


@replaceable
def one_hot(indices: Any, num_classes: int, dtype: Any = None) -> Mixed:
    """1 at each index, 0 elsewhere: shape (..., num_classes).  It has no gradient.

    A tensor of indices gives a tensor, an array or a list an array.

    Raises:
        IndexError: an index lies outside [0, num_classes).
        TypeError: the indices are no integers.
    """
    array, known = plain(indices), isinstance(indices, Variable)
    ids = indices if known else xp(array).asarray(array)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"one_hot needs integer indices; got dtype {ids.dtype}")
    ids = ids_below(ids, num_classes, "one_hot expects indices")
    return chosen(ids, num_classes, dtype or default_dtype())
