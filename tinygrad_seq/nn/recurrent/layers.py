"""RNN, GRU and LSTM: cells unrolled, in both directions and in several layers.

Constructor, shapes, names and order of the parameters are PyTorch's, so weights move both ways
unchanged. Each layer is made of cells in :class:`Recurrent`; only the names are flat.

Shapes: T steps, N sequences, I inputs, H hidden units, L layers, D directions (1 or 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, cast

from ... import ops
from ...messages import warn
from ...tensor import Tensor
from ..activation import Activation
from ..checks import features, flag, fraction, mask_of, positive, state_of
from ..container import ModuleList
from ..module import Module
from ..pair import Pair
from ..parameter import Parameter
from .cell import Cell, S
from .cells import GRUCell, LSTMCell, RNNCell
from .recurrent import Bidirectional, Recurrent
from .stacked import in_turn

if TYPE_CHECKING:
    from ...autograd.signatures import DType, Operand

_WEIGHTS = ("weight_ih_", "weight_hh_", "weight_hr_", "bias_ih_", "bias_hh_")


class DeepLayer(Module, Generic[S]):
    """The base class of the layers: cells in several levels, in one direction or both.

    A subclass has the cells, and gives a callable for each level.

    Args:
        input_size, hidden_size, num_layers, batch_first, dropout, bidirectional: As in RNN.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
    ) -> None:
        owner = type(self).__name__
        self.input_size = positive(owner, "input_size", input_size)
        self.hidden_size = positive(owner, "hidden_size", hidden_size)
        self.num_layers = positive(owner, "num_layers", num_layers)
        self.batch_first = flag(owner, "batch_first", batch_first)
        self.dropout = fraction(owner, "dropout", dropout)
        self.bidirectional = flag(owner, "bidirectional", bidirectional)
        if dropout and num_layers == 1:
            warn(
                f"{owner}(dropout={dropout}) has no effect with num_layers=1: "
                "dropout acts between layers"
            )

    def _in_order(self) -> list[Any]:
        """The cells, by layer, then by direction."""
        raise NotImplementedError

    def _levels(self) -> Iterable[Any]:
        """For each layer what is called with (x, state, lengths=, mask=), a pair of states if there
        are two directions."""
        raise NotImplementedError

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> S:
        """A state of zeros, for a batch ``(N,)`` or one sequence ``()``."""
        return self._join([cell.initial_state(batch_shape) for cell in self._in_order()])

    def forward(
        self,
        x: Operand,
        state: Operand | None = None,
        lengths: Operand | None = None,
        mask: Operand | None = None,
    ) -> tuple[Tensor, S]:
        """Read a batch of sequences, or one.

        Args:
            x: Input ``(T, N, I)``; ``(N, T, I)`` with ``batch_first``; ``(T, I)`` for one sequence.
            state: Initial state, h_0 ``(L*D, N, H)`` and for LSTM the tuple (h_0, c_0), whatever
                ``batch_first`` says; without the axis N for one sequence; zeros if None. Index
                k * D + d is direction d of layer k. With ``proj_size=P``, h has P in place of H.
            lengths: Length of each sequence ``(N,)``, integers in 1..T in any order. Outputs past
                a length are zero, and padding has no effect and no gradient.
            mask: In place of lengths, which steps to read, booleans of the first two axes of x. The
                others, at any place, are skipped like padding.

        Returns:
            (y ``(T, N, D*H)``, final state in the form of ``state``); with ``proj_size=P``, P in
            place of H. ``batch_first`` swaps the first two axes of y.

        Raises:
            ValueError: a shape or a length does not fit, or there are no steps.
            TypeError: a dtype or kind does not fit.
        """
        owner = type(self).__name__
        cells = self._in_order()
        x = features(owner, x, "input_size", self.input_size, cells[0].dtype)
        if x.ndim not in (2, 3):
            order = "(N, T, {0})" if self.batch_first else "(T, N, {0})"
            raise ValueError(
                f"{owner} expects x of shape {order.format(self.input_size)}, or "
                f"(T, {self.input_size}) for one sequence; got {x.shape}"
            )
        swap = self.batch_first and x.ndim == 3
        if swap:
            mask = None if mask is None else mask_of(mask, x.shape).T
            x = x.swapaxes(0, 1)

        before = self._split(state, cells, x.shape[1:-1])
        p = self.dropout if self.training else 0.0
        if not self.bidirectional:
            x, after = in_turn(self._levels(), x, before, p, lengths, mask)
        else:
            pairs = list(zip(before[::2], before[1::2], strict=True))
            x, joined = in_turn(self._levels(), x, pairs, p, lengths, mask)
            after = [last for pair in joined for last in pair]
        return Pair((x.swapaxes(0, 1) if swap else x, self._join(after)))

    def _split(self, state: Any, cells: list[Any], batch: tuple[int, ...]) -> list[Any]:
        """The initial state of each cell; None for the cell's own."""
        count = len(cells)
        if state is None:
            return [None] * count
        names, sizes, dtype = cells[0].state_names, cells[0].state_sizes, cells[0].dtype
        shapes = [(count, *batch, size) for size in sizes]
        given = state_of(type(self).__name__, state, tuple(f"{n}_0" for n in names), shapes, dtype)
        if isinstance(given, Tensor):
            return list(ops.unstack(given))
        return list(zip(*(ops.unstack(part) for part in given), strict=True))

    def _join(self, states: list[Any]) -> S:
        """The final states of the cells, joined."""
        if isinstance(states[0], tuple):
            return cast("S", tuple(ops.stack(parts) for parts in zip(*states, strict=True)))
        return cast("S", ops.stack(states))

    def extra_repr(self) -> str:
        """Sizes, and settings that differ from the default."""
        parts = [str(self.input_size), str(self.hidden_size)]
        parts += [f"num_layers={self.num_layers}"] * (self.num_layers > 1)
        parts += self._in_order()[0].options()
        parts += ["batch_first=True"] * self.batch_first
        parts += [f"dropout={self.dropout}"] * bool(self.dropout)
        parts += ["bidirectional=True"] * self.bidirectional
        return ", ".join(parts)


