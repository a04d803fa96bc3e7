"""Unrolling: a cell applied along time, in either direction or both.

Shapes: T steps, N sequences, I inputs. Sequences of different lengths are padded to T and come
with ``lengths``; steps to leave out, wherever they are, come as a ``mask``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np

from .. import ops
from ..autograd.mode import Mode
from ..autograd.scope import at_step
from ..tensor import Tensor
from .checks import as_sequence, beside, booleans, integers
from .module import Module
from .unrollable import Step, each, inside_cell, recurrence_of, unrollable

Mask: TypeAlias = np.ndarray[Any, Any]
"""Which steps are read, booleans ``(T, N)``, or ``(T,)`` for one sequence."""

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
        unrollable("Recurrent", cell)  # or say so now
        self.cell = cell
        self.reverse = reverse

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Any:
        """The cell's own first state, for a batch ``(N,)`` or one sequence ``()``."""
        return unrollable("Recurrent", self.cell).initial_state(batch_shape)

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, mask: Any = None
    ) -> tuple[Tensor, Any]:
        """Read a sequence.

        Args:
            x: Input ``(T, N, I)``, or ``(T, I)`` for one sequence. NumPy's integers are taken as
                ids, and stay on the host.
            state: The state before the first step; the cell's own if None.
            lengths: Length of each sequence ``(N,)``, integers in 1..T in any order. Past its
                length a sequence keeps its state and gives zeros; in reverse it starts at its
                own end. Padding of any value, NaN too, has no effect and a gradient of exactly
                zero: each sequence comes out as if it were alone.
            mask: In place of lengths, which steps to read, booleans ``(T, N)``, or ``(T,)`` for one
                sequence: the others, anywhere, are left out as padding is.

        Returns:
            (y ``(T, N, H)``, state after the last step).

        Raises:
            ValueError: there are no steps, or shapes or lengths do not fit.
            TypeError: dtypes or kinds do not fit, or the cell does not return (y, state).

        Example:
            At a step left out the output is zero. Keras' layers repeat the last one, unless they
            have ``zero_output_for_mask`` or are bidirectional; that is a choice of steps:

            >>> import numpy as np
            >>> import tinygrad_seq as ts
            >>> from tinygrad_seq import nn
            >>> x, mask = ts.ones((3, 2, 1)), np.array([[1, 0], [0, 1], [1, 0]], bool)
            >>> y, _ = nn.Recurrent(nn.GRUCell(1, 1))(x, mask=mask)
            >>> last = np.maximum.accumulate(np.where(mask, np.arange(3)[:, None], 0))
            >>> last.T  # for each sequence, the step that was read last; zeros before the first
            array([[0, 0, 2],
                   [0, 1, 1]])
            >>> y[last, np.arange(2)].shape
            (3, 2, 1)
        """
        x = as_sequence(x)
        if x.ndim < 1 or x.shape[0] == 0:
            raise ValueError(f"a sequence needs at least one step; got x of shape {x.shape}")
        valid = valid_steps(lengths, mask, x.shape)
        if valid is not None:
            x = ops.where(_as_rows(beside(valid, x), x), x, 0)
        cell = unrollable("Recurrent", self.cell)
        x = cell.check_sequence(x)
        batch = x.shape[1:-1]
        state = cell.initial_state(batch) if state is None else cell.check_state(state, batch)
        # A single step (a token at a time) is not worth the copies of the weights that many share.
        if cell.fused is None or step_by_step.get() or len(x) == 1:
            return self._step_by_step(cell, x, state, valid)
        return self._at_once(cell, x, state, valid)

    def _at_once(self, cell: Any, x: Tensor, state: Any, valid: Mask | None) -> tuple[Tensor, Any]:
        """The whole sequence as one operation, whose specification is the cell unrolled."""
        single = x.ndim == 2
        if single:
            x, state = ops.expand_dims(x, 1), each(lambda part: ops.expand_dims(part, 0), state)
            valid = None if valid is None else valid[:, None]

        def specification() -> tuple[Tensor, ...]:
            y, last = self._step_by_step(cell, x, state, valid)
            return y, *(last if isinstance(last, tuple) else (last,))

        mask = None if valid is None else beside(valid, x)
        with inside_cell(cell):
            y, *parts = cell.fused(x, state, specification, mask=mask, reverse=self.reverse)
        last = tuple(parts) if len(parts) > 1 else parts[0]
        if single:
            y, last = ops.squeeze(y, 1), each(lambda part: ops.squeeze(part, 0), last)
        return y, last

    def _step_by_step(
        self, cell: Any, x: Tensor, state: Any, valid: Mask | None
    ) -> tuple[Tensor, Any]:
        """The cell unrolled, one product for what all steps read of the input."""
        with inside_cell(cell):
            x = cell.project(x)
        return self._unroll(recurrence_of(cell), ops.unstack(x), state, valid)

    def _unroll(
        self, step: Step, inputs: tuple[Tensor, ...], state: Any, valid: Mask | None
    ) -> tuple[Tensor, Any]:
        """y_t, s_t = step(x_t, s_{t-1}) for every t."""
        outputs = []
        for t in reversed(range(len(inputs))) if self.reverse else range(len(inputs)):
            with at_step(t):
                y, after = pair("a cell", step(inputs[t], state))
                if valid is not None and not valid[t].all():
                    after = _freeze(valid[t], after, state)
            outputs.append(y)
            state = after
        y = ops.stack(outputs[::-1] if self.reverse else outputs)
        if valid is not None:
            y = ops.where(_as_rows(beside(valid, y), y), y, 0)
        return y, state

    def extra_repr(self) -> str:
        """The direction, and a cell that is no module."""
        parts = [] if isinstance(self.cell, Module) else [getattr(self.cell, "__name__", "cell")]
        return ", ".join(parts + ["reverse=True"] * self.reverse)


