"""Stacked: layers of unrolled cells.

Shapes: T steps, N sequences, I inputs, H hidden units.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ...recurrence import pair
from ...tensor import Tensor
from ..checks import as_tensor, fraction
from ..container import ModuleList
from ..dropout import dropout
from ..module import Module
from ..pair import Pair
from .cell import Cell
from .recurrent import states_for
from .wrappers import Wrapper

if TYPE_CHECKING:
    from ...autograd.signatures import Operand


class Stacked(ModuleList):
    """Stacked layers, each of which reads the outputs of the one below.  y^(l) = f_l(y^(l-1))

    Args:
        layers: Any of :class:`Recurrent`, :class:`Bidirectional`, RNN, GRU, LSTM or Stacked, of
            sizes that fit; or a module of your own that is called like them.
        dropout: Probability of dropout on the output of each layer but the last, in training; a
            new mask for every step.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import nn
        >>> deep = nn.Stacked(nn.Recurrent(nn.GRUCell(8, 16)), nn.Recurrent(nn.LSTMCell(16, 4)))
        >>> y, (h, (h_top, c_top)) = deep(ts.ones((5, 2, 8)))
        >>> y.shape, h.shape, c_top.shape
        ((5, 2, 4), (2, 16), (2, 4))

    Source: Graves et al. 2013.
    """

    def __init__(self, *layers: Module, dropout: float = 0.0) -> None:
        for layer in layers:
            if isinstance(layer, Cell | Wrapper):
                name = type(layer).__name__
                raise TypeError(f"Stacked expects layers, as nn.Recurrent({name}(...)); got {name}")
        super().__init__(layers)
        if not layers:
            raise ValueError("Stacked expects at least one layer")
        self.dropout = fraction("Stacked", "dropout", dropout)

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Any:
        """The initial states of the layers, as a tuple."""
        layers: Iterable[Any] = self
        return tuple(layer.initial_state(batch_shape) for layer in layers)

    def forward(
        self,
        x: Operand,
        state: Operand | None = None,
        lengths: Operand | None = None,
        mask: Operand | None = None,
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """Read a sequence; arguments as for :class:`Recurrent`.

        Args:
            x: Input ``(T, N, I)``, or ``(T, I)``.
            state: A tuple, one state for each layer; each may be None.
            lengths: Length of each sequence ``(N,)``.
            mask: In place of lengths, which steps to read ``(T, N)``.

        Returns:
            (y of the last layer ``(T, N, H)``, tuple of states).

        Raises:
            TypeError: ``state`` is not a tuple of one state per layer; and as the layers.
        """
        count = len(self)
        states = states_for("Stacked", state, count, f"tuple of {count}, one for each layer")
        p = self.dropout if self.training else 0.0
        y, after = in_turn(self, as_tensor(x), states, p, lengths, mask)
        return Pair((y, tuple(after)))

    def extra_repr(self) -> str:
        """The dropout, if there is one."""
        return f"dropout={self.dropout}" if self.dropout else ""


def in_turn(
    layers: Iterable[Any], x: Tensor, states: Sequence[Any], p: float, lengths: Any, mask: Any
) -> tuple[Tensor, list[Any]]:
    """Apply layers one after another, with dropout between: the last output, and all states."""
    after = []
    for k, (layer, state) in enumerate(zip(layers, states, strict=True)):
        if k:
            x = dropout(x, p)
        x, last = pair("a layer", layer(x, state, lengths=lengths, mask=mask))
        after.append(last)
    return x, after