class RecurrentLayer(DeepLayer[S]):
    """The base class of RNN, GRU and LSTM: a stack of unrolled cells.

    The parameters live in the cells and appear under PyTorch's flat names: ``weight_ih_l0``,
    ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0``, then ``..._l0_reverse``, then layer 1.

    Args:
        cell: Makes a cell, given its input size.
        *shape: The arguments of :class:`DeepLayer`.

    Attributes:
        levels: One :class:`Recurrent` or :class:`Bidirectional` for each layer.
    """

    def __init__(self, cell: Callable[[int], Cell], *shape: Any) -> None:
        super().__init__(*shape)
        self.levels = ModuleList()
        size = self.input_size
        for _ in range(self.num_layers):
            ahead = Recurrent(cell(size))
            back = Recurrent(cell(size), reverse=True) if self.bidirectional else None
            self.levels.append(ahead if back is None else Bidirectional(ahead, back))
            size = ahead.cell.output_size * (1 + self.bidirectional)
        for name, parameter in self._own_parameters():
            parameter.name = name

    def _recurrent_cells(self) -> list[Cell]:
        return [cell for _, cell in self._cells()]

    def _in_order(self) -> list[Any]:
        return self._recurrent_cells()

    def _levels(self) -> Iterable[Any]:
        return self.levels

    def _cells(self) -> Iterator[tuple[str, Cell]]:
        """The cells in order, each with the suffix of its parameters' names."""
        for k, level in enumerate(self.levels):
            if isinstance(level, Bidirectional):
                yield f"_l{k}", level.forwards.cell
                yield f"_l{k}_reverse", level.backwards.cell
            elif isinstance(level, Recurrent):
                yield f"_l{k}", level.cell

    # -- flat names ---------------------------------------------------------------------------

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        for ending, cell in self._cells():
            for name, parameter in cell._own_parameters():
                yield name + ending, parameter
        yield from super()._own_parameters()  # parameters that a subclass adds

    def _children(self) -> Iterator[tuple[str, Module]]:
        for name, child in super()._children():
            if name != "levels":  # replaced by flat names
                yield name, child

    def _places(self) -> Iterator[tuple[str, Module]]:
        """Each cell and the loop around it, by the suffix of its weights: l0, l0_reverse, l1."""
        endings = [ending[1:] for ending, _ in self._cells()]
        yield from zip(endings, self._recurrent_cells(), strict=True)
        loops = [m for level in self.levels for m in level.modules() if isinstance(m, Recurrent)]
        yield from zip(endings, loops, strict=True)
        yield from (("", level) for level in self.levels)
        yield from super()._places()

    def __getattr__(self, name: str) -> Parameter:
        """A parameter by its flat name."""
        if name.startswith(_WEIGHTS):
            for own, parameter in self._own_parameters():
                if own == name:
                    return parameter
        return super().__getattr__(name)  # type: ignore[misc, no-any-return]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a flat name sets the parameter in its cell."""
        for ending, cell in self._cells() if name.startswith(_WEIGHTS) else ():
            own = name.removesuffix(ending)
            if own != name and hasattr(cell, own):
                setattr(cell, own, value)
                return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        """All names, including those of the parameters."""
        return [*super().__dir__(), *(name for name, _ in self._own_parameters())]

    def _refuse(self, names: set[str]) -> str | None:
        return next(cell._refuse(names) for _, cell in self._cells())


