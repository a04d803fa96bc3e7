"""Reductions along axes: None (all elements), an int, or a tuple.

A rule first restores the reduced axes of the gradient (``kept``); broadcasting does the rest.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd import composite, primitive
from ..autograd.operands import as_flag, in_single
from ..backend import Array, backend_of, narrowed, wider, xp
from .arithmetic import (
    AWAY_FROM_0,
    REALS,
    absolute,
    multiply,
    power,
    quotient,
    sign,
    slope_at_origin,
    where,
)
from .arrange import diagonal, flip
from .axes import Axis, many_axes, one_axis
from .compare import argmax, argmin
from .index import chosen, getitem
from .shape import astype, broadcast_to, concatenate, moveaxis, ravel, reshape


def axes_of(ndim: int, axis: Axis) -> tuple[int, ...]:
    """The reduced axes as numbers from 0; a scalar has none."""
    return many_axes(axis, ndim) if ndim else ()


def kept(g: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    """A reduced value with its reduced axes restored, at length 1."""
    if keepdims:
        return g
    axes = axes_of(len(shape), axis)
    return reshape(g, tuple(1 if k in axes else n for k, n in enumerate(shape)))


def dropped(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The shape after a reduction."""
    axes = axes_of(len(shape), axis)
    return tuple(n for k, n in enumerate(shape) if k not in axes)


