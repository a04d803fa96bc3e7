"""Conditions a sequence on a context vector.

It enters a recurrent net at each step, beside the input, or as the initial state, or both:

    y, last = layer(seq.at_each_step(x, c))              # R c enters every step's sum
    y, last = layer(x, start(c))                         # start = seq.ContextState(C, layer)
    y, last = layer(seq.at_each_step(x, c), start(c))

Source: Deep Learning, 10.2.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import ops
from ..nn import Linear, Module, ModuleList
from ..nn.checks import as_tensor, positive, same_dtype
from ..nn.recurrent.cell import learned
from ..recurrence import each
from ..tensor import Tensor

if TYPE_CHECKING:
    from ..autograd.signatures import Operand


def at_each_step(x: Operand, context: Operand) -> Tensor:
    """The input joined with the context.  x_t ↦ [x_t, c]

    A layer that reads it adds R c to every gate, where R are the new columns of its W.

    Args:
        x: The input of all steps ``(T, N, I)``, or of one step ``(N, I)``.
        context: c ``(N, C)``.

    Returns:
        ``(T, N, I + C)``, or ``(N, I + C)``.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the dtypes differ.

    Source: Deep Learning, fig. 10.9.
    """
    x, context = as_tensor(x), as_tensor(context)
    if x.ndim not in (2, 3) or context.ndim != 2 or x.shape[-2] != context.shape[0]:
        raise ValueError(
            "at_each_step expects x (T, N, I) or (N, I) and a context (N, C) of the same N "
            f"sequences; got {x.shape} and {context.shape}"
        )
    same_dtype("at_each_step", "context", context, x.dtype, "x")
    beside = ops.broadcast_to(context, (*x.shape[:-1], context.shape[-1]))
    return ops.concatenate([x, beside], axis=-1)


class ContextState(Module):
    """An initial state computed from a context.  s_0 = tanh(W c + b), for every part of the state

    Args:
        context_size: C.
        module: A cell, :class:`nn.Recurrent`, RNN, GRU, LSTM or another layer that has
            ``initial_state()``, which defines the parts of a state.

    Attributes:
        maps: W and b of each part of the state, each a :class:`nn.Linear`.

    Source: Deep Learning, 10.2.4; Bahdanau et al. 2015, A.2.2.
    """

    def __init__(self, context_size: int, module: Any) -> None:
        self.context_size = positive("ContextState", "context_size", context_size)
        self.maps = ModuleList()

        def learn(part: Tensor) -> int:
            self.maps.append(Linear(context_size, part.size, dtype=part.dtype))
            self._shapes.append(part.shape)
            return len(self.maps) - 1

        self._shapes: list[tuple[int, ...]] = []
        self._form = learned("ContextState", module, learn)

    def forward(self, context: Operand) -> Any:
        """The state for a context c ``(N, C)``, in the structure that the module takes.

        Raises:
            ValueError: the context has another shape.
            TypeError: it has another dtype than the weights.
        """
        context = as_tensor(context)
        if context.ndim != 2:
            raise ValueError(f"ContextState expects a context (N, C); got shape {context.shape}")

        def part(k: int) -> Any:
            flat = ops.tanh(self.maps[k](context))
            return ops.moveaxis(ops.reshape(flat, (context.shape[0], *self._shapes[k])), 0, -2)

        return each(part, self._form)

    def extra_repr(self) -> str:
        """C."""
        return str(self.context_size)
