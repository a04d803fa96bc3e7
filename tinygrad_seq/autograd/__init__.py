"""Layer 1: records operations and runs the backward pass. It knows no operation by name."""

from ..hints import AUTOGRAD
from ..messages import publish
from .anomaly import anomaly_mode
from .engine import backward, grad
from .graph import Node, Variable
from .mode import enable_grad, is_grad_enabled, no_grad
from .primitive import PRIMITIVES, Interval, Primitive, composite, elementwise, primitive
from .writes import mark_written

__all__ = [
    "PRIMITIVES", "Interval", "Node", "Primitive", "Variable", "anomaly_mode", "backward",
    "composite", "elementwise", "enable_grad", "grad", "is_grad_enabled", "mark_written", "no_grad",
    "primitive",
]  # fmt: skip

publish(__name__, AUTOGRAD)
