"""Layers of linear cells: whole sequences at once, deep and in both directions.

Constructor, shapes, states, lengths and masks are as in ``nn.LSTM``.
"""

from __future__ import annotations

from inspect import Signature
from typing import TYPE_CHECKING, Any, ClassVar

from .. import ops
from ..tensor import Tensor
from .checks import beside, features, flag, fraction, positive, state_of, valid_steps
from .container import ModuleList
from .dropout import Dropout
from .linear_cells import LinearCell, LRUCell, MinGRUCell, MinLSTMCell, RGLRUCell
from .module import Module
from .pair import Pair

if TYPE_CHECKING:
    from ..autograd.signatures import DType, Operand


class LinearLayer(Module):
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

    cell: ClassVar[type[LinearCell]]

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
        owner = type(self).__name__
        self.input_size = positive(owner, "input_size", input_size)
        self.hidden_size = positive(owner, "hidden_size", hidden_size)
        self.num_layers = positive(owner, "num_layers", num_layers)
        self.batch_first = flag(owner, "batch_first", batch_first)
        self.bidirectional = flag(owner, "bidirectional", bidirectional)
        self.dropout = Dropout(fraction(owner, "dropout", dropout))
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

    def _cells(self) -> list[LinearCell]:
        return [cell for cell in self.cells if isinstance(cell, LinearCell)]

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tensor:
        """A state of zeros ``(L * D, N, state_size)``, for a batch ``(N,)`` or one sequence."""
        return ops.stack([cell.initial_state(batch_shape) for cell in self._cells()])

    def forward(
        self,
        x: Operand,
        state: Any = None,
        lengths: Operand | None = None,
        mask: Operand | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Read sequences.

        Args:
            x: ``(T, N, I)``, or ``(T, I)`` for one sequence; ``(N, T, I)`` with ``batch_first``.
            state: h_0 ``(L * D, N, state_size)``, zeros if None; without a batch, without N.
            lengths: Length of each sequence ``(N,)``, 1 to T: past it the state stays, and y is 0;
                the reverse direction starts at it.
            mask: In place of lengths, which steps to read, booleans ``(T, N)``.

        Returns:
            (y ``(T, N, D * H)``, h_n of the shape of h_0).

        Raises:
            ValueError: there are no steps, or shapes or lengths do not fit.
            TypeError: dtypes do not fit.
        """
        owner, cells = type(self).__name__, self._cells()
        x = features(owner, x, "input_size", self.input_size, cells[0].dtype)
        if x.ndim not in (2, 3):
            raise ValueError(
                f"{owner} reads sequences (T, N, {self.input_size}), or (T, {self.input_size}) for "
                f"one; got x of shape {x.shape}"
            )
        turned = self.batch_first and x.ndim == 3
        x = ops.swapaxes(x, 0, 1) if turned else x
        if not x.shape[0]:
            raise ValueError(f"{owner} reads sequences of at least one step; got shape {x.shape}")
        batch = x.shape[1:-1]
        if state is None:
            state = self.initial_state(batch)
        else:
            shape = (len(cells), *batch, cells[0].state_size)
            state = state_of(owner, state, ("h_0",), [shape], cells[0].dtype)
        valid = valid_steps(lengths, mask, x.shape, owner)
        read = None if valid is None else beside(valid, x)
        count, last = 1 + self.bidirectional, []
        for k in range(0, len(cells), count):
            if read is not None:
                x = ops.where(read[..., None], x, 0)  # whatever the padding holds
            ys = []
            for direction in range(count):
                start, back = state[k + direction], direction == 1
                y, h = cells[k + direction].scan(x, start, back, read)
                ys.append(y)
                last.append(h)
            x = ops.concatenate(ys, axis=-1) if back else y
            if k + count < len(cells):
                x = self.dropout(x)
        if read is not None:
            x = ops.where(read[..., None], x, 0)
        return Pair((ops.swapaxes(x, 0, 1) if turned else x, ops.stack(last)))

    def extra_repr(self) -> str:
        """Sizes and the options that differ from their defaults."""
        options = [f"{self.input_size}, {self.hidden_size}"]
        options += [f"num_layers={self.num_layers}"] * (self.num_layers > 1)
        options += ["batch_first=True"] * self.batch_first
        options += [f"dropout={self.dropout.p}"] * bool(self.dropout.p)
        options += ["bidirectional=True"] * self.bidirectional
        return ", ".join(options)


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