class Bidirectional(Module):
    """Read a sequence in both directions and join the outputs.  y_t = [y→_t, y←_t]

    The two may differ in kind and, where they are concatenated, in size; each is built with its
    own cell.

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
        if merge not in _MERGES:
            raise ValueError(f"merge must be one of {', '.join(_MERGES)}; got {merge!r}")
        self.forwards = forwards
        self.backwards = backwards
        self.merge = merge

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Any:
        """The pair of the directions' first states."""
        return self.forwards.initial_state(batch_shape), self.backwards.initial_state(batch_shape)

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, mask: Any = None
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
            TypeError: ``state`` is no pair; and as :class:`Recurrent`.
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
        return _MERGES[self.merge](ahead, back), (state_ahead, state_back)

    def extra_repr(self) -> str:
        """How the outputs are joined, if not by concatenation."""
        return "" if self.merge == "concat" else f"merge={self.merge!r}"


_MERGES: dict[str, Callable[[Tensor, Tensor], Any]] = {
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


def valid_steps(
    lengths: Any, mask: Any, shape: tuple[int, ...], owner: str = "a recurrent layer"
) -> Mask | None:
    """Which steps of x, ``(T, N, ...)`` or ``(T, I)``, are read; None if all are.

    Raises:
        TypeError: the lengths are not integers, or the mask is not booleans.
        ValueError: both are given, or the lengths are not one for each sequence, or not in 1..T, or
            the mask has not one for each step.
    """
    if mask is not None:
        if lengths is not None:
            raise ValueError("give lengths or a mask, not both: a mask says which steps are read")
        valid = mask_of(mask, shape, owner)
        return None if valid.all() else valid
    if lengths is None:
        return None
    array = integers(owner, "lengths", lengths)
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


def mask_of(mask: Any, shape: tuple[int, ...], owner: str = "a recurrent layer") -> Mask:
    """The mask of an x of this shape, as a NumPy array."""
    array = booleans(owner, "mask", mask)
    expected = shape[: min(2, len(shape) - 1)]
    if array.shape != expected:
        raise ValueError(
            f"mask must say of each step whether it is read, of shape {expected} "
            f"for x of shape {shape}; got shape {array.shape}"
        )
    return array


def _as_rows(mask: Any, x: Tensor) -> Any:
    """A mask with as many axes as ``x``, to broadcast over the last ones."""
    return mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))


def pair(owner: str, result: Any) -> tuple[Tensor, Any]:
    """What a cell or a layer returned, if it is (y, state)."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"{owner} must return the pair (y, state); got a {type(result).__name__}"
            + (f" of {len(result)}" if isinstance(result, tuple) else "")
        )
    if not isinstance(result[0], Tensor):
        raise TypeError(
            f"{owner} must return y as a Tensor, or gradients would be lost; got a "
            f"{type(result[0]).__name__}"
        )
    return result


def _freeze(valid: Mask, after: Any, before: Any) -> Any:
    """The new state for the sequences that are at a valid step, the old one for the others."""
    if before is None:
        raise ValueError(
            "leaving out the first step that is read needs a state to keep until each sequence "
            "starts: give state=, or the cell an initial_state(batch_shape)"
        )
    return each(lambda a, b: ops.where(_as_rows(beside(valid, a), a), a, b), after, before)
