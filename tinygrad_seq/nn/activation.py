"""The nonlinearities of recurrent nets as modules, to stand in a Sequential."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..tensor import Tensor
from .checks import as_tensor
from .module import Module


class Tanh(Module):
    """Hyperbolic tangent, element by element."""

    def forward(self, x: Any) -> Tensor:
        """Map x of any shape to tanh x."""
        y: Tensor = ops.tanh(as_tensor(x))
        return y


class Sigmoid(Module):
    """Logistic function 1 / (1 + e^-x), element by element."""

    def forward(self, x: Any) -> Tensor:
        """Map x of any shape to σ(x)."""
        y: Tensor = ops.sigmoid(as_tensor(x))
        return y


class ReLU(Module):
    """Rectifier max(x, 0), element by element."""

    def forward(self, x: Any) -> Tensor:
        """Map x of any shape to max(x, 0)."""
        y: Tensor = ops.relu(as_tensor(x))
        return y
