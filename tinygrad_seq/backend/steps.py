"""Kernels for losses and optimizers: composites that a backend may replace by one kernel.

Softmax cross-entropy of class indices t (an index below 0 is ignored) and scores x
``(R, C)``; for a value v, v̄ = ∂loss/∂v:

    l = ln Σⱼ e^xⱼ - x_t,    x̄ⱼ = l̄ (e^xⱼ / Σ e^x - [j = t])

The steps of optimizers, element by element, are those of ``optim.SGD`` and ``optim.Adam``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy

from . import jit
from .blas import in_one_thread
from .dtypes import wider
from .shares import BLOCK, in_blocks

Array: TypeAlias = Any

MANY = 1 << 14
"""For a step of fewer numbers nothing is compiled."""

FLOATS = (numpy.dtype("f4"), numpy.dtype("f8"))


def cross_entropy(np: Any, x: Array, targets: Array, keep: bool) -> tuple[Array, Any]:
    """(l ``(R,)``, what the backward needs) of scores ``(R, C)`` and targets ``(R,)``."""
    rows, classes = x.shape
    loss = np.zeros(rows, x.dtype)
    if not x.size:
        return loss, (x, targets, loss, loss)
    counts = targets >= 0
    if not counts.all():  # what is ignored may be NaN
        x = np.where(counts[:, None], x, x.dtype.type(0))
    top, log_total = np.empty((rows, 1), x.dtype), np.empty((rows, 1), x.dtype)

    def block(low: int, high: int) -> None:
        part = x[low:high]
        highest = np.max(part, axis=-1, keepdims=True, out=top[low:high])
        highest[highest == -np.inf] = 0
        shifted = part - highest
        picked = shifted[np.arange(high - low), np.maximum(targets[low:high], 0)]
        np.sum(np.exp(shifted, out=shifted), axis=-1, keepdims=True, out=log_total[low:high])
        np.log(log_total[low:high], out=log_total[low:high])
        np.subtract(log_total[low:high, 0], picked, out=loss[low:high])

    in_blocks(block, rows, classes)
    loss[~counts] = 0
    return loss, (x, targets, top, log_total) if keep else None


def cross_entropy_backward(np: Any, g: Array, saved: Any) -> Array:
    """x̄ ``(R, C)`` from l̄ ``(R,)``."""
    x, targets, top, log_total = saved
    x_ = np.empty(x.shape, x.dtype)
    g = np.where(targets >= 0, g, g.dtype.type(0))[:, None]

    def block(low: int, high: int) -> None:
        part = np.subtract(x[low:high], top[low:high], out=x_[low:high])
        part -= log_total[low:high]
        np.exp(part, out=part)
        part[np.arange(high - low), np.maximum(targets[low:high], 0)] -= 1
        part *= g[low:high]

    if x.size:
        in_blocks(block, *x.shape)
    return x_


def sgd(np: Any, p: Array, g: Array, lr: float) -> None:
    """p ← p - η g"""

    def block(p: Array, g: Array) -> None:
        p -= lr * g

    by_block(block, p, g)


def sgd_momentum(
    np: Any, p: Array, g: Array, b: Array, lr: float, mu: float, keep: float, nesterov: bool
) -> None:
    """b ← μ b + (1 - d) g,  p ← p - η b  or, Nesterov,  p ← p - η (g + μ b);  keep is 1 - d."""

    def block(p: Array, g: Array, b: Array) -> None:
        b *= mu
        b += keep * g
        p -= lr * (g + mu * b if nesterov else b)

    by_block(block, p, g, b)


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
    arrays = [a for a in (p, g, m, v, largest) if a is not None]
    if p.size >= MANY and all(a.flags.c_contiguous and a.dtype == p.dtype for a in arrays):
        loop = _compiled() if np is numpy and p.dtype in FLOATS and jit.usable() else None
        if loop is not None:
            loop(p, g, m, v, largest, beta1, beta2, rate, scale, eps)
            return

    def block(p: Array, g: Array, m: Array, v: Array, largest: Array | None = None) -> None:
        change = np.subtract(g, m, out=np.empty_like(g))
        change *= 1 - beta1
        m += change
        v *= beta2
        np.multiply(g, 1 - beta2, out=change)
        change *= g
        v += change
        if largest is not None:
            v = np.maximum(largest, v, out=largest)
        np.sqrt(v, out=change)
        change *= scale
        change += eps
        p -= np.divide(m * rate, change, out=change)

    by_block(block, *arrays)


@functools.cache
def _compiled() -> Callable[..., None] | None:
    """The compiled step of Adam, if it can be compiled here."""
    p, g, m, v = numpy.ones((4, 1), "f4")
    return jit.tried("steps", "adam", p, g, m, v, None, 0.9, 0.999, 1e-3, 1.0, 1e-8)


def squares(g: Array) -> float:
    """Σ g²; it may overflow."""
    flat = wider(g).reshape(-1)
    totals = numpy.zeros(-(-flat.size // BLOCK))

    def block(low: int, high: int) -> None:
        totals[low // BLOCK] = flat[low:high] @ flat[low:high]

    with numpy.errstate(over="ignore"):
        in_one_thread(lambda _: in_blocks(block, flat.size))
    return float(totals.sum())


def by_block(step: Callable[..., None], p: Array, *rest: Array) -> None:
    """``step(p, *rest)`` of arrays of one shape, block by block: work on each element alone."""
    arrays = (p, *rest)
    if p.size <= BLOCK or not all(a.flags.c_contiguous for a in arrays):
        step(*arrays)
        return
    flat = [a.reshape(-1) for a in arrays]
    in_blocks(lambda low, high: step(*[a[low:high] for a in flat]), p.size)


STEPS: dict[str, Callable[..., Any]] = {
    "cross_entropy": cross_entropy,
    "cross_entropy_backward": cross_entropy_backward,
    "sgd": sgd,
    "sgd_momentum": sgd_momentum,
    "adam": adam,
}
