"""Log-sum-exp and softmax, shifted by the largest element so that nothing overflows."""

from __future__ import annotations

from typing import Any

from ..autograd import primitive
from ..backend import Array, xp
from .arithmetic import REALS, where
from .axes import Axis
from .compare import isfinite
from .functions import exp
from .reduce import dropped, kept, sum


def _shifted(x: Array, axis: Axis) -> tuple[Array, Array]:
    """x less its largest element along ``axis``, and that element (0 where it is infinite)."""
    np = xp(x)
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    return x - top, top


@primitive
def logsumexp(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """y = ln Σ e^xᵢ,  x̄ᵢ = ȳ e^(xᵢ - y).  Where every xᵢ is -∞, so is y, with gradient 0."""
    np = xp(x)
    shifted, top = _shifted(x, axis)
    total = np.sum(np.exp(shifted), axis=axis, keepdims=True)
    empty = total == 0
    y = np.where(empty, -np.inf, np.log(total + empty) + top)
    return y if keepdims else y.reshape(dropped(x.shape, axis))


def _logsumexp_rule(g: Any, x: Any, y: Any, axis: Axis, keepdims: bool) -> Any:
    g, y = kept(g, x.shape, axis, keepdims), kept(y, x.shape, axis, keepdims)
    return g * exp(x - where(isfinite(y), y, 0.0))


logsumexp.defvjp(x=_logsumexp_rule)
logsumexp.domain(x=REALS)


@primitive
def softmax(x: Array, /, axis: Axis = -1) -> Array:
    """yᵢ = e^xᵢ / Σ e^xⱼ,  x̄ = y ⊙ (ȳ - Σ ȳⱼ yⱼ)."""
    np = xp(x)
    y = np.exp(_shifted(x, axis)[0])
    return y / np.sum(y, axis=axis, keepdims=True)


softmax.defvjp(x=lambda g, y, axis: y * (g - sum(g * y, axis=axis, keepdims=True)))
softmax.domain(x=REALS)


@primitive
def log_softmax(x: Array, /, axis: Axis = -1) -> Array:
    """yᵢ = xᵢ - ln Σ e^xⱼ,  x̄ = ȳ - e^y Σ ȳⱼ."""
    np = xp(x)
    shifted, _ = _shifted(x, axis)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


log_softmax.defvjp(x=lambda g, y, axis: g - exp(y) * sum(g, axis=axis, keepdims=True))
log_softmax.domain(x=REALS)
