"""More cells: peepholes, coupled gates, leaky units.

For symbols, shapes and parameters see :mod:`.cell`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ... import ops
from ...tensor import Tensor
from ..activation import SIGMOID_TANH_TANH, Activation, activation_options, activations_of
from ..checks import beside, flag
from ..parameter import Parameter
from .cell import Cell, Recall, as_it_is
from .cells import RNNCell

if TYPE_CHECKING:
    from ...autograd.signatures import DType


class PeepholeLSTMCell(Cell[tuple[Tensor, Tensor]]):
    """LSTM whose gates see the cell.

        i = σ(W_i x + b_i + U_i h + c_i + p_i ⊙ c)
        f = σ(W_f x + b_f + U_f h + c_f + p_f ⊙ c)
        g = tanh(W_g x + b_g + U_g h + c_g)
        c' = f ⊙ c + i ⊙ g
        o = σ(W_o x + b_o + U_o h + c_o + p_o ⊙ c')
        h' = o ⊙ tanh(c'),    y = h'

    Args:
        input_size: I.
        hidden_size: H.
        bias: Whether there are biases.
        dtype: Of the parameters; the default float if None.
        activations: (f, g, h) in place of σ, tanh of the candidate, tanh of c'.

    Attributes:
        weight_ih, weight_hh: Blocks i, f, g, o of W ``(4H, I)`` and U ``(4H, H)``.
        bias_ih, bias_hh: Blocks of the two biases ``(4H,)``.
        weight_peephole: Blocks i, f, o of p ``(3H,)``. (ONNX has them in the order i, o, f.)

    Source: Gers & Schmidhuber 2000; Gers et al. 2002.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h", "c")
    gate_names: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: DType | None = None,
        activations: Sequence[Activation] = SIGMOID_TANH_TANH,
    ) -> None:
        biases = 2 * flag(type(self).__name__, "bias", bias)
        super().__init__(input_size, hidden_size, 4, biases, dtype)
        self.activations = activations_of(type(self).__name__, activations, "f g h")
        self.weight_peephole = self._draw("weight_peephole", (3 * hidden_size,), self.dtype)

    def step(self, x: Tensor, state: Any, recall: Recall = as_it_is) -> tuple[Any, Any]:
        """(h, c) -> (h', (h', c'))."""
        h, c = state
        gate, candidate, output = self.activations
        p_i, p_f, p_o = ops.split(self.weight_peephole, 3)
        i, f, g, o = ops.split(self._sums(x, recall(h)), 4, axis=-1)
        c = gate(f + p_f * c) * c + gate(i + p_i * c) * candidate(g)
        h = gate(o + p_o * c) * output(c)
        return h, (h, c)

    def options(self) -> list[str]:
        """The settings that differ from the default."""
        return super().options() + activation_options(self.activations, SIGMOID_TANH_TANH)


