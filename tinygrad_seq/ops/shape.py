"""Changes of shape: they only move values, so every rule only moves gradients back."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from ..autograd import composite, elementwise, primitive
from ..backend import Array, backend_named, backend_of, xp
from .arithmetic import REALS
from .axes import Axis, many_axes, one_axis
from .index import plain

if TYPE_CHECKING:
    from ..autograd.signatures import DType, Shape


@primitive
def reshape(x: Array, /, shape: Shape) -> Array:
    """The elements in the same order in another shape; one length may be -1."""
    return xp(x).reshape(x, shape)


reshape.defvjp(x=lambda g, x_shape: reshape(g, x_shape))
reshape.domain(x=REALS)


@primitive
def transpose(x: Array, /, axes: Sequence[int] | None = None) -> Array:
    """Axes in another order (reversed by default).  y_{axes(i)} = x_i, a view."""
    return xp(x).transpose(x, axes)


def _transpose_rule(g: Any, axes: Sequence[int] | None) -> Any:
    if axes is None:
        return transpose(g)
    inverse = sorted(range(len(axes)), key=lambda k: axes[k] % len(axes))
    return transpose(g, tuple(inverse))


transpose.defvjp(x=_transpose_rule)
transpose.domain(x=REALS)


@primitive
def broadcast_to(x: Array, /, shape: Shape) -> Array:
    """x repeated along new axes and axes of length 1, a view.  x̄ sums over the repeats."""
    return xp(x).broadcast_to(x, shape)


broadcast_to.defvjp(x=lambda g: g)  # the engine undoes broadcasting
broadcast_to.domain(x=REALS)


@primitive
def astype(x: Array, /, dtype: DType) -> Array:
    """The values in another dtype.  x̄ has the dtype of x; an integer result has no gradient."""
    if xp(x).dtype(dtype).kind not in "fiub":
        raise TypeError(f"astype takes a float, integer or boolean dtype; got {dtype!r}")
    return xp(x).asarray(x).astype(dtype)


astype.defvjp(x=lambda g: g)  # the engine keeps dtypes
astype.domain(x=REALS, analytic=False)


@elementwise
def to(x: Array, /, backend: str = "numpy") -> Array:
    """A copy of the values on another backend.  x̄ moves back to that of x."""
    if not isinstance(backend, str):
        raise TypeError(f"to takes the name of a backend; got {backend!r}: astype(dtype) converts")
    source, target = backend_of(x), backend_named(backend)
    return x.copy() if source is target else target.from_host(source.to_host(x))


to.defvjp(x=lambda g, x: to(g, backend_of(plain(x)).name))
to.domain(x=REALS, analytic=False)


@primitive
def concatenate(*xs: Array, axis: int = 0) -> Array:
    """Arrays one after another along an axis: ``concatenate([a, b], axis=0)``."""
    if axis is None:
        raise ValueError("concatenate needs an axis: ravel() the arrays first to join them flat")
    return xp(*xs).concatenate(xs, axis=axis)


def _concatenate_rule(g: Any, xs_shape: Any, axis: int) -> Any:
    return split(g, list(accumulate(shape[axis] for shape in xs_shape))[:-1], axis)


concatenate.defvjp(xs=_concatenate_rule)
concatenate.domain(xs=REALS)


@primitive
def stack(*xs: Array, axis: int = 0) -> Array:
    """Arrays of one shape along a new axis: ``stack([a, b], axis=0)``."""
    return xp(*xs).stack(xs, axis=axis)


stack.domain(xs=REALS)


@primitive
def unstack(x: Array, /, axis: int = 0) -> tuple[Array, ...]:
    """The slices along an axis, as a tuple: the inverse of :func:`stack`."""
    return tuple(x if axis == 0 else xp(x).moveaxis(x, axis, 0))


stack.defvjp(xs=lambda g, axis: unstack(g, axis=axis))
unstack.defvjp(x=lambda g, axis: stack(g, axis=axis))
unstack.domain(x=REALS)


@primitive
def split(x: Array, /, indices_or_sections: Any, axis: int = 0) -> tuple[Array, ...]:
    """Consecutive pieces along an axis, equal or cut at the given indices, as a tuple."""
    x = xp(x).asarray(x)
    axis = one_axis(axis, x.ndim)
    length = x.shape[axis]
    if hasattr(indices_or_sections, "__len__"):
        cuts = [0, *indices_or_sections, length]
    else:
        sections = operator.index(indices_or_sections)
        if sections < 1 or length % sections:
            raise ValueError(f"axis {axis}, of length {length}, has no {sections} equal sections")
        cuts = [k * (length // sections) for k in range(sections + 1)]
    after = (slice(None),) * (x.ndim - 1 - axis)
    return tuple([x[(..., slice(a, b), *after)] for a, b in pairwise(cuts)])


split.defvjp(x=lambda g, axis: concatenate(g, axis=axis))
split.domain(x=REALS)


@composite
def swapaxes(x: Array, axis1: int, axis2: int) -> Array:
    """Two axes exchanged, a view."""
    j, k = one_axis(axis1, x.ndim), one_axis(axis2, x.ndim)
    axes = list(range(x.ndim))
    axes[j], axes[k] = k, j
    return transpose(x, tuple(axes))


@composite
def matrix_transpose(x: Array) -> Array:
    """The last two axes exchanged, a view."""
    return swapaxes(x, -1, -2)


@composite
def moveaxis(x: Array, source: Shape, destination: Shape) -> Array:
    """Axes moved to other positions, the rest in their order, a view."""
    sources, targets = many_axes(source, x.ndim), many_axes(destination, x.ndim)
    if len(sources) != len(targets):
        raise ValueError(f"moveaxis needs as many sources as destinations: {source}, {destination}")
    axes = [k for k in range(x.ndim) if k not in sources]
    for target, k in sorted(zip(targets, sources, strict=True)):
        axes.insert(target, k)
    return transpose(x, tuple(axes))


@composite
def expand_dims(x: Array, axis: Shape) -> Array:
    """New axes of length 1 at the given positions of the result."""
    ndim = x.ndim + (len(axis) if isinstance(axis, (tuple, list)) else 1)
    new, old = many_axes(axis, ndim), iter(x.shape)
    return reshape(x, tuple(1 if k in new else next(old) for k in range(ndim)))


@composite
def squeeze(x: Array, axis: Axis = None) -> Array:
    """Without axes of length 1: the given ones, or all.

    Raises:
        ValueError: a given axis has another length.
    """
    axes = [k for k, n in enumerate(x.shape) if n == 1] if axis is None else many_axes(axis, x.ndim)
    for k in axes:
        if x.shape[k] != 1:
            raise ValueError(f"cannot squeeze axis {k} of length {x.shape[k]} (shape {x.shape})")
    return reshape(x, tuple(n for k, n in enumerate(x.shape) if k not in axes))


@composite
def ravel(x: Array) -> Array:
    """All elements in one axis."""
    return reshape(x, (-1,))
