"""Dropout: silence a random part of the units in training."""

from __future__ import annotations

from typing import Any

from ..backend import backend_of
from ..ops import where
from ..tensor import Tensor
from .checks import as_tensor, fraction
from .module import Module


class Dropout(Module):
    """Set each element to zero with probability p in training.  y = x ⊙ m / (1-p)

    m is 0 with probability p and 1 otherwise, drawn anew at each call from the library's generator,
    so that the mean of y is x. In evaluation y = x.

    Args:
        p: Probability of zero, 0 to 1.

    Source: Srivastava et al. 2014.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = fraction("Dropout", "p", p)

    def forward(self, x: Any) -> Tensor:
        """Map x of any shape to the same shape."""
        return dropout(as_tensor(x), self.p) if self.training else as_tensor(x)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


def dropout(x: Tensor, p: float) -> Tensor:
    """x ⊙ m / (1-p) with a fresh mask m."""
    if p == 0.0:
        return x
    kept = backend_of(x._data).uniform(x.shape) >= p
    y: Tensor = where(kept, x, 0.0) * _scale(p)
    return y


def dropout_mask(x: Tensor, p: float) -> Any:
    """m / (1-p) of the shape and dtype of x, an array."""
    return (backend_of(x._data).uniform(x.shape) >= p) * x.dtype.type(_scale(p))


def _scale(p: float) -> float:
    return 1.0 / (1.0 - p) if p < 1.0 else 0.0


def chosen(x: Tensor, p: float) -> Any:
    """Booleans of the shape of x, an array, each true with probability p."""
    return backend_of(x._data).uniform(x.shape) < p
