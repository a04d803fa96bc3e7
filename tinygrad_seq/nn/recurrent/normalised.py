"""Cells whose sums are normalised at every step.

For symbols, shapes and parameters see :mod:`.cell`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ... import ops
from ...tensor import Tensor
from ..activation import Activation, nonlinearity_of, nonlinearity_options
from ..norm import LayerNorm
from .cell import Cell, Recall, as_it_is

if TYPE_CHECKING:
    from ...autograd.signatures import DType


class LayerNormRNNCell(Cell[Tensor]):
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
        dtype: DType | None = None,
    ) -> None:
        nonlinearity_of(nonlinearity)  # raises here if it is unknown
        super().__init__(input_size, hidden_size, 1, 0, dtype)
        self.nonlinearity = nonlinearity
        self.norm = LayerNorm(hidden_size, dtype=self.dtype)

    def step(self, x: Tensor, h: Any, recall: Recall = as_it_is) -> tuple[Any, Any]:
        """h ``(N, H)`` -> (h', h')."""
        h = nonlinearity_of(self.nonlinearity)(self.norm(self._sums(x, recall(h))))
        return h, h

    def options(self) -> list[str]:
        """The settings that differ from the default."""
        return nonlinearity_options(self.nonlinearity)


class LayerNormGRUCell(Cell[Tensor]):
    """Gated recurrent unit whose sums are normalised; its reset gate acts after the matrix.

        r, z = σ(LN(W_rz x) + LN(U_rz h))
        n = tanh(LN(W_n x) + r ⊙ LN(U_n h))
        h' = z ⊙ h + (1 - z) ⊙ n,    y = h'

    Each LN is a separate :class:`LayerNorm`, whose b is the bias; r and z share one.

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

    def __init__(self, input_size: int, hidden_size: int, *, dtype: DType | None = None) -> None:
        super().__init__(input_size, hidden_size, 3, 0, dtype)
        self.norm_ih_rz = LayerNorm(2 * hidden_size, dtype=self.dtype)
        self.norm_hh_rz = LayerNorm(2 * hidden_size, dtype=self.dtype)
        self.norm_ih_n = LayerNorm(hidden_size, dtype=self.dtype)
        self.norm_hh_n = LayerNorm(hidden_size, dtype=self.dtype)

    def step(self, x: Tensor, h: Any, recall: Recall = as_it_is) -> tuple[Any, Any]:
        """h ``(N, H)`` -> (h', h')."""
        rz = [2 * self.hidden_size]
        x_rz, x_n = ops.split(x @ self.weight_ih.T, rz, axis=-1)
        h_rz, h_n = ops.split(recall(h) @ self.weight_hh.T, rz, axis=-1)
        a_rz = self.norm_ih_rz(x_rz) + self.norm_hh_rz(h_rz)
        r, z = ops.split(ops.sigmoid(a_rz), 2, axis=-1)
        n = ops.tanh(self.norm_ih_n(x_n) + r * self.norm_hh_n(h_n))
        h = n + z * (h - n)  # z h + (1 - z) n
        return h, h


class LayerNormLSTMCell(Cell[tuple[Tensor, Tensor]]):
    """LSTM whose sums and whose cell are normalised.

        i, f, g, o = blocks of LN(W x) + LN(U h)
        c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g)
        h' = σ(o) ⊙ tanh(LN(c')),    y = h'

    Each LN is a separate :class:`LayerNorm`, whose b is the bias; all gates share one.

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

    def __init__(self, input_size: int, hidden_size: int, *, dtype: DType | None = None) -> None:
        super().__init__(input_size, hidden_size, 4, 0, dtype)
        self.norm_ih = LayerNorm(4 * hidden_size, dtype=self.dtype)
        self.norm_hh = LayerNorm(4 * hidden_size, dtype=self.dtype)
        self.norm_c = LayerNorm(hidden_size, dtype=self.dtype)

    def step(self, x: Tensor, state: Any, recall: Recall = as_it_is) -> tuple[Any, Any]:
        """(h, c) -> (h', (h', c'))."""
        h, c = state
        sums = self.norm_ih(x @ self.weight_ih.T) + self.norm_hh(recall(h) @ self.weight_hh.T)
        i, f, g, o = ops.split(sums, 4, axis=-1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        h = ops.sigmoid(o) * ops.tanh(self.norm_c(c))
        return h, (h, c)
