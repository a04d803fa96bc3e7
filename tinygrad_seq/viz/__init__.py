"""Floor 6: look inside; print, draw and measure what is recorded."""

from ..autograd.scope import Scope, at_step
from .draw import to_dot, to_mermaid
from .graph import Graph, Input, Leaf, Operation, Result, Saved, graph
from .listing import listing
from .trace import trace

__all__ = [
    "Graph",
    "Input",
    "Leaf",
    "Operation",
    "Result",
    "Saved",
    "Scope",
    "at_step",
    "graph",
    "listing",
    "to_dot",
    "to_mermaid",
    "trace",
]
