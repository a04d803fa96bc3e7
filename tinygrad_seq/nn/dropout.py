"""Dropout: set random units to zero in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backend import backend_of
from ..ops import where
from ..tensor import Tensor
from .checks import as_tensor, fraction
from .module import Module

if TYPE_CHECKING:
    from ..autograd.signatures import Operand


class Dropout(Module):
    """Set each element to zero with probability p in training.  y = x ⊙ m / (1-p)

    m is 0 with probability p and 1 otherwise, drawn at each call from the library's generator, so
    that the mean of y is x. In evaluation y = x.

    Args:
        p: Probability of zero, 0 to 1.

    Source: Srivastava et al. 2014.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = fraction("Dropout", "p", p)

    def forward(self, x: Operand) -> Tensor:
        """Map x of any shape to the same shape."""
        return dropout(as_tensor(x), self.p) if self.training else as_tensor(x)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


def dropout(x: Tensor, p: float) -> Tensor:
    """x ⊙ m / (1-p) with a fresh mask m."""
    return x if p == 0.0 else silenced(x, chosen(x, p), p)


def silenced(x: Tensor, zeros: Any, p: float) -> Tensor:
    """x / (1-p), and 0 where ``zeros`` is True, for any x."""
    return where(zeros, 0.0, x) * (1.0 / (1.0 - p) if p < 1.0 else 0.0)


def chosen(x: Tensor, p: float) -> Tensor:
    """Booleans of the shape of x, each true with probability p."""
    return Tensor._wrap(backend_of(x._data).uniform(x.shape) < p)
