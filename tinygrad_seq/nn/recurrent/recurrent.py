"""Recurrent and Bidirectional: a cell applied along time, in either direction or both.

Shapes: T steps, N sequences, I inputs. Sequences of different lengths are padded to T and come
with ``lengths``; a ``mask`` leaves out steps at any place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import ops
from ...recurrence import each, filled, flat, scan, written
from ...tensor import Tensor
from ..checks import as_sequence, as_tensor, flag, valid_steps
from ..module import Module
from ..pair import Pair
from .cell import begun, initial_state_of, inside_cell, require_cell
from .wrappers import cell_within

if TYPE_CHECKING:
    from ...autograd.signatures import Operand


class Recurrent(Module):
    """Apply a cell along a sequence.  y_t, s_t = cell(x_t, s_{t-1})

    Where possible, the loop over time is one fused operation, derived from one step of the cell.
    It equals the cell unrolled, see :class:`unrolled`.

    Args:
        cell: Any callable ``(x_t, state) -> (y_t, state)`` whose state is a Tensor, or a tuple,
            named tuple or dict of Tensors. A :class:`Cell` starts from zeros. Any other cell starts
            from None, unless it has ``initial_state(batch_shape)``.
        reverse: Whether to read from the end to the start. Outputs keep their order in time.
            (Keras' ``go_backwards`` gives them in the order read: y[::-1].)

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import nn
        >>> def decaying_sum(x, state):
        ...     total = 0.5 * state + x
        ...     return total, total
        >>> y, last = nn.Recurrent(decaying_sum)(ts.ones((4, 1)), ts.zeros(1))
        >>> y.T
        Tensor([[1.   , 1.5  , 1.75 , 1.875]], dtype=float32)
    """

    def __init__(self, cell: Any, reverse: bool = False) -> None:
        require_cell("Recurrent", cell)
        self.cell = cell
        self.reverse = flag("Recurrent", "reverse", reverse)

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Any:
        """The cell's own initial state, for a batch ``(N,)`` or one sequence ``()``."""
        return initial_state_of(self.cell, batch_shape)

    def forward(
        self,
        x: Operand,
        state: Operand | None = None,
        lengths: Operand | None = None,
        mask: Operand | None = None,
    ) -> tuple[Tensor, Any]:
        """Read a sequence.

        Args:
            x: Input ``(T, N, I)``, or ``(T, I)`` for one sequence. NumPy integers are taken as
                ids ``(T, N)``, or ``(T,)`` for one sequence, and stay on the host.
            state: The state before the first step; the cell's own if None.
            lengths: Length of each sequence ``(N,)``, integers in 1..T in any order. Past its
                length a sequence keeps its state and gives zeros; in reverse it starts at its
                own end. Padding of any value, even NaN, has no effect and a gradient of exactly
                zero: each sequence gives the same results as alone.
            mask: In place of lengths, which steps to read, booleans ``(T, N)``, or ``(T,)`` for one
                sequence. The others, at any place, are skipped like padding.

        Returns:
            (y ``(T, N, H)``, state after the last step).

        Raises:
            ValueError: there are no steps, or shapes or lengths do not fit.
            TypeError: dtypes or kinds do not fit, or the cell does not return (y, state).

        Example:
            At a skipped step the output is zero. Keras' layers repeat the last output (or first the
            initial state), unless they have ``zero_output_for_mask`` or are bidirectional. To do
            the same, index the steps:

            >>> import numpy as np
            >>> import tinygrad_seq as ts
            >>> from tinygrad_seq import nn
            >>> x, mask = ts.ones((3, 2, 1)), np.array([[1, 0], [0, 1], [1, 0]], bool)
            >>> h = ts.tensor([[0.5], [0.7]])
            >>> y, _ = nn.Recurrent(nn.GRUCell(1, 1))(x, h, mask=mask)
            >>> last = np.maximum.accumulate(np.where(mask, np.arange(1, 4)[:, None], 0))
            >>> last.T  # for each sequence, the step that was read last, from 1; 0 before the first
            array([[1, 1, 3],
                   [0, 2, 2]])
            >>> repeated = ts.concatenate([h[None], y])[last, np.arange(2)]
            >>> repeated.shape, repeated[0, 1]
            ((3, 2, 1), Tensor([0.7], dtype=float32, from=getitem))
        """
        step, xs, state, valid, alone = reading(self.cell, x, state, lengths, mask)
        name, scope = _name_of(self.cell), inside_cell(self.cell)
        try:
            y, last = scan(step, xs, state, valid, self.reverse, name, scope)
        except Exception as error:
            if state is None and isinstance(error, TypeError | AttributeError):
                error.add_note(
                    "the cell got state None at its first step: call with a first state, "
                    "Recurrent(cell)(x, state), or give the cell initial_state(batch_shape)"
                )
            elif cell_within(self.cell) is None:
                given = f"x of shape {flat(xs)[0].shape[1:]} and the state {written(state)}"
                error.add_note(f"the cell {name} was first called with {given}")
            raise
        if alone:
            y, last = ops.squeeze(y, 1), each(lambda part: ops.squeeze(part, 0), last)
        return Pair((y, last))

    def extra_repr(self) -> str:
        """The direction, and a cell that is not a module."""
        parts = [] if isinstance(self.cell, Module) else [getattr(self.cell, "__name__", "cell")]
        return ", ".join(parts + ["reverse=True"] * self.reverse)


class Reading(NamedTuple):
    """What a cell is given to read.

    Attributes:
        step: The cell, after what it computes for a whole sequence at once.
        xs: The inputs of all steps: a tensor with a leading axis T, or a tuple of such.
        state: The state before the first step, or None.
        valid: Which steps are read ``(T, N)``, or None for all.
        alone: Whether one sequence was given, and is now a batch of one.
    """

    step: Callable[[Any, Any], Any]
    xs: Any
    state: Any
    valid: Any
    alone: bool


def reading(cell: Any, x: Any, state: Any = None, lengths: Any = None, mask: Any = None) -> Reading:
    """Check the arguments of :meth:`Recurrent.forward`, and complete them."""
    x = as_sequence(x)
    if x.ndim < 1 or x.shape[0] == 0:
        raise ValueError(f"a sequence needs at least one step; got x of shape {x.shape}")
    ids = x.dtype.kind != "f" and x.ndim < 3  # (T, N), without an axis of features
    shape = (*x.shape, 1) if ids else x.shape
    valid = valid_steps(lengths, mask, shape)
    if valid is not None:
        x = filled(valid, x)
    if state is None:
        state = initial_state_of(cell, shape[1:-1])
    library, alone = cell_within(cell), False
    if library is None:  # it checks its arguments itself
        state = each(_tensor_if_array, state)
    else:
        x, state = library.check(x, state, sequence=True)
        alone = x.ndim == 2
    if alone:
        x, state = ops.expand_dims(x, 1), each(lambda part: ops.expand_dims(part, 0), state)
        valid = None if valid is None else valid[:, None]
    return Reading(*begun(cell, x, state), state, valid, alone)


def _name_of(cell: Any) -> str:
    """The name of a cell's loop in the graph: ``lstm`` for an LSTMCell."""
    within = cell_within(cell) or cell
    name = type(within).__name__ if isinstance(within, Module) else getattr(within, "__name__", "")
    return name.removesuffix("Cell").lower() or "cell"


class Bidirectional(Module):
    """Read a sequence in both directions and join the outputs.  y_t = [y→_t, y←_t]

    The two directions have their own cells, which may differ in kind and, if concatenated, in
    size.

    Args:
        forwards: A :class:`Recurrent`.
        backwards: A :class:`Recurrent` with ``reverse=True``.
        merge: ``"concat"``, or ``"sum"``, ``"mean"`` or ``"product"`` element by element.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import nn
        >>> both = nn.Bidirectional(
        ...     nn.Recurrent(nn.LSTMCell(8, 32)), nn.Recurrent(nn.GRUCell(8, 16), reverse=True)
        ... )
        >>> y, (ahead, back) = both(ts.ones((5, 2, 8)))
        >>> y.shape
        (5, 2, 48)

    Source: Schuster & Paliwal 1997.
    """

    def __init__(self, forwards: Recurrent, backwards: Recurrent, merge: str = "concat") -> None:
        for name, part, reverse in (("first", forwards, False), ("second", backwards, True)):
            if not isinstance(part, Recurrent) or part.reverse != reverse:
                raise TypeError(
                    f"Bidirectional expects Recurrent(cell) and Recurrent(cell, reverse=True); "
                    f"got {part!r} as the {name}"
                )
        if merge not in MERGES:
            raise ValueError(f"merge must be one of {', '.join(MERGES)}; got {merge!r}")
        self.forwards = forwards
        self.backwards = backwards
        self.merge = merge

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Any:
        """The pair of the directions' initial states."""
        return self.forwards.initial_state(batch_shape), self.backwards.initial_state(batch_shape)

    def forward(
        self,
        x: Operand,
        state: Operand | None = None,
        lengths: Operand | None = None,
        mask: Operand | None = None,
    ) -> tuple[Tensor, tuple[Any, Any]]:
        """Read a sequence; arguments as for :class:`Recurrent`.

        Args:
            x: Input ``(T, N, I)``, or ``(T, I)``.
            state: A pair, one state for each direction; each may be None.
            lengths: Length of each sequence ``(N,)``.
            mask: In place of lengths, which steps to read ``(T, N)``.

        Returns:
            (y ``(T, N, H→ + H←)``, or ``(T, N, H)`` if merged otherwise; pair of states).

        Raises:
            TypeError: ``state`` is not a pair; and as :class:`Recurrent`.
            ValueError: outputs to be merged differ in size; and as :class:`Recurrent`.
        """
        states = states_for("Bidirectional", state, 2, "pair, one for each direction")
        ahead, state_ahead = self.forwards(x, states[0], lengths, mask)
        back, state_back = self.backwards(x, states[1], lengths, mask)
        if self.merge != "concat" and ahead.shape != back.shape:
            raise ValueError(
                f"Bidirectional(merge={self.merge!r}) expects two directions of one size; "
                f"got {ahead.shape[-1]} forwards and {back.shape[-1]} backwards: use 'concat'"
            )
        return Pair((MERGES[self.merge](ahead, back), (state_ahead, state_back)))

    def extra_repr(self) -> str:
        """How the outputs are joined, if not by concatenation."""
        return "" if self.merge == "concat" else f"merge={self.merge!r}"


MERGES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "concat": lambda ahead, back: ops.concatenate([ahead, back], axis=-1),
    "sum": lambda ahead, back: ahead + back,
    "mean": lambda ahead, back: (ahead + back) / 2,
    "product": lambda ahead, back: ahead * back,
}


def states_for(owner: str, state: Any, count: int, form: str) -> Sequence[Any]:
    """The states of several parts, all None if none is given."""
    if state is None:
        return (None,) * count
    if not isinstance(state, tuple | list) or len(state) != count:
        many = f" of {len(state)}" if isinstance(state, tuple | list) else ""
        raise TypeError(
            f"{owner} expects its state as a {form}; got a {type(state).__name__}{many}"
        )
    return state


def _tensor_if_array(part: Any) -> Any:
    return as_tensor(part) if hasattr(part, "dtype") else part
