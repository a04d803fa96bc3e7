"""The table of kernels beyond recurrent layers: composites that a backend may do in one go.

Softmax cross-entropy of class indices t (an index below 0 counts for nothing), of scores x
``(R, C)``; for a value v, v̄ = ∂loss/∂v:

    l = ln Σⱼ e^xⱼ - x_t,    x̄ⱼ = l̄ (e^xⱼ / Σ e^x - [j = t])

The steps of optimizers, element by element, are those of ``optim.SGD`` and ``optim.Adam``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

Array: TypeAlias = Any


def cross_entropy(np: Any, x: Array, targets: Array, keep: bool) -> tuple[Array, Any]:
    """(l ``(R,)``, what the backward needs) of scores ``(R, C)`` and targets ``(R,)``."""
    if x.shape[-1] == 0 or not x.size:
        return np.zeros(targets.shape, x.dtype), (x, targets)
    counts = targets >= 0
    if not counts.all():  # what is ignored may be NaN
        x = np.where(counts[:, None], x, x.dtype.type(0))
    top = np.max(x, axis=-1, keepdims=True)
    shifted = x - np.where(top == -np.inf, x.dtype.type(0), top)
    total = np.sum(np.exp(shifted), axis=-1, keepdims=True)
    log_p = shifted - np.log(total)
    picked = np.take_along_axis(log_p, np.maximum(targets, 0)[:, None], axis=-1)[:, 0]
    loss = np.where(counts, -picked, x.dtype.type(0))
    return loss, (log_p, targets) if keep else None


def cross_entropy_backward(np: Any, g: Array, saved: Any) -> Array:
    """x̄ ``(R, C)`` from l̄ ``(R,)``."""
    log_p, targets = saved
    x_ = np.exp(log_p)
    x_[np.arange(len(targets)), np.maximum(targets, 0)] -= 1
    x_ *= np.where(targets >= 0, g, g.dtype.type(0))[:, None]
    return x_


def sgd(np: Any, p: Array, g: Array, lr: float) -> None:
    """p ← p - η g"""
    p -= lr * g


def sgd_momentum(
    np: Any, p: Array, g: Array, b: Array, lr: float, mu: float, keep: float, nesterov: bool
) -> None:
    """b ← μ b + (1 - d) g,  p ← p - η b  or, Nesterov,  p ← p - η (g + μ b);  keep is 1 - d."""
    b *= mu
    b += keep * g
    p -= lr * (g + mu * b if nesterov else b)


def adam(
    np: Any,
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    largest: Array | None,
    beta1: float,
    beta2: float,
    rate: float,
    scale: float,
    eps: float,
) -> None:
    """m ← β₁ m + (1 - β₁) g,  v ← β₂ v + (1 - β₂) g²,  p ← p - rate · m / (scale √v + ε)

    With ``largest``, the largest v so far, that one in place of v.
    """
    m += (1 - beta1) * (g - m)
    v *= beta2
    v += (1 - beta2) * g * g
    if largest is not None:
        v = np.maximum(largest, v, out=largest)
    p -= rate * m / (scale * np.sqrt(v) + eps)


STEPS: dict[str, Callable[..., Any]] = {
    "cross_entropy": cross_entropy,
    "cross_entropy_backward": cross_entropy_backward,
    "sgd": sgd,
    "sgd_momentum": sgd_momentum,
    "adam": adam,
}
