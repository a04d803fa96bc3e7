"""Layer 1: records operations and runs the backward pass. It knows no operation by name."""

from typing import TYPE_CHECKING

from ..hints import AUTOGRAD
from ..messages import unknown_in
from .anomaly import anomaly_mode
from .engine import backward, grad
from .graph import Node, Variable
from .mode import enable_grad, is_grad_enabled, no_grad
from .primitive import PRIMITIVES, Interval, Primitive, composite, elementwise, primitive
from .writes import mark_written

if not TYPE_CHECKING:  # type checkers report unknown names themselves
    __getattr__ = unknown_in(__name__, AUTOGRAD, lambda: __all__)

__all__ = [
    "PRIMITIVES",
    "Interval",
    "Node",
    "Primitive",
    "Variable",
    "anomaly_mode",
    "backward",
    "composite",
    "elementwise",
    "enable_grad",
    "grad",
    "is_grad_enabled",
    "mark_written",
    "no_grad",
    "primitive",
]
