"""Log-sum-exp and softmax, shifted by the largest element so that nothing overflows."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import primitive
from ..backend import Array, backend_of, narrowed, wider, xp
from .arithmetic import REALS, where
from .axes import Axis
from .functions import exp
from .reduce import dropped, kept, sum


def _top(x: Array, axis: Axis, limits: tuple[float, ...]) -> Array:
    """The largest element along ``axis``, 0 instead of the infinite ``limits``."""
    np = xp(x)
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    for limit in limits:
        top = np.where(top == limit, 0, top)
    return top


@primitive
def logsumexp(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """y = ln Σ e^xᵢ,  x̄ = ȳ softmax x.  Where every xᵢ is -∞, so is y, with gradient 0."""
    np, wide = xp(x), wider(x)
    top = _top(wide, axis, (-np.inf, np.inf))
    total = backend_of(x).sum(np.exp(wide - top), axis, True)
    empty = total == 0
    y = np.where(empty, -np.inf, np.log(total + empty) + top)
    return narrowed(y if keepdims else y.reshape(dropped(x.shape, axis)), x)


def _logsumexp_rule(g: Any, x: Any, y: Any, axis: Axis, keepdims: bool) -> Any:
    g, y = kept(g, x.shape, axis, keepdims), kept(y, x.shape, axis, keepdims)
    nothing = y == -math.inf
    # Not e^(xᵢ - y): for large x, the rounding error of y would be too large.
    return where(nothing, 0.0, g * softmax(where(nothing, 0.0, x), axis=axis))


logsumexp.defvjp(x=_logsumexp_rule)
logsumexp.domain(x=REALS)


@primitive
def softmax(x: Array, /, axis: Axis = -1) -> Array:
    """yᵢ = e^xᵢ / Σ e^xⱼ,  x̄ = y ⊙ (ȳ - Σ ȳⱼ yⱼ)."""
    np, wide = xp(x), wider(x)
    y = np.exp(wide - _top(wide, axis, (-np.inf,)))
    return narrowed(y / backend_of(x).sum(y, axis, True), x)


softmax.defvjp(x=lambda g, y, axis: y * (g - sum(g * y, axis=axis, keepdims=True)))
softmax.domain(x=REALS)


@primitive
def log_softmax(x: Array, /, axis: Axis = -1) -> Array:
    """yᵢ = xᵢ - ln Σ e^xⱼ,  x̄ = ȳ - e^y Σ ȳⱼ."""
    np, wide = xp(x), wider(x)
    shifted = wide - _top(wide, axis, (-np.inf,))
    return narrowed(shifted - np.log(backend_of(x).sum(np.exp(shifted), axis, True)), x)


log_softmax.defvjp(x=lambda g, y, axis: g - exp(y) * sum(g, axis=axis, keepdims=True))
log_softmax.domain(x=REALS)