class CoupledLSTMCell(Cell[tuple[Tensor, Tensor]]):
    """LSTM with coupled gates: it forgets as much as it takes in.

        f = σ(W_f x + b_f + U_f h + c_f)
        g = tanh(W_g x + b_g + U_g h + c_g)
        o = σ(W_o x + b_o + U_o h + c_o)
        c' = f ⊙ c + (1 - f) ⊙ g
        h' = o ⊙ tanh(c'),    y = h'

    With ``peepholes=True``, p_f ⊙ c is added inside f and p_o ⊙ c' inside o.

    Args:
        input_size: I.
        hidden_size: H.
        bias: Whether there are biases.
        dtype: Of the parameters; the default float if None.
        peepholes: Whether the gates see the cell.
        activations: (f, g, h) in place of σ, tanh of the candidate, tanh of c'.

    Attributes:
        weight_ih, weight_hh: Blocks f, g, o of W ``(3H, I)`` and U ``(3H, H)``. (ONNX computes i,
            and f = 1 - i: negate its weights of i.)
        bias_ih, bias_hh: Blocks of the two biases ``(3H,)``.
        weight_peephole: Blocks f, o of p ``(2H,)``, or None.

    Source: Greff et al. 2017 (CIFG, there with peepholes).
    """

    state_names: ClassVar[tuple[str, ...]] = ("h", "c")
    gate_names: ClassVar[tuple[str, ...]] = ("f", "g", "o")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: DType | None = None,
        peepholes: bool = False,
        activations: Sequence[Activation] = SIGMOID_TANH_TANH,
    ) -> None:
        biases = 2 * flag(type(self).__name__, "bias", bias)
        super().__init__(input_size, hidden_size, 3, biases, dtype)
        self.activations = activations_of(type(self).__name__, activations, "f g h")
        self.weight_peephole = (
            self._draw("weight_peephole", (2 * hidden_size,), self.dtype)
            if flag("CoupledLSTMCell", "peepholes", peepholes)
            else None
        )

    def step(self, x: Tensor, state: Any, recall: Recall = as_it_is) -> tuple[Any, Any]:
        """(h, c) -> (h', (h', c'))."""
        h, c = state
        gate, candidate, output = self.activations
        p = self.weight_peephole
        p_f, p_o = (0.0, 0.0) if p is None else ops.split(p, 2)
        f, g, o = ops.split(self._sums(x, recall(h)), 3, axis=-1)
        f, g = gate(f + p_f * c), candidate(g)
        c = g + f * (c - g)  # f c + (1 - f) g
        h = gate(o + p_o * c) * output(c)
        return h, (h, c)

    def options(self) -> list[str]:
        """The settings that differ from the default."""
        options = super().options() + ["peepholes=True"] * (self.weight_peephole is not None)
        return options + activation_options(self.activations, SIGMOID_TANH_TANH)


class LeakyCell(RNNCell):
    """Simple recurrent cell of leaky units, with a memory of about 1 / (1 - α) steps.

        h' = α ⊙ h + (1 - α) ⊙ φ(W x + b + U h + c),    y = h'

    α is fixed, or learned as α = σ(a), which keeps it between 0 and 1.

    Args:
        input_size: I.
        hidden_size: H.
        bias: Whether b and c are there.
        nonlinearity: φ, ``"tanh"`` or ``"relu"``; or a function of tensors.
        alpha: α, from 0 to 1: one for all units, or H of them, for different time scales.
        learned: Whether α is learned, starting from ``alpha``.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight_ih, weight_hh, bias_ih, bias_hh: As in :class:`RNNCell`.
        weight_alpha: a ``(H,)``, or None.

    Source: Mozer 1992; Jaeger et al. 2007; Goodfellow et al., Deep Learning, 10.9.2.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str | Activation = "tanh",
        *,
        alpha: Any = 0.9,
        learned: bool = False,
        dtype: DType | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, nonlinearity, dtype=dtype)
        values = np.asarray(alpha, np.float64)
        if values.shape not in ((), (hidden_size,)):
            raise ValueError(
                f"LeakyCell expects one alpha, or one for each of {hidden_size} units; "
                f"got shape {values.shape}"
            )
        learned = flag("LeakyCell", "learned", learned)
        inside = (values > 0) & (values < 1) if learned else (values >= 0) & (values <= 1)
        if not inside.all():
            form = "strictly between 0 and 1, to be learned" if learned else "from 0 to 1"
            raise ValueError(f"LeakyCell expects alpha {form}; got {alpha}")
        self._fixed = values
        self.weight_alpha = None
        if learned:
            start = np.broadcast_to(np.log(values / (1 - values)), hidden_size)  # σ^-1(α)
            self.weight_alpha = Parameter(start.astype(self.dtype))
            self._shapes["weight_alpha"] = (hidden_size,)

    @property
    def alpha(self) -> Tensor:
        """α ``(H,)`` or ``()``."""
        if self.weight_alpha is None:
            return Tensor._wrap(beside(self._fixed.astype(self.dtype), self.weight_ih))
        return ops.sigmoid(self.weight_alpha)

    def step(self, x: Tensor, h: Any, recall: Recall = as_it_is) -> tuple[Any, Any]:
        """h ``(N, H)`` -> (h', h')."""
        new, _ = super().step(x, h, recall)
        h = new + self.alpha * (h - new)  # α h + (1 - α) new
        return h, h

    def options(self) -> list[str]:
        """The settings that differ from the default."""
        how = ["learned=True"] if self.weight_alpha is not None else [f"alpha={self._fixed}"]
        return super().options() + how
