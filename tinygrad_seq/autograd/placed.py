"""Gradients that are zero but at an index, added there to the sum of the others.

The gradient of x through ``x[t]`` is as large as x. A loop over all t would fill that many zeros at
each step and add them all: its time would grow with the square of its length. Placed, each step
adds the rows that it has read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .graph import Use


class Placed:
    """The gradient of one argument of a node, not formed yet: what its rule takes.

    Args:
        use: The rule, and how its gradient is added in place.
        g: The gradient of the node's output.
        saved: What the node saved.
    """

    __slots__ = ("g", "saved", "use")

    def __init__(self, use: Use, g: Any, saved: Sequence[Any]) -> None:
        self.use = use
        self.g = g
        self.saved = saved

    def add_to(self, total: Any) -> None:
        """Add the gradient to an array, in place."""
        assert self.use.place is not None
        self.use.place(total, self.g, *[self.saved[k] for k in self.use.takes])
