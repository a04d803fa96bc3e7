"""Softmax cross-entropy of class indices as one operation.

The arithmetic is in ``backend/steps``; its specification is ``-log_softmax(x)`` at the targets.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd.fused import Fused
from ..backend import backend_of, xp


def _forward(x: Any, *, targets: Any, count: int | None, keep: bool) -> Any:
    """The loss at each target, or their sum divided by ``count``."""
    rows = x.reshape(targets.size, x.shape[-1])
    loss, saved = backend_of(x).kernels["cross_entropy"](xp(x), rows, targets.reshape(-1), keep)
    if count is None:
        loss = loss.reshape(targets.shape)
    else:
        loss = xp(x).asarray(backend_of(x).sum(loss, None, False) / count, x.dtype)
    return (loss,), (*saved, x.shape, count) if keep else None


def _backward(g: Any, saved: Any, wanted: Any) -> dict[str, Any]:
    *saved, shape, count = saved
    g = g.reshape(-1) if count is None else xp(g).broadcast_to(g / count, math.prod(shape[:-1]))
    x_ = backend_of(g).kernels["cross_entropy_backward"](xp(g), g, saved)
    return {"x": x_.reshape(shape)}


cross_entropy = Fused("cross_entropy", ("x",), _forward, _backward)