def _spread(g: Any, x_shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    """A reduced value, repeated for every element that went into it."""
    return broadcast_to(kept(g, x_shape, axis, keepdims), x_shape)


def _count(shape: tuple[int, ...], axis: Axis) -> int:
    """The number of elements that are reduced to one result."""
    return math.prod(shape[k] for k in axes_of(len(shape), axis))


@primitive
def sum(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Sum.  y = Σ xᵢ,  x̄ᵢ = ȳ."""
    return backend_of(x).sum(x, axis, keepdims)


sum.defvjp(x=_spread)
sum.domain(x=REALS)


@primitive
def mean(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Mean of n elements.  y = 1/n Σ xᵢ,  x̄ᵢ = ȳ / n."""
    return backend_of(x).mean(x, axis, keepdims)


def _mean_rule(g: Any, x_shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    n = _count(x_shape, axis)
    return _spread(g * (1 / n) if n else g, x_shape, axis, keepdims)  # float16 has no n > 65504


mean.defvjp(x=_mean_rule)
mean.domain(x=REALS)


@primitive
def var(x: Array, /, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Array:
    """Variance.  y = Σ (xᵢ - m)² / (n - ddof),  x̄ᵢ = 2 ȳ (xᵢ - m) / (n - ddof),  m = mean x."""
    backend, wide = backend_of(x), wider(x)
    centred = wide - backend.mean(wide, axis, True)
    n = _count(x.shape, axis) - ddof
    return narrowed(backend.sum(centred * centred, axis, keepdims) / n, x)


def _var_rule(g: Any, x: Any, axis: Axis, ddof: float, keepdims: bool) -> Any:
    centred = x - mean(x, axis=axis, keepdims=True)
    return kept(g, x.shape, axis, keepdims) * (centred * 2 / (_count(x.shape, axis) - ddof))


var.defvjp(x=_var_rule)
var.domain(x=REALS)


@primitive
def std(x: Array, /, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Array:
    """Standard deviation.  y = √var x,  x̄ᵢ = ȳ (xᵢ - m) / ((n - ddof) y), 0 where all xᵢ agree."""
    backend, wide = backend_of(x), wider(x)
    centred = wide - backend.mean(wide, axis, True)
    scale = _scale(centred, axis)  # so that squares neither overflow nor underflow
    total = backend.sum(backend.np.square(centred / scale), axis, True)
    y = backend.np.sqrt(total / (_count(x.shape, axis) - ddof)) * scale
    return narrowed(y if keepdims else y.reshape(dropped(x.shape, axis)), x)


def _scale(x: Array, axis: Axis) -> Array:
    """The largest absolute value along axes, 1 where it is 0 or infinite."""
    np = xp(x)
    largest = np.max(np.abs(x), axis=axis, keepdims=True, initial=0)
    return np.where((largest == 0) | ~np.isfinite(largest), 1, largest)


def _std_rule(g: Any, x: Any, y: Any, axis: Axis, ddof: float, keepdims: bool) -> Any:
    slope, n = slope_at_origin(g, y), _count(x.shape, axis) - ddof
    g, y = kept(g, x.shape, axis, keepdims), kept(y, x.shape, axis, keepdims)
    centred = x - mean(x, axis=axis, keepdims=True)
    away = where(y == 0, 0.0, g * (quotient(centred, y) / n))
    return away if slope is None else away + centred * kept(slope / n, x.shape, axis, keepdims)


std.defvjp(x=_std_rule)
std.domain(x=REALS)


@primitive
def max(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Largest element.

    Along one axis the first of equal ones gets all of ȳ; over all elements, or a tuple of axes,
    they share it evenly (as PyTorch's ``max(dim)``, ``max`` and ``amax`` do).
    """
    return xp(x).max(x, axis=axis, keepdims=keepdims)


@primitive
def min(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Smallest element; equal ones as in :func:`max`."""
    return xp(x).min(x, axis=axis, keepdims=keepdims)


def _extreme_rule(arg: Any) -> Any:
    """The rule of max and min: ȳ goes to the chosen elements, found by ``arg``."""

    def rule(g: Any, x: Any, y: Any, axis: Axis, keepdims: bool) -> Any:
        g, y = kept(g, x.shape, axis, keepdims), kept(y, x.shape, axis, keepdims)
        if axis is not None and not isinstance(axis, tuple) and x.ndim:
            first = chosen(arg(x, axis=axis), x.shape[axis], "bool")
            return where(moveaxis(first, -1, axis), g, 0.0)
        equal = x == y
        shares = sum(astype(equal, g.dtype), axis=axis, keepdims=True)
        return where(equal, g / shares, 0.0)

    return rule


max.defvjp(x=_extreme_rule(argmax))
max.domain(x=REALS, analytic=False)
min.defvjp(x=_extreme_rule(argmin))
min.domain(x=REALS, analytic=False)


@primitive
def cumsum(x: Array, /, axis: int | None = None) -> Array:
    """Running sum (of all elements without an axis).  y_t = Σ_{s ≤ t} x_s,  x̄_t = Σ_{s ≥ t} ȳ_s."""
    return narrowed(xp(x).cumsum(wider(x) if x.dtype.kind == "f" else x, axis=axis), x)


def _cumsum_rule(g: Any, x_shape: tuple[int, ...], axis: int | None) -> Any:
    along = 0 if axis is None else axis
    return reshape(flip(cumsum(flip(g, along), along), along), x_shape)


cumsum.defvjp(x=_cumsum_rule)
cumsum.domain(x=REALS)


def _wide(x: Any) -> Any:
    """Integers and booleans as 64-bit integers, as in NumPy's products; floats unchanged."""
    kind = x.dtype.kind
    return x if kind in "fc" else astype(x, "uint64" if kind == "u" else "int64")


def running(op: Any, x: Any, axis: int | None) -> Any:
    """y_t = x_0 ∘ … ∘ x_t for an associative operation, by doubling: log₂ T of them."""
    if axis is None or not x.ndim:
        x, axis = ravel(x), 0
    y, reach, lead = x, 1, (slice(None),) * one_axis(axis, x.ndim)
    while reach < x.shape[axis]:
        head = getitem(y, (*lead, slice(reach)))
        tail = op(getitem(y, (*lead, slice(reach, None))), getitem(y, (*lead, slice(-reach))))
        y, reach = concatenate([head, tail], axis=axis), 2 * reach
    return y


@composite
@in_single
def cumprod(x: Array, axis: int | None = None) -> Array:
    """Running product.  y_t = Π_{s ≤ t} x_s; the gradient is right at zeros too."""
    return running(multiply, _wide(x), axis)


def gathered(x: Any, axis: Axis) -> Any:
    """The reduced axes as one, the first."""
    axes = axes_of(x.ndim, axis)
    front = moveaxis(x, axes, tuple(range(len(axes))))
    return reshape(front, (_count(x.shape, axis), *dropped(x.shape, axis)))


@composite
@in_single
def prod(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """Product, by halves: log₂ n elementwise products, whose gradient is right at zeros too."""
    shape, y = x.shape, gathered(_wide(x), axis)
    while y.shape[0] > 1:
        half = y.shape[0] // 2
        odd = [y[2 * half :]] if y.shape[0] % 2 else []
        pairs = y[:half] * y[half : 2 * half]
        y = concatenate([pairs, *odd], axis=0) if odd else pairs
    y = y[0] if y.shape[0] else sum(y, axis=0) + 1
    return kept(y, shape, axis, False) if as_flag("keepdims", keepdims) else y


@primitive
def vector_norm(x: Array, /, ord: float = 2, axis: Axis = None, keepdims: bool = False) -> Array:
    """p-norm, 1 ≤ p < ∞.  y = (Σ |xᵢ|ᵖ)^(1/p),  x̄ᵢ = ȳ sign xᵢ (|xᵢ| / y)ᵖ⁻¹, 0 at the origin."""
    size = xp(x).abs(wider(x))
    scale = _scale(size, axis)  # so that powers do not overflow
    total = backend_of(x).sum((size / scale) ** ord, axis, True)
    y = total ** (1 / ord) * scale
    return narrowed(y if keepdims else y.reshape(dropped(x.shape, axis)), x)


def _vector_norm_rule(g: Any, x: Any, y: Any, ord: float, axis: Axis, keepdims: bool) -> Any:
    slope = slope_at_origin(g, y) if ord == 2 else None
    g, y = kept(g, x.shape, axis, keepdims), kept(y, x.shape, axis, keepdims)
    if ord == 2:
        away = where(y == 0, 0.0, g * quotient(x, y))
        return away if slope is None else away + x * kept(slope, x.shape, axis, keepdims)
    return where(x == 0, 0.0, g * sign(x) * power(quotient(absolute(x), y), ord - 1))


vector_norm.defvjp(x=_vector_norm_rule)
vector_norm.domain(x=AWAY_FROM_0, analytic=False)


@composite
@in_single
def norm(x: Array, ord: float = 2, axis: Axis = None, keepdims: bool = False) -> Array:
    """Vector p-norm, (Σ |xᵢ|ᵖ)^(1/p), over the given axes (all by default).

    Args:
        x: Any shape.
        ord: p: 2, 1, any number, ``inf`` (largest |xᵢ|), ``-inf`` (smallest), 0 (number of xᵢ ≠ 0).
        axis: Reduced axes.
        keepdims: Keep them at length 1.
    """
    if ord == 0:
        return sum(astype(x != 0, x.dtype), axis=axis, keepdims=keepdims)
    if math.isinf(ord):
        axes = axes_of(x.ndim, axis)  # several: equal ones share the gradient
        return (max if ord > 0 else min)(absolute(x), axis=axes, keepdims=keepdims)
    if ord >= 1:
        return vector_norm(x, ord=ord, axis=axis, keepdims=keepdims)
    return power(sum(power(absolute(x), ord), axis=axis, keepdims=keepdims), 1 / ord)


@composite
def trace(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The sum of a diagonal of two axes."""
    return sum(diagonal(x, offset, axis1, axis2), axis=-1)
