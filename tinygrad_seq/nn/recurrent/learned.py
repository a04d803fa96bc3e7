"""InitialState: a learned initial state."""

from __future__ import annotations

import operator
from typing import Any

from ... import ops
from ...recurrence import each
from ...tensor import Tensor
from ..module import Module
from ..parameter import Parameter
from .cell import learned


class InitialState(Module):
    """A learned initial state, the same for every sequence of a batch.

    It starts from the module's own initial state (zeros for the library's modules). Pass it like
    any other state.

    Args:
        module: A cell, :class:`Recurrent`, :class:`Bidirectional`, :class:`Stacked`, RNN, GRU or
            LSTM: anything that has ``initial_state()``.

    Attributes:
        part0, part1, ...: The parts of the state for one sequence, in order.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import nn
        >>> lstm = nn.LSTM(8, 16, num_layers=2)
        >>> start = nn.InitialState(lstm)
        >>> x = ts.ones((5, 3, 8))
        >>> y, last = lstm(x, start(3))
        >>> [name for name, _ in start.named_parameters()]
        ['part0', 'part1']

    Source: Forcada & Carrasco 1995.
    """

    def __init__(self, module: Any) -> None:
        names: list[str] = []

        def learn(part: Tensor) -> str:
            names.append(f"part{len(names)}")
            setattr(self, names[-1], Parameter(part))
            return names[-1]

        self._form = learned("InitialState", module, learn)

    def forward(self, batch: int | None = None) -> Any:
        """The state for a batch of N sequences, or for one sequence without this axis.

        The batch is the last axis but one of every part, as in ``(N, H)`` and ``(L*D, N, H)``.
        """
        if batch is None:
            return each(lambda name: getattr(self, name), self._form)
        count = operator.index(batch)

        def repeat(name: str) -> Any:
            part = getattr(self, name)
            shape = (*part.shape[:-1], count, part.shape[-1])
            return ops.broadcast_to(ops.expand_dims(part, -2), shape)

        return each(repeat, self._form)
