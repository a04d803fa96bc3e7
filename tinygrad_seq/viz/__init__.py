"""Layer 7: prints, draws and measures recorded graphs."""

from ..autograd.observe import Scope, at_step
from ..messages import publish
from .draw import to_dot, to_mermaid
from .explorer import explore
from .graph import Graph, Input, Leaf, Operation, Result, Saved, graph
from .listing import listing
from .picture import picture as _picture  # noqa: F401  # gives Graph its view in a notebook
from .plots import gradient_flow, hidden_states
from .profile import Call, Row, profile
from .trace import trace

__all__ = [
    "Call", "Graph", "Input", "Leaf", "Operation", "Result", "Row", "Saved", "Scope", "at_step",
    "explore", "gradient_flow", "graph", "hidden_states", "listing", "profile", "to_dot",
    "to_mermaid", "trace",
]  # fmt: skip

publish(__name__)
