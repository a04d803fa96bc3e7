"""Cells since the LSTM, each as short as its equations: ``cell(x, state) -> (y, state)``.

They are Modules and nothing else: ``nn.Recurrent(cell)`` makes a layer of one, as of any callable.

Shapes: N sequences, I inputs, H hidden units; without the axis N a cell reads one sequence.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..tensor import Tensor
from . import init
from .checks import State, features, floating_dtype, positive, state_of, zeros_beside
from .linear import affine
from .module import Module, Parameter


class _PlainCell(Module):
    """What they share: sizes, one check, a state of zeros; ``step(x, state)`` has the equations."""

    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, input_size: int, hidden_size: int, dtype: Any) -> None:
        owner = type(self).__name__
        self.input_size = positive(owner, "input_size", input_size)
        self.hidden_size = self.output_size = positive(owner, "hidden_size", hidden_size)
        self._dtype = floating_dtype(owner, dtype)

    def _draw(self, *shape: int) -> Parameter:
        bound = 1 / math.sqrt(self.hidden_size)
        return Parameter(init.uniform(shape, -bound, bound, self._dtype))

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters, and of inputs and states."""
        return next(self.parameters()).dtype

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> State:
        """The state before the first step, for a batch ``(N,)`` or one sequence ``()``."""
        shape = (*batch_shape, self.hidden_size)
        parts = tuple(zeros_beside(next(self.parameters()), shape) for _ in self.state_names)
        return parts if len(parts) > 1 else parts[0]

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, State]:
        """(y, state) of one step, of what has been checked."""
        raise NotImplementedError

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, State]:
        """One step: (y, state) of x ``(N, I)`` or ``(I,)``.

        Raises:
            ValueError: sizes do not fit, or x has more axes.
            TypeError: dtypes do not fit, or the state is of another kind.
        """
        owner = type(self).__name__
        x = features(owner, x, "input_size", self.input_size, self.dtype)
        if x.ndim > 2:
            raise ValueError(
                f"{owner} takes one step, x of shape (N, {self.input_size}) or "
                f"({self.input_size},); got {x.ndim} axes: nn.Recurrent(cell) unrolls it"
            )
        if state is None:
            state = self.initial_state(x.shape[:-1])
        else:
            shapes = [(*x.shape[:-1], self.hidden_size)] * len(self.state_names)
            state = state_of(owner, state, self.state_names, shapes, self.dtype)
        return self.step(x, state)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.input_size}, {self.hidden_size}"


class MGUCell(_PlainCell):
    """The minimal gated unit: one gate, for what is forgotten and for what is read.

        f = σ(W_f x + U_f h + b_f),  h̃ = tanh(W_h x + U_h (f ⊙ h) + b_h)
        h' = (1 - f) ⊙ h + f ⊙ h̃

    Args:
        input_size: I.
        hidden_size: H.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight_ih: W_f, W_h ``(2 H, I)``.
        weight_hh, weight_fh: U_f and U_h ``(H, H)``.
        bias: b_f, b_h ``(2 H,)``.

    Source: Zhou et al., "Minimal gated unit for recurrent neural networks" (2016), eq. 6.
    """

    def __init__(self, input_size: int, hidden_size: int, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, dtype)
        self.weight_ih = self._draw(2 * hidden_size, input_size)
        self.weight_hh = self._draw(hidden_size, hidden_size)
        self.weight_fh = self._draw(hidden_size, hidden_size)
        self.bias = self._draw(2 * hidden_size)

    def step(self, x: Tensor, h: Any) -> tuple[Tensor, State]:
        """See the class."""
        to_f, to_new = ops.split(affine(x, self.weight_ih, self.bias), 2, axis=-1)
        f = ops.sigmoid(to_f + h @ self.weight_hh.T)
        new = ops.tanh(to_new + (f * h) @ self.weight_fh.T)
        h = (1 - f) * h + f * new
        return h, h


class SRUCell(_PlainCell):
    """The simple recurrent unit: no product with the state, and a way past it for the input.

        f = σ(W_f x + v_f ⊙ c + b_f),  r = σ(W_r x + v_r ⊙ c + b_r)
        c' = f ⊙ c + (1 - f) ⊙ W x,    y = r ⊙ c' + (1 - r) ⊙ W_s x

    Args:
        input_size: I.
        hidden_size: H. Where H = I there is no W_s: the input itself passes.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight: W, W_f, W_r and, where H ≠ I, W_s ``(3 H or 4 H, I)``.
        peephole: v_f, v_r ``(2 H,)``.
        bias: b_f, b_r ``(2 H,)``.

    Source: Lei et al., "Simple recurrent units for highly parallelizable recurrence" (2018),
    eq. 1-4.
    """

    state_names = ("c",)

    def __init__(self, input_size: int, hidden_size: int, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, dtype)
        self.weight = self._draw((3 + (input_size != hidden_size)) * hidden_size, input_size)
        self.peephole = self._draw(2 * hidden_size)
        self.bias = Parameter(np.zeros(2 * hidden_size, self._dtype))

    def step(self, x: Tensor, c: Any) -> tuple[Tensor, State]:
        """See the class."""
        parts = ops.split(x @ self.weight.T, len(self.weight) // self.hidden_size, axis=-1)
        new, to_f, to_r = parts[:3]
        past = parts[3] if len(parts) > 3 else x
        (v_f, v_r), (b_f, b_r) = ops.split(self.peephole, 2), ops.split(self.bias, 2)
        f, r = ops.sigmoid(to_f + v_f * c + b_f), ops.sigmoid(to_r + v_r * c + b_r)
        c = f * c + (1 - f) * new
        return r * c + (1 - r) * past, c


class SLSTMCell(_PlainCell):
    """An LSTM whose input gate is an exponential, and whose cell is divided by its weights' sum.

        ĩ, f̃, z̃, õ = W x + R h + b
        m' = max(ln σ(f̃) + m, ĩ),  i = e^(ĩ - m'),  f = e^(ln σ(f̃) + m - m')
        c' = f ⊙ c + i ⊙ tanh z̃,   n' = f ⊙ n + i,  h' = σ(õ) ⊙ c' / n'

    m only keeps the exponentials within bounds: h does not depend on it. Before the first step it
    is -∞.

    Args:
        input_size: I.
        hidden_size: H.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight_ih: W ``(4 H, I)``.
        weight_hh: R ``(4 H, H)``.
        bias: b ``(4 H,)``.

    Source: Beck et al., "xLSTM: extended long short-term memory" (2024), eq. 8-17, with one head.
    """

    state_names = ("h", "c", "n", "m")

    def __init__(self, input_size: int, hidden_size: int, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, dtype)
        self.weight_ih = self._draw(4 * hidden_size, input_size)
        self.weight_hh = self._draw(4 * hidden_size, hidden_size)
        self.bias = self._draw(4 * hidden_size)

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> State:
        """Zeros, and m of -∞."""
        h, c, n, m = super().initial_state(batch_shape)
        return h, c, n, m - math.inf

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, State]:
        """See the class."""
        h, c, n, m = state
        i, f, z, o = ops.split(
            affine(x, self.weight_ih, self.bias) + h @ self.weight_hh.T, 4, axis=-1
        )
        kept = m - ops.softplus(-f)
        m = ops.maximum(kept, i)
        i, f = ops.exp(i - m), ops.exp(kept - m)
        c, n = f * c + i * ops.tanh(z), f * n + i
        h = ops.sigmoid(o) * c / n
        return h, (h, c, n, m)
