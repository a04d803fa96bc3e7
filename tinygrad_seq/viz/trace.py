"""Observe a computation: names, time steps and values, for drawings and checks of its graph."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from ..autograd import Node
from ..autograd.fused import Fused
from ..nn import Module
from ..nn.names import Naming


class trace(Naming):
    """Let every node recorded in the block know its module, its time step and its value.

    The path of a module is its place in the tree of the outermost one that is called, which itself
    is called after its class: ``Tagger.decoder.lstm.l0``. Cells of ``nn.RNN``, ``GRU`` and ``LSTM``
    are called as their weights' names end: ``l0``, ``l0_reverse``, ``l1``. Results are kept for as
    long as the graph is.

    Args:
        model: A module whose names are used as they are, ``decoder.lstm`` and
            ``decoder.lstm.weight_ih_l0``, as in its ``named_modules()`` and ``state_dict()``.

    Attributes:
        values: Of each node recorded, the result: an array, or a tuple of them.
        calls: Of each node recorded, what was called: (operation, arguments, parameters).

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import nn, viz
        >>> rnn = nn.Recurrent(nn.RNNCell(2, 3))
        >>> with viz.trace(), nn.unrolled():
        ...     y, last = rnn(ts.ones((4, 1, 2)))
        >>> last.node.scope
        Scope(path='Recurrent.cell', step=3)
    """

    def __init__(self, model: Module | None = None) -> None:
        super().__init__(model)
        self.values: weakref.WeakKeyDictionary[Node, Any] = weakref.WeakKeyDictionary()
        self.calls: weakref.WeakKeyDictionary[Node, Any] = weakref.WeakKeyDictionary()
        self._latest = threading.local()

    def __repr__(self) -> str:
        return f"trace of {len(self.values):,} operations: print(viz.listing(loss))"

    def forward(self, op: Any, compute: Callable[..., Any], /, *args: Any, **params: Any) -> Any:
        """Compute, and remember it for the node that may follow."""
        result = compute(*args, **params)
        self._latest.told = op, result, (op, args, params)
        return result

    def recorded(self, node: Node) -> None:
        """Keep the value of a node; a single result of several is a part of the whole's."""
        told = getattr(self._latest, "told", None)
        if told is None or told[0] is not node.op or node.slot is not None:
            return
        op, result, self.calls[node] = told
        self.values[node] = result[0] if isinstance(op, Fused) else result
        self._latest.told = None
