"""Softmax cross-entropy of class indices as one operation.

The arithmetic is in ``backend/steps``; its specification is ``-log_softmax(x)`` at the targets.
"""

from __future__ import annotations

from typing import Any

from ..autograd.fused import Fused
from ..backend import backend_of, xp


def _forward(x: Any, *, targets: Any, keep: bool) -> Any:
    loss, saved = backend_of(x).kernels["cross_entropy"](xp(x), x, targets, keep)
    return (loss,), saved


def _backward(g: Any, saved: Any, wanted: Any) -> dict[str, Any]:
    return {"x": backend_of(g).kernels["cross_entropy_backward"](xp(g), g, saved)}


cross_entropy = Fused("cross_entropy", ("x",), _forward, _backward)
