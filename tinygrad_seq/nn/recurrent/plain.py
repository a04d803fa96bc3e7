"""Cells of further papers, each as short as its equations.

For symbols, shapes and parameters see :mod:`.cell`; each has one bias.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from ... import ops
from ...tensor import Tensor
from ..linear import affine
from ..parameter import Parameter
from .cell import Cell, Recall, as_it_is

if TYPE_CHECKING:
    from ...autograd.signatures import DType


class MGUCell(Cell[Tensor]):
    """The minimal gated unit: one gate both for forgetting and for reading.

        f = σ(W_f x + b_f + U_f h)
        n = tanh(W_n x + b_n + U_n (f ⊙ h))
        h' = (1 - f) ⊙ h + f ⊙ n,    y = h'

    Args:
        input_size: I.
        hidden_size: H.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight_ih, weight_hh: Blocks f, n of W ``(2H, I)`` and U ``(2H, H)``.
        bias_ih: Blocks of b ``(2H,)``.

    Source: Zhou et al., "Minimal gated unit for recurrent neural networks" (2016), eq. 6.
    """

    gate_names: ClassVar[tuple[str, ...]] = ("f", "n")

    def __init__(self, input_size: int, hidden_size: int, dtype: DType | None = None) -> None:
        super().__init__(input_size, hidden_size, 2, 1, dtype)

    def step(self, x: Tensor, h: Any, recall: Recall = as_it_is) -> tuple[Any, Any]:
        """h ``(N, H)`` -> (h', h')."""
        seen = recall(h)
        x_f, x_n = ops.split(affine(x, self.weight_ih, self.bias_ih), 2, axis=-1)
        u_f, u_n = ops.split(self.weight_hh, 2)
        f = ops.sigmoid(x_f + seen @ u_f.T)
        h = (1 - f) * h + f * ops.tanh(x_n + (f * seen) @ u_n.T)
        return h, h


class SRUCell(Cell[Tensor]):
    """The simple recurrent unit: no matrix product with the state, and a skip path for the input.

        f = σ(W_f x + b_f + v_f ⊙ c),    r = σ(W_r x + b_r + v_r ⊙ c)
        c' = f ⊙ c + (1 - f) ⊙ W x,      y = r ⊙ c' + (1 - r) ⊙ W_s x

    Args:
        input_size: I.
        hidden_size: H. Where H = I there is no W_s: the input itself passes.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight_ih: W, W_f, W_r and, where H ≠ I, W_s ``(3H or 4H, I)``.
        weight_hh: v_f, v_r ``(2H,)``, the diagonals of what would be matrices.
        bias_ih: b_f, b_r ``(2H,)``.

    Source: Lei et al., "Simple recurrent units for highly parallelizable recurrence" (2018),
    eq. 1-4.
    """

    bias_ih: Parameter
    state_names: ClassVar[tuple[str, ...]] = ("c",)

    def __init__(self, input_size: int, hidden_size: int, dtype: DType | None = None) -> None:
        super().__init__(input_size, hidden_size, 3 + (input_size != hidden_size), 1, dtype)
        self.weight_hh = self._draw("weight_hh", (2 * hidden_size,), self.dtype)
        self.bias_ih = self._draw("bias_ih", (2 * hidden_size,), self.dtype)

    def step(self, x: Tensor, c: Any, recall: Recall = as_it_is) -> tuple[Any, Any]:
        """c ``(N, H)`` -> (y, c')."""
        new, to_f, to_r, *to_y = ops.split(
            x @ self.weight_ih.T, len(self.weight_ih) // self.hidden_size, axis=-1
        )
        seen, past = recall(c), to_y[0] if to_y else x
        v_f, v_r = ops.split(self.weight_hh, 2)
        b_f, b_r = ops.split(self.bias_ih, 2)
        f, r = ops.sigmoid(to_f + b_f + v_f * seen), ops.sigmoid(to_r + b_r + v_r * seen)
        c = f * c + (1 - f) * new
        return r * c + (1 - r) * past, c


class SLSTMCell(Cell[tuple[Tensor, ...]]):
    """An LSTM with an exponential input gate, whose cell is divided by the sum of its weights.

        ĩ, f̃, z̃, õ = W x + b + U h
        m' = max(ln σ(f̃) + m, ĩ),  i = e^(ĩ - m'),  f = e^(ln σ(f̃) + m - m')
        c' = f ⊙ c + i ⊙ tanh z̃,   n' = f ⊙ n + i,  h' = σ(õ) ⊙ c' / n',    y = h'

    m only keeps the exponentials bounded: h does not depend on it. It starts at -∞.

    Args:
        input_size: I.
        hidden_size: H.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight_ih, weight_hh: Blocks i, f, z, o of W ``(4H, I)`` and U ``(4H, H)``.
        bias_ih: Blocks of b ``(4H,)``.

    Source: Beck et al., "xLSTM: extended long short-term memory" (2024), eq. 8-17, with one head.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h", "c", "n", "m")
    gate_names: ClassVar[tuple[str, ...]] = ("i", "f", "z", "o")

    def __init__(self, input_size: int, hidden_size: int, dtype: DType | None = None) -> None:
        super().__init__(input_size, hidden_size, 4, 1, dtype)

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> tuple[Tensor, ...]:
        """Zeros, and m of -∞."""
        h, c, n, m = super().initial_state(batch_shape)
        return h, c, n, m - math.inf

    def step(self, x: Tensor, state: Any, recall: Recall = as_it_is) -> tuple[Any, Any]:
        """(h, c, n, m) -> (h', (h', c', n', m'))."""
        h, c, n, m = state
        i, f, z, o = ops.split(self._sums(x, recall(h)), 4, axis=-1)
        kept = m - ops.softplus(-f)
        m = ops.maximum(kept, i)
        i, f = ops.exp(i - m), ops.exp(kept - m)
        c, n = f * c + i * ops.tanh(z), f * n + i
        h = ops.sigmoid(o) * c / n
        return h, (h, c, n, m)