class RNN(RecurrentLayer[Tensor]):
    """Simple recurrent net.  h_t = φ(W x_t + b + U h_{t-1} + c)

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L; layer k+1 reads the output of layer k.
        nonlinearity: φ, ``"tanh"`` or ``"relu"``; or a function of tensors.
        bias: Whether b and c are there.
        batch_first: Whether x and y are ``(N, T, ...)``.
        dropout: Probability of dropout on the output of each layer but the last, in training; a
            new mask for every step.
        bidirectional: Whether a second cell reads each layer from the end.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight_ih_l0, weight_hh_l0: W ``(H, I)`` and U ``(H, H)`` of layer 0; ``..._l1`` of layer 1,
            with W ``(H, D*H)``; ``..._l0_reverse`` of the second direction.
        bias_ih_l0, bias_hh_l0: b and c ``(H,)``, or None.

    Called with x ``(T, N, I)`` and optionally a state h_0 ``(L*D, N, H)``, ``lengths`` or ``mask``;
    gives (y ``(T, N, D*H)``, h_n ``(L*D, N, H)``): see :meth:`forward`.

    Source: Elman 1990; the cell is :class:`RNNCell`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str | Activation = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: DType | None = None,
    ) -> None:
        super().__init__(
            lambda size: RNNCell(size, hidden_size, bias, nonlinearity, dtype=dtype),
            input_size,
            hidden_size,
            num_layers,
            batch_first,
            dropout,
            bidirectional,
        )


class GRU(RecurrentLayer[Tensor]):
    """Gated recurrent units, as published or, with ``reset_after=True``, as in PyTorch.

    The two forms are different functions, and weights of one cannot be loaded into the other:
    see :class:`GRUCell` for the equations.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L; layer k+1 reads the output of layer k.
        bias: Whether there are biases.
        batch_first: Whether x and y are ``(N, T, ...)``.
        dropout: Probability of dropout on the output of each layer but the last, in training.
        bidirectional: Whether a second cell reads each layer from the end.
        dtype: Of the parameters; the default float if None.
        reset_after: Whether the reset gate acts after the recurrent matrix.

    Attributes:
        weight_ih_l0, weight_hh_l0: Blocks r, z, n of W ``(3H, I)`` and U ``(3H, H)`` of layer 0;
            other layers and directions as for :class:`RNN`.
        bias_ih_l0: Blocks of b ``(3H,)``; with ``reset_after`` also ``bias_hh_l0``.

    Called as :class:`RNN`: (x, h_0) to (y, h_n).

    Source: Cho et al. 2014; the cell is :class:`GRUCell`, which has more options.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: DType | None = None,
        reset_after: bool = False,
    ) -> None:
        super().__init__(
            lambda size: GRUCell(size, hidden_size, bias, dtype=dtype, reset_after=reset_after),
            input_size,
            hidden_size,
            num_layers,
            batch_first,
            dropout,
            bidirectional,
        )


class LSTM(RecurrentLayer[tuple[Tensor, Tensor]]):
    """Long short-term memory; state is the tuple (h, c).

        i, f, o = σ(W x + b + U h + c),    g = tanh(W_g x + b_g + U_g h + c_g)
        c' = f ⊙ c + i ⊙ g,    h' = o ⊙ tanh(c')

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L; layer k+1 reads the output of layer k.
        bias: Whether there are biases.
        batch_first: Whether x and y are ``(N, T, ...)``.
        dropout: Probability of dropout on the output of each layer but the last, in training.
        bidirectional: Whether a second cell reads each layer from the end.
        dtype: Of the parameters; the default float if None.
        proj_size: P, to project each h from H to P units; 0 for no projection.

    Attributes:
        weight_ih_l0, weight_hh_l0: Blocks i, f, g, o of W ``(4H, I)`` and U ``(4H, H or P)`` of
            layer 0; other layers and directions as for :class:`RNN`.
        bias_ih_l0, bias_hh_l0: Blocks of b and c ``(4H,)``, or None.
        weight_hr_l0: The projection ``(P, H)``, with ``proj_size``.

    Called with x ``(T, N, I)`` and optionally (h_0 ``(L*D, N, H or P)``, c_0 ``(L*D, N, H)``);
    gives (y ``(T, N, D*H or D*P)``, (h_n, c_n)): see :meth:`forward`.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import nn
        >>> lstm = nn.LSTM(28, 64, num_layers=2, bidirectional=True)
        >>> y, (h, c) = lstm(ts.zeros((35, 20, 28)))
        >>> y.shape, h.shape, c.shape
        ((35, 20, 128), (4, 20, 64), (4, 20, 64))

    Source: Hochreiter & Schmidhuber 1997; the cell is :class:`LSTMCell`, which has more options.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: DType | None = None,
    ) -> None:
        super().__init__(
            lambda size: LSTMCell(size, hidden_size, bias, dtype=dtype, proj_size=proj_size),
            input_size,
            hidden_size,
            num_layers,
            batch_first,
            dropout,
            bidirectional,
        )
