"""Layers of linear cells: whole sequences at once, deep and in both directions.

Constructor, shapes, states, lengths and masks are as in ``nn.LSTM``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from inspect import Signature
from typing import TYPE_CHECKING, Any, ClassVar

from .. import ops
from ..tensor import Tensor
from .checks import beside, valid_steps
from .container import ModuleList
from .linear_cells import LinearCell, LRUCell, MinGRUCell, MinLSTMCell, RGLRUCell
from .recurrent.layers import DeepLayer

if TYPE_CHECKING:
    from ..autograd.signatures import DType


class LinearLayer(DeepLayer[Tensor]):
    """The base class of these layers.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L, the number of layers; each but the first reads D · H features.
        batch_first: Whether x and y are ``(N, T, ...)``; states keep their layout.
        dropout: Probability of dropout on the output of each layer but the last, in training.
        bidirectional: Whether a second cell reads the sequence from its end: D = 2.
        dtype: Of the parameters; the default float if None.
        **options: Those of the cell.

    Attributes:
        cells: Index layer · D + direction, as in the states.
    """

    cell: ClassVar[type[LinearCell]] = LinearCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: DType | None = None,
        **options: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, batch_first, dropout, bidirectional)
        self.cells, size = ModuleList(), input_size
        for _ in range(num_layers):
            for _ in range(1 + bidirectional):
                self.cells.append(self.cell(size, hidden_size, dtype, **options))
            size = hidden_size * (1 + bidirectional)

    @classmethod
    def _signature(cls) -> Signature:
        """The arguments, with the options of the cell by name."""
        own, of_cell = super()._signature().parameters, cls.cell._signature().parameters
        names = [name for name in own if name != "options"]
        options = [p.replace(kind=p.KEYWORD_ONLY) for n, p in of_cell.items() if n not in own]
        return Signature([own[name] for name in names] + options)

    def _in_order(self) -> list[Any]:
        return list(self.cells)

    def _levels(self) -> Iterator[Any]:
        cells, width = self._in_order(), 1 + self.bidirectional
        for k in range(0, len(cells), width):
            yield partial(_read, type(self).__name__, cells[k : k + width])


def _read(
    owner: str, cells: list[LinearCell], x: Tensor, state: Any, lengths: Any, mask: Any
) -> tuple[Tensor, Any]:
    """Apply the cells of one layer: the second, if there is one, in reverse."""
    if not x.shape[0]:
        raise ValueError(f"{owner} reads sequences of at least one step; got shape {x.shape}")
    valid = valid_steps(lengths, mask, x.shape, owner)
    read = None if valid is None else beside(valid, x)
    x = x if read is None else ops.where(read[..., None], x, 0)  # whatever the padding holds
    ys, after = [], []
    for back, cell in enumerate(cells):
        start = state[back] if len(cells) > 1 else state
        start = cell.initial_state(x.shape[1:-1]) if start is None else start
        y, last = cell.scan(x, start, bool(back), read)
        ys.append(y)
        after.append(last)
    y = ops.concatenate(ys, axis=-1) if len(cells) > 1 else ys[0]
    y = y if read is None else ops.where(read[..., None], y, 0)
    return y, tuple(after) if len(cells) > 1 else after[0]


class MinGRU(LinearLayer):
    """:class:`MinGRUCell` over sequences.  h' = (1 - z) ⊙ h + z ⊙ h̃

    Example:
        >>> from tinygrad_seq import nn
        >>> layer = nn.MinGRU(28, 64, num_layers=2, bidirectional=True)
        >>> y, h = layer(ts.randn(35, 3, 28), lengths=[35, 20, 7])
        >>> y.shape, h.shape
        ((35, 3, 128), (4, 3, 64))
    """

    cell = MinGRUCell


class MinLSTM(LinearLayer):
    """:class:`MinLSTMCell` over sequences.  h' = f / (f + i) ⊙ h + i / (f + i) ⊙ h̃"""

    cell = MinLSTMCell


class RGLRU(LinearLayer):
    """:class:`RGLRUCell` over sequences.  h' = a ⊙ h + √(1 - a²) ⊙ (i ⊙ u)"""

    cell = RGLRUCell


class LRU(LinearLayer):
    """:class:`LRUCell` over sequences.  s' = λ ⊙ s + γ ⊙ B x,  y = Re(C s') + D x

    Its state is ``(L * D, N, 2 H)``. ``r_min`` and ``r_max`` are options of the cell.
    """

    cell = LRUCell
