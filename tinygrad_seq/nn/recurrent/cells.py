"""The recurrent cells of RNN, GRU and LSTM: one step of each, as its equations.

For symbols, shapes and the shared methods see :mod:`.cell`.

``activations`` replaces σ and tanh by other functions, such as one that bounds the sums:

    >>> import tinygrad_seq as ts
    >>> from tinygrad_seq import nn
    >>> def clipped(f, bound=3.0):  # ONNX's clip
    ...     return lambda a: f(ts.clamp(a, -bound, bound))
    >>> cell = nn.LSTMCell(8, 16, activations=(clipped(ts.sigmoid), clipped(ts.tanh), ts.tanh))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ... import ops
from ...tensor import Tensor
from ..activation import (
    SIGMOID_TANH,
    SIGMOID_TANH_TANH,
    Activation,
    activation_options,
    activations_of,
    nonlinearity_of,
    nonlinearity_options,
)
from ..checks import flag
from ..linear import affine
from .cell import Cell, Recall, as_it_is

if TYPE_CHECKING:
    from ...autograd.signatures import DType


class RNNCell(Cell[Tensor]):
    """Simple recurrent cell.

        h' = φ(W x + b + U h + c),    y = h'

    Args:
        input_size: I.
        hidden_size: H.
        bias: Whether b and c are there.
        nonlinearity: φ, ``"tanh"`` or ``"relu"``; or a function of tensors.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight_ih, weight_hh: W ``(H, I)`` and U ``(H, H)``.
        bias_ih, bias_hh: b and c ``(H,)``.

    Source: Elman 1990; Goodfellow et al., Deep Learning, eq. 10.8; layout of PyTorch.
    """

    gate_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str | Activation = "tanh",
        *,
        dtype: DType | None = None,
    ) -> None:
        nonlinearity_of(nonlinearity)  # raises here if it is unknown
        biases = 2 * flag(type(self).__name__, "bias", bias)
        super().__init__(input_size, hidden_size, 1, biases, dtype)
        self.nonlinearity = nonlinearity

    def step(self, x: Tensor, h: Any, recall: Recall = as_it_is) -> tuple[Any, Any]:
        """h ``(N, H)`` -> (h', h')."""
        h = nonlinearity_of(self.nonlinearity)(self._sums(x, recall(h)))
        return h, h

    def options(self) -> list[str]:
        """The settings that differ from the default."""
        return super().options() + nonlinearity_options(self.nonlinearity)


class GRUCell(Cell[Tensor]):
    """Gated recurrent unit, in its two forms.

    With ``reset_after=False``, as published: the reset gate acts before the matrix.

        r = σ(W_r x + b_r + U_r h)
        z = σ(W_z x + b_z + U_z h)
        n = tanh(W_n x + b_n + U_n (r ⊙ h))
        h' = z ⊙ h + (1 - z) ⊙ n,    y = h'

    With ``reset_after=True``, as in PyTorch and cuDNN: it acts after the matrix, and there is a
    second bias.

        n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n)),    and c_r, c_z beside b_r, b_z

    With ``activations=(f, g)``, f stands for σ and g for tanh.

    The two forms are different functions: loading weights of one into the other raises an error.
    (Without biases the two have the same weights, and the mistake cannot be detected.)

    Args:
        input_size: I.
        hidden_size: H.
        bias: Whether there are biases.
        dtype: Of the parameters; the default float if None.
        reset_after: Which of the two forms.
        activations: (f, g), functions of tensors.

    Attributes:
        weight_ih, weight_hh: Blocks r, z, n of W ``(3H, I)`` and U ``(3H, H)``.
        bias_ih: Blocks of b ``(3H,)``.
        bias_hh: Blocks of c ``(3H,)``; None unless ``reset_after``.

    Source: Cho et al. 2014, eq. 5-8; layout of PyTorch.
    """

    gate_names: ClassVar[tuple[str, ...]] = ("r", "z", "n")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: DType | None = None,
        reset_after: bool = False,
        activations: Sequence[Activation] = SIGMOID_TANH,
    ) -> None:
        owner = type(self).__name__
        self.reset_after = flag(owner, "reset_after", reset_after)
        biases = (1 + self.reset_after) * flag(owner, "bias", bias)
        super().__init__(input_size, hidden_size, 3, biases, dtype)
        self.activations = activations_of(owner, activations, "f g")

    def step(self, x: Tensor, h: Any, recall: Recall = as_it_is) -> tuple[Any, Any]:
        """h ``(N, H)`` -> (h', h')."""
        f, g = self.activations
        rz, seen = [2 * self.hidden_size], recall(h)
        x_rz, x_n = ops.split(affine(x, self.weight_ih, self.bias_ih), rz, axis=-1)
        if self.reset_after:
            h_rz, h_n = ops.split(affine(seen, self.weight_hh, self.bias_hh), rz, axis=-1)
            r, z = ops.split(f(x_rz + h_rz), 2, axis=-1)
            n = g(x_n + r * h_n)
        else:
            u_rz, u_n = ops.split(self.weight_hh, rz)
            r, z = ops.split(f(x_rz + seen @ u_rz.T), 2, axis=-1)
            n = g(x_n + (r * seen) @ u_n.T)
        h = n + z * (h - n)  # z h + (1 - z) n
        return h, h

    def _refuse(self, names: set[str]) -> str | None:
        """The error for weights of the other form, which their biases show."""
        first, second = (
            any(name.startswith(kind) for name in names) for kind in ("bias_ih", "bias_hh")
        )
        if second and not self.reset_after:
            return (
                "these weights have bias_hh: they are for the GRU that resets after its matrix "
                "(PyTorch's and cuDNN's), a different function; build with reset_after=True"
            )
        if first and not second and self.reset_after and self.bias_hh is not None:
            return (
                "these weights have no bias_hh: they are for the published GRU, which resets "
                "before its matrix, a different function; build with reset_after=False"
            )
        return None

    def options(self) -> list[str]:
        """The settings that differ from the default."""
        options = super().options() + ["reset_after=True"] * self.reset_after
        return options + activation_options(self.activations, SIGMOID_TANH)


class LSTMCell(Cell[tuple[Tensor, Tensor]]):
    """Long short-term memory.

        i = σ(W_i x + b_i + U_i h + c_i)        input gate
        f = σ(W_f x + b_f + U_f h + c_f)        forget gate
        g = tanh(W_g x + b_g + U_g h + c_g)     candidate
        o = σ(W_o x + b_o + U_o h + c_o)        output gate
        c' = f ⊙ c + i ⊙ g
        h' = o ⊙ tanh(c'),    y = h'

    With ``proj_size=P`` the output is projected: h' = R (o ⊙ tanh(c')), of size P < H.
    With ``activations=(f, g, h)``, f stands for σ, g for tanh of the candidate, h for tanh of c'.

    Args:
        input_size: I.
        hidden_size: H.
        bias: Whether there are biases.
        dtype: Of the parameters; the default float if None.
        proj_size: P; 0 for no projection.
        activations: (f, g, h), functions of tensors.

    Attributes:
        weight_ih, weight_hh: Blocks i, f, g, o of W ``(4H, I)`` and U ``(4H, H or P)``.
        bias_ih, bias_hh: Blocks of the two biases ``(4H,)``.
        weight_hr: R ``(P, H)``, or None.

    Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate); Sak et al. 2014
    (projection); layout of PyTorch.
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
        proj_size: int = 0,
        activations: Sequence[Activation] = SIGMOID_TANH_TANH,
    ) -> None:
        if proj_size and not 0 < proj_size < hidden_size:
            raise ValueError(
                f"proj_size must be 0, for none, or smaller than hidden_size={hidden_size}; "
                f"got {proj_size}"
            )
        biases = 2 * flag(type(self).__name__, "bias", bias)
        super().__init__(input_size, hidden_size, 4, biases, dtype, proj_size)
        self.proj_size = proj_size
        self.activations = activations_of(type(self).__name__, activations, "f g h")
        self.weight_hr = (
            self._draw("weight_hr", (proj_size, hidden_size), self.dtype) if proj_size else None
        )

    def step(self, x: Tensor, state: Any, recall: Recall = as_it_is) -> tuple[Any, Any]:
        """(h ``(N, H or P)``, c ``(N, H)``) -> (h', (h', c'))."""
        h, c = state
        gate, candidate, output = self.activations
        i, f, g, o = ops.split(self._sums(x, recall(h)), 4, axis=-1)
        c = gate(f) * c + gate(i) * candidate(g)
        h = gate(o) * output(c)
        if self.weight_hr is not None:
            h = h @ self.weight_hr.T
        return h, (h, c)

    def options(self) -> list[str]:
        """The settings that differ from the default."""
        options = super().options() + [f"proj_size={self.proj_size}"] * bool(self.proj_size)
        return options + activation_options(self.activations, SIGMOID_TANH_TANH)
