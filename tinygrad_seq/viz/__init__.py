"""Floor 6: look inside; print, draw and measure what is recorded."""

from ..autograd.scope import at_step
from .graph import Graph, Input, Leaf, Operation, Result, Saved, graph
from .trace import trace

__all__ = ["Graph", "Input", "Leaf", "Operation", "Result", "Saved", "at_step", "graph", "trace"]
