"""Cells whose sums are normalised at every step.

Symbols, shapes and parameters are those of :mod:`.cell`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .. import ops
from ..tensor import Tensor
from .activation import Activation, nonlinearity_of, nonlinearity_options
from .cell import Cell
from .norm import LayerNorm
from .unrollable import Recall, Step, as_it_is


class LayerNormRNNCell(Cell):
    """Simple recurrent cell whose sums are normalised.

        h' = φ(LN(W x + U h)),    y = h'

    LN is :class:`LayerNorm`, whose own b is the bias.

    Args:
        input_size: I.
        hidden_size: H.
        nonlinearity: φ, ``"tanh"`` or ``"relu"``; or a function of tensors.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight_ih, weight_hh: W ``(H, I)`` and U ``(H, H)``.
        norm: LN of H.

    Source: Ba et al. 2016, eq. 4.
    """

    gate_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        nonlinearity: str | Activation = "tanh",
        *,
        dtype: Any = None,
    ) -> None:
        nonlinearity_of(nonlinearity)  # or say so now
        super().__init__(input_size, hidden_size, 1, 0, dtype)
        self.nonlinearity = nonlinearity
        self.norm = LayerNorm(hidden_size, dtype=self.dtype)

    def recurrence(self, recall: Recall = as_it_is) -> Step:
        """One step: h ``(N, H)`` -> (h', h')."""
        u = self.weight_hh.T
        phi = nonlinearity_of(self.nonlinearity)

        def step(wx: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            h = phi(self.norm(wx + recall(h) @ u))
            return h, h

        return step

    def options(self) -> list[str]:
        """The settings that differ from the default."""
        return nonlinearity_options(self.nonlinearity)


class LayerNormGRUCell(Cell):
    """Gated recurrent unit whose sums are normalised; its reset gate acts after the matrix.

        r, z = σ(LN(W_rz x) + LN(U_rz h))
        n = tanh(LN(W_n x) + r ⊙ LN(U_n h))
        h' = z ⊙ h + (1 - z) ⊙ n,    y = h'

    Each LN is a :class:`LayerNorm` of its own, whose b is the bias; r and z have one for both.

    Args:
        input_size: I.
        hidden_size: H.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight_ih, weight_hh: Blocks r, z, n of W ``(3H, I)`` and U ``(3H, H)``.
        norm_ih_rz, norm_hh_rz: LN of 2H.
        norm_ih_n, norm_hh_n: LN of H.

    Source: Ba et al. 2016, supplement (there z and 1 - z are swapped).
    """

    gate_names: ClassVar[tuple[str, ...]] = ("r", "z", "n")

    def __init__(self, input_size: int, hidden_size: int, *, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, 3, 0, dtype)
        self.norm_ih_rz = LayerNorm(2 * hidden_size, dtype=self.dtype)
        self.norm_hh_rz = LayerNorm(2 * hidden_size, dtype=self.dtype)
        self.norm_ih_n = LayerNorm(hidden_size, dtype=self.dtype)
        self.norm_hh_n = LayerNorm(hidden_size, dtype=self.dtype)

    def project(self, x: Any) -> Tensor:
        """LN(W_rz x) and LN(W_n x), side by side."""
        rz, n = ops.split(super().project(x), [2 * self.hidden_size], axis=-1)
        both: Tensor = ops.concatenate([self.norm_ih_rz(rz), self.norm_ih_n(n)], axis=-1)
        return both

    def recurrence(self, recall: Recall = as_it_is) -> Step:
        """One step: h ``(N, H)`` -> (h', h')."""
        rz = [2 * self.hidden_size]
        u = self.weight_hh.T

        def step(wx: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            x_rz, x_n = ops.split(wx, rz, axis=-1)
            h_rz, h_n = ops.split(recall(h) @ u, rz, axis=-1)
            r, z = ops.split(ops.sigmoid(x_rz + self.norm_hh_rz(h_rz)), 2, axis=-1)
            n = ops.tanh(x_n + r * self.norm_hh_n(h_n))
            h = n + z * (h - n)  # z h + (1 - z) n
            return h, h

        return step


class LayerNormLSTMCell(Cell):
    """LSTM whose sums and whose cell are normalised.

        i, f, g, o = blocks of LN(W x) + LN(U h)
        c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g)
        h' = σ(o) ⊙ tanh(LN(c')),    y = h'

    Each LN is a :class:`LayerNorm` of its own, whose b is the bias; the gates have one for all.

    Args:
        input_size: I.
        hidden_size: H.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight_ih, weight_hh: Blocks i, f, g, o of W ``(4H, I)`` and U ``(4H, H)``.
        norm_ih, norm_hh: LN of 4H.
        norm_c: LN of H.

    Source: Ba et al. 2016, eq. 20-22.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h", "c")
    gate_names: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")

    def __init__(self, input_size: int, hidden_size: int, *, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, 4, 0, dtype)
        self.norm_ih = LayerNorm(4 * hidden_size, dtype=self.dtype)
        self.norm_hh = LayerNorm(4 * hidden_size, dtype=self.dtype)
        self.norm_c = LayerNorm(hidden_size, dtype=self.dtype)

    def project(self, x: Any) -> Tensor:
        """LN(W x)."""
        return self.norm_ih(super().project(x))  # type: ignore[no-any-return]

    def recurrence(self, recall: Recall = as_it_is) -> Step:
        """One step: (h, c) -> (h', (h', c'))."""
        u = self.weight_hh.T

        def step(wx: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            h, c = state
            i, f, g, o = ops.split(wx + self.norm_hh(recall(h) @ u), 4, axis=-1)
            c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
            h = ops.sigmoid(o) * ops.tanh(self.norm_c(c))
            return h, (h, c)

        return step
