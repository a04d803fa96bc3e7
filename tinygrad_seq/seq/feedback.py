"""Recurrence from the output, and teacher forcing: feed back the target.

If the only connection from step t-1 to step t is a state that the data contain (the output, whose
true value is the target), training needs no recurrence: every step reads the true state, and all
steps are computed together. But the net can remember only what its outputs contain.
Source: Goodfellow et al., Deep Learning, fig. 10.4, 10.2.1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from .. import ops
from ..creation import zeros
from ..nn import Module, Recurrent
from ..nn.checks import as_tensor, fraction, positive, zeros_beside
from ..nn.dropout import chosen
from ..nn.recurrent.cell import initial_state_of, require_cell
from ..recurrence import each, pair
from ..tensor import Tensor


class FeedbackCell(Module):
    """Any net as a cell whose state is its output.  o_t = net([x_t, s_{t-1}]), s_t = feed(o_t)

    ``nn.Recurrent(FeedbackCell(...))`` runs free, on its own outputs; :func:`teacher_forcing`
    feeds it the true ones.

    Args:
        net: Maps ``(N, I + O)`` to ``(N, O)``.
        output_size: O.
        feed: Maps an output to what the next step reads, ``(N, O)`` to ``(N, O)``: the identity, or
            for class scores ``ops.softmax`` or a one-hot choice.

    Example:
        >>> from tinygrad_seq import seq
        >>> net = nn.Sequential(nn.Linear(3 + 2, 16), nn.Tanh(), nn.Linear(16, 2))
        >>> y, last = nn.Recurrent(seq.FeedbackCell(net, 2))(ts.ones((7, 4, 3)))
        >>> y.shape
        (7, 4, 2)

    Source: Jordan 1986; Goodfellow et al., Deep Learning, fig. 10.4.
    """

    def __init__(
        self, net: Any, output_size: int, feed: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        if not callable(net):
            raise TypeError(f"FeedbackCell expects a net, callable as net(x); got {net!r}")
        self.net = net
        self.output_size = positive("FeedbackCell", "output_size", output_size)
        self.feed = feed

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tensor:
        """Zeros, for a batch ``(N,)`` or one sequence ``()``."""
        shape = (*batch_shape, self.output_size)
        weights = list(self.net.parameters()) if isinstance(self.net, Module) else []
        return zeros_beside(weights[0], shape) if weights else zeros(shape)

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Tensor]:
        """One step, ``x (N, I)`` and ``state (N, O)`` -> (o, what is fed back)."""
        x = as_tensor(x)
        state = self.initial_state(x.shape[:-1]) if state is None else as_tensor(state)
        if state.shape != (*x.shape[:-1], self.output_size):
            raise ValueError(
                f"FeedbackCell expects a state of shape {(*x.shape[:-1], self.output_size)}, as "
                f"its output; got {state.shape}"
            )
        o = self.net(ops.concatenate([x, state], axis=-1))
        if o.shape != state.shape:
            raise ValueError(
                f"FeedbackCell expects net to give {self.output_size} outputs, of shape "
                f"{state.shape}; got {o.shape}"
            )
        return o, o if self.feed is None else self.feed(o)


def teacher_forcing(
    cell: Any, x: Any, states: Any, state: Any = None, probability: float = 1.0
) -> tuple[Tensor, Any]:
    """Read a sequence with the true state before each step instead of the cell's own.

        y_t, ŝ_t = cell(x_t, m_t ⊙ s_{t-1} + (1 - m_t) ⊙ ŝ_{t-1})

    where m_t is 1 with ``probability`` p, for each sequence and step. With p = 1 no step depends on
    another, and all steps are one call of the cell on a batch of T · N. With p = 0 the cell reads
    its own states, as in ``nn.Recurrent(cell)``. Scheduled sampling lowers p during training.
    Gradients pass through the cell's own states where it used them.

    Args:
        cell: Any callable ``(x_t, state) -> (y_t, state)`` that treats the sequences of a batch
            independently, the library's or your own; usually a :class:`FeedbackCell`.
        x: Input ``(T, N, I)``.
        states: The true state after each step, ``(T, N, S)``, or a tuple of parts. The last is not
            read. (For a :class:`FeedbackCell`: the targets, as they would be fed back.)
        state: The state before the first step ``(N, S)``; the cell's own if None.
        probability: p.

    Returns:
        (y ``(T, N, O)``, the cell's own state after the last step).

    Raises:
        ValueError: shapes do not fit, the probability is not in 0..1, or a cell without an initial
            state is given none.

    Source: Williams & Zipser 1989 (teacher forcing); Bengio et al. 2015 (scheduled sampling).
    """
    p = fraction("teacher_forcing", "probability", probability)
    x = as_tensor(x)
    if x.ndim < 2 or x.shape[0] == 0:
        raise ValueError(f"teacher_forcing reads sequences x of shape (T, N, I); got {x.shape}")
    states = each(as_tensor, states)
    each(functools.partial(_along, x=x), states)
    if p == 0:
        return Recurrent(cell).forward(x, state)
    require_cell("teacher_forcing", cell)
    first = initial_state_of(cell, x.shape[1:-1]) if state is None else state
    if first is None:
        raise ValueError(
            "teacher_forcing needs a state before the first step: give state=, or the cell an "
            "initial_state(batch_shape)"
        )
    first = each(as_tensor, first)
    if p < 1:
        return _now_and_then(cell, x, states, first, p)
    before = each(_shifted, first, states)
    y, own = pair("a cell", cell(_folded(x), each(_folded, before)))
    steps = x.shape[:2]
    return y.reshape(*steps, *y.shape[1:]), each(lambda part: part[-x.shape[1] :], own)


def _now_and_then(cell: Any, x: Tensor, states: Any, first: Any, p: float) -> tuple[Tensor, Any]:
    """Step by step: the true state with probability p, else the cell's own."""
    outputs, own = [], first
    for t, x_t in enumerate(ops.unstack(x)):
        if t:
            teach = chosen(x_t.reshape(len(x_t), -1)[:, :1], p)
            own = each(functools.partial(ops.where, teach), each(itemgetter(t - 1), states), own)
        y, own = pair("a cell", cell(x_t, own))
        outputs.append(y)
    return ops.stack(outputs), own


def _along(part: Tensor, x: Tensor) -> None:
    if part.ndim != 3 or part.shape[:2] != x.shape[:2]:
        raise ValueError(
            f"teacher_forcing expects the true state after each step, (T, N, S) with T and N of "
            f"x {x.shape}; got {part.shape}"
        )


def _shifted(first: Tensor, part: Tensor) -> Tensor:
    """The states before each step: the first, then those after all steps but the last."""
    if first.shape != part.shape[1:]:
        raise ValueError(
            f"teacher_forcing expects a first state of shape {part.shape[1:]}, as the true ones; "
            f"got {first.shape}"
        )
    return ops.concatenate([ops.expand_dims(first, 0), part[:-1]])


def _folded(part: Tensor) -> Tensor:
    """(T, N, ...) as one batch (T · N, ...)."""
    return part.reshape(-1, *part.shape[2:])
