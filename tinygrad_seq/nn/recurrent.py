"""Unrolling: a cell applied along time, in either direction or both.

Shapes: T steps, N sequences, I inputs. Sequences of different lengths are padded to T and come
with ``lengths``.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np

from .. import ops
from ..autograd.mode import Mode
from ..tensor import Tensor
from .cells import Cell, Step
from .checks import as_tensor, integers
from .module import Module

Mask: TypeAlias = np.ndarray[Any, Any]
"""Which steps are no padding, booleans ``(T, N)``."""

step_by_step: ContextVar[bool] = ContextVar("step_by_step", default=False)


class unrolled(Mode):
    """Compute and record recurrent layers operation by operation, step by step.

    Without it RNN, GRU and LSTM cells read a sequence as one fused operation: faster, and one node
    in the graph. The results are the same; use it to look at the graph of every step.
    ``with nn.unrolled(): ...`` or ``@nn.unrolled()``.
    """

    variable, value = step_by_step, True


class Recurrent(Module):
    """Unroll a cell along a sequence.  y_t, s_t = cell(x_t, s_{t-1})

    The library's RNN, GRU and LSTM cells are computed by one fused operation that equals the cell
    unrolled; see :class:`unrolled`.

    Args:
        cell: Any callable ``(x_t, state) -> (y_t, state)`` whose state is a Tensor or a tuple of
            Tensors. A :class:`Cell` starts from zeros; another cell given no state gets None at its
            first step, unless it has ``initial_state(batch_shape)``.
        reverse: Whether to read from the end to the start. Outputs keep their places in time.

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
        if not callable(cell):
            raise TypeError(
                f"Recurrent expects a cell, callable as cell(x, state) -> (y, state); got {cell!r}"
            )
        self.cell = cell
        self.reverse = reverse

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        """Read a sequence.

        Args:
            x: Input ``(T, N, I)``, or ``(T, I)`` for one sequence.
            state: The state before the first step; the cell's own if None.
            lengths: Length of each sequence ``(N,)``, integers in 1..T in any order. Past its
                length a sequence keeps its state and gives zeros; in reverse it starts at its
                own end. Padding of any value, NaN too, has no effect and a gradient of exactly
                zero: each sequence comes out as if it were alone.

        Returns:
            (y ``(T, N, H)``, state after the last step).

        Raises:
            ValueError: there are no steps, or shapes or lengths do not fit.
            TypeError: dtypes or kinds do not fit, or the cell does not return (y, state).
        """
        x = as_tensor(x)
        if x.ndim < 1 or x.shape[0] == 0:
            raise ValueError(f"a sequence needs at least one step; got x of shape {x.shape}")
        valid = valid_steps(lengths, x.shape)
        if valid is not None:
            x = ops.where(_beside(valid, x), x, 0)
        cell, batch = self.cell, x.shape[1:-1]
        if not isinstance(cell, Cell):
            if state is None and hasattr(cell, "initial_state"):
                state = cell.initial_state(batch)
            return self._unroll(cell, ops.unstack(x), state, valid)
        x = cell.check_input(x)
        if x.ndim not in (2, 3):
            size = cell.input_size
            raise ValueError(
                f"{type(cell).__name__} reads sequences (T, N, {size}) or (T, {size}); "
                f"got x of shape {x.shape}"
            )
        state = cell.initial_state(batch) if state is None else cell.check_state(state, batch)
        if cell.fused is None or step_by_step.get():
            return self._step_by_step(cell, x, state, valid)
        return self._at_once(cell, x, state, valid)

    def _at_once(self, cell: Cell, x: Tensor, state: Any, valid: Mask | None) -> tuple[Tensor, Any]:
        """The whole sequence as one operation, whose specification is the cell unrolled."""
        single = x.ndim == 2
        if single:
            x, state = ops.expand_dims(x, 1), _each(lambda part: ops.expand_dims(part, 0), state)

        def specification() -> tuple[Tensor, ...]:
            y, last = self._step_by_step(cell, x, state, valid)
            return y, *(last if isinstance(last, tuple) else (last,))

        assert cell.fused is not None
        y, *parts = cell.fused(x, state, specification, mask=valid, reverse=self.reverse)
        last = tuple(parts) if len(parts) > 1 else parts[0]
        if single:
            y, last = ops.squeeze(y, 1), _each(lambda part: ops.squeeze(part, 0), last)
        return y, last

    def _step_by_step(
        self, cell: Cell, x: Tensor, state: Any, valid: Mask | None
    ) -> tuple[Tensor, Any]:
        """The cell unrolled, one product for what all steps read of the input."""
        return self._unroll(cell.recurrence(), ops.unstack(cell.project(x)), state, valid)

    def _unroll(
        self, step: Step, inputs: tuple[Tensor, ...], state: Any, valid: Mask | None
    ) -> tuple[Tensor, Any]:
        """y_t, s_t = step(x_t, s_{t-1}) for every t."""
        outputs = []
        for t in reversed(range(len(inputs))) if self.reverse else range(len(inputs)):
            y, after = _take(step(inputs[t], state))
            if valid is not None and not valid[t].all():
                after = _freeze(valid[t], after, state)
            outputs.append(y)
            state = after
        y = ops.stack(outputs[::-1] if self.reverse else outputs)
        if valid is not None:
            y = ops.where(_beside(valid, y), y, 0)
        return y, state

    def extra_repr(self) -> str:
        """The direction, and a cell that is no module."""
        parts = [] if isinstance(self.cell, Module) else [getattr(self.cell, "__name__", "cell")]
        return ", ".join(parts + ["reverse=True"] * self.reverse)


class Bidirectional(Module):
    """Read a sequence in both directions and join the outputs.  y_t = [y→_t, y←_t]

    The two may differ in size and in kind; each is built with its own cell.

    Args:
        forwards: A :class:`Recurrent`.
        backwards: A :class:`Recurrent` with ``reverse=True``.

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

    def __init__(self, forwards: Recurrent, backwards: Recurrent) -> None:
        for name, part, reverse in (("first", forwards, False), ("second", backwards, True)):
            if not isinstance(part, Recurrent) or part.reverse != reverse:
                raise TypeError(
                    f"Bidirectional expects Recurrent(cell) and Recurrent(cell, reverse=True); "
                    f"got {part!r} as the {name}"
                )
        self.forwards = forwards
        self.backwards = backwards

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None
    ) -> tuple[Tensor, tuple[Any, Any]]:
        """Read a sequence; arguments as for :class:`Recurrent`.

        Args:
            x: Input ``(T, N, I)``, or ``(T, I)``.
            state: A pair, one state for each direction; each may be None.
            lengths: Length of each sequence ``(N,)``.

        Returns:
            (y ``(T, N, H→ + H←)``, pair of states).

        Raises:
            TypeError: ``state`` is no pair; and as :class:`Recurrent`.
        """
        if state is None:
            state = (None, None)
        if not isinstance(state, tuple | list) or len(state) != 2:
            raise TypeError(
                "Bidirectional expects its state as a pair, one for each direction; "
                f"got a {type(state).__name__}"
            )
        ahead, state_ahead = self.forwards(x, state[0], lengths)
        back, state_back = self.backwards(x, state[1], lengths)
        return ops.concatenate([ahead, back], axis=-1), (state_ahead, state_back)


def valid_steps(lengths: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
    """Which steps of a batch ``(T, N, ...)`` are no padding: booleans ``(T, N)``; None if all are.

    Raises:
        TypeError: the lengths are not integers.
        ValueError: they are not one for each sequence, or not in 1..T.
    """
    if lengths is None:
        return None
    array = integers("a recurrent layer", "lengths", lengths)
    steps = shape[0]
    if len(shape) < 3:
        raise ValueError(f"lengths need a batch, x of shape (T, N, ...); got x of shape {shape}")
    if array.shape != shape[1:2]:
        raise ValueError(
            f"lengths must be one for each of {shape[1]} sequences, of shape ({shape[1]},); "
            f"got shape {array.shape}"
        )
    wrong = np.flatnonzero((array < 1) | (array > steps))
    if wrong.size:
        n = int(wrong[0])
        raise ValueError(f"lengths must be from 1 to {steps} steps; sequence {n} has {array[n]}")
    return None if (array == steps).all() else np.arange(steps)[:, None] < array


def _beside(mask: np.ndarray[Any, Any], x: Tensor) -> np.ndarray[Any, Any]:
    """A mask with as many axes as ``x``, to broadcast over the last ones."""
    return mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))


def _each(f: Any, state: Any) -> Any:
    return tuple(map(f, state)) if isinstance(state, tuple) else f(state)


def _take(result: Any) -> tuple[Tensor, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"a cell must return the pair (y, state); got a {type(result).__name__}"
            + (f" of {len(result)}" if isinstance(result, tuple) else "")
        )
    return result


def _freeze(valid: np.ndarray[Any, Any], after: Any, before: Any) -> Any:
    """The new state for the sequences that are at a valid step, the old one for the others."""
    if before is None:
        raise ValueError(
            "reading padded sequences in reverse needs a state to keep until each starts: "
            "give state=, or the cell an initial_state(batch_shape)"
        )
    if isinstance(after, tuple | list):
        return tuple(_freeze(valid, a, b) for a, b in zip(after, before, strict=True))
    return ops.where(_beside(valid, after), after, before)
