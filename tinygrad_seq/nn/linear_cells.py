"""Cells that are linear in their state: their coefficients depend only on the input.

    a_t, b_t = coefficients(x_t),    h_t = a_t ⊙ h_{t-1} + b_t,    y_t = read(h_t, x_t)

So a few products give the coefficients of all steps, and the loop is ``ops.linear_scan``. With the
extra ``jit`` the loop is derived from one step, as for other cells, and contains the gates too.
Called step by step, ``cell(x, h) -> (y, h)``, the cell gives the same numbers. How such a cell
changes its state cannot depend on the state: with a in (0, 1) it cannot tell odd from even.

Shapes: T steps, N sequences, I inputs, H hidden units.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import ops, recurrence
from ..backend import generator
from ..messages import is_ours
from ..tensor import Tensor
from . import init
from .checks import features, floating_dtype, positive, state_of, zeros_beside
from .linear import affine
from .module import Module
from .parameter import Parameter

if TYPE_CHECKING:
    from ..autograd.signatures import DType, Operand


class LinearCell(Module):
    """The base class. A subclass defines ``coefficients``, and ``read`` if y is not h.

    Args:
        input_size: I.
        hidden_size: H.
        dtype: Of the parameters; the default float if None.

    Attributes:
        complex: Whether the state is complex: H pairs (real, imaginary) side by side.
    """

    complex: ClassVar[bool] = False
    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, input_size: int, hidden_size: int, dtype: DType | None = None) -> None:
        owner = type(self).__name__
        self.input_size = positive(owner, "input_size", input_size)
        self.hidden_size = positive(owner, "hidden_size", hidden_size)
        self._dtype = floating_dtype(owner, dtype)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b) of inputs ``(..., I)``; each ``(..., H)``, complex ``(..., H, 2)``. a may have
        fewer axes."""
        raise NotImplementedError(f"{type(self).__name__} must define coefficients(x)")

    def read(self, h: Tensor, x: Tensor) -> Tensor:
        """y ``(..., H)`` of the new state ``(..., state_size)`` and the inputs: h itself."""
        return h

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters, and of inputs and states."""
        return next(self.parameters()).dtype

    @property
    def state_size(self) -> int:
        """The last axis of the state: H, or 2 H if it is complex."""
        return self.hidden_size * (2 if self.complex else 1)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The last axis of each part of the state, of which there is one."""
        return (self.state_size,)

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tensor:
        """A state of zeros, for a batch ``(N,)`` or one sequence ``()``."""
        return zeros_beside(next(self.parameters()), (*batch_shape, self.state_size))

    def forward(self, x: Operand, state: Any = None) -> tuple[Tensor, Tensor]:
        """One step: (y, h) of x ``(N, I)`` or ``(I,)`` and h, zeros if None.

        Raises:
            ValueError: sizes do not fit, or x has more axes.
            TypeError: dtypes do not fit.
        """
        owner = type(self).__name__
        x = features(owner, x, "input_size", self.input_size, self.dtype)
        if x.ndim > 2:
            raise ValueError(
                f"{owner} takes one step, x (N, {self.input_size}); got {x.shape}: the layer of "
                "this name reads sequences"
            )
        if state is None:
            state = self.initial_state(x.shape[:-1])
        else:
            shape = (*x.shape[:-1], self.state_size)
            state = state_of(owner, state, ("h",), [shape], self.dtype)
        return _Step(self)(x, state)

    def scan(
        self, x: Tensor, state: Tensor, reverse: bool = False, valid: Any = None
    ) -> tuple[Tensor, Tensor]:
        """(y of all steps, the last state) of inputs ``(T, ..., I)``.

        At a step that is not ``valid`` the state stays, and y means nothing.
        """

        def whole() -> tuple[Tensor, Tensor]:
            a, b = self.coefficients(x)
            start = self._numbers(state)
            h = ops.linear_scan(a, b, start, reverse, valid, pairs=self.complex)
            h = ops.reshape(h, (*x.shape[:-1], self.state_size))
            return self.read(h, x), h[0 if reverse else -1]

        if self.complex:
            return whole()
        name = type(self).__name__.removesuffix("Cell").lower()
        return recurrence.scan(_Step(self), x, state, valid, reverse, name, whole=whole)

    def _numbers(self, state: Tensor) -> Tensor:
        """A state in the form of the recurrence: complex numbers as pairs."""
        if not self.complex:
            return state
        return ops.reshape(state, (*state.shape[:-1], self.hidden_size, 2))

    def _draw(self, rows: int, columns: int) -> Parameter:
        """W ``(rows, columns)`` from U(-1/√columns, 1/√columns)."""
        bound = 1 / math.sqrt(columns)
        return Parameter(init.uniform((rows, columns), -bound, bound, self._dtype))

    def _zeros(self, rows: int) -> Parameter:
        return Parameter(np.zeros(rows, self._dtype))

    def options(self) -> list[str]:
        """The settings that differ from the default: none."""
        return []

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.input_size}, {self.hidden_size}"


class _Step:
    """One step of a cell; of real numbers, a compiled loop is derived from it."""

    def __init__(self, cell: LinearCell) -> None:
        self.cell = cell

    def __call__(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.cell.coefficients(x)
        if self.cell.complex:
            h = ops.reshape(_product(a, self.cell._numbers(state)) + b, state.shape)
        else:
            h = a * state + b
        return self.cell.read(h, x), h

    def constant(self) -> tuple[Any, list[Tensor]] | None:
        """(type, weights) of a cell of the library, whose step depends on nothing else."""
        kind = type(self.cell)
        return (kind, list(self.cell.parameters())) if is_ours(kind) else None


def _product(a: Tensor, h: Tensor) -> Tensor:
    """The product of complex numbers, as pairs."""
    re, im, x, y = a[..., 0], a[..., 1], h[..., 0], h[..., 1]
    return ops.stack([re * x - im * y, re * y + im * x], axis=-1)


class MinGRUCell(LinearCell):
    """A GRU whose gates do not depend on the state.

        z = σ(W_z x + b_z),  h̃ = W_h x + b_h,    h' = (1 - z) ⊙ h + z ⊙ h̃

    Args:
        input_size: I.
        hidden_size: H.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight: W_z, W_h ``(2 H, I)``.
        bias: b_z, b_h ``(2 H,)``.

    Source: Feng et al., "Were RNNs all we needed?" (2024), 3.1, without the g that keeps h
    positive for a scan in logs.
    """

    def __init__(self, input_size: int, hidden_size: int, dtype: DType | None = None) -> None:
        super().__init__(input_size, hidden_size, dtype)
        self.weight = self._draw(2 * hidden_size, input_size)
        self.bias = self._zeros(2 * hidden_size)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """1 - z and z ⊙ h̃."""
        k, new = ops.split(affine(x, self.weight, self.bias), 2, axis=-1)
        z = ops.sigmoid(k)
        return 1 - z, z * new


class MinLSTMCell(LinearCell):
    """An LSTM whose gates do not depend on the state and sum to 1.

        f = σ(W_f x + b_f),  i = σ(W_i x + b_i),  h̃ = W_h x + b_h
        h' = f / (f + i) ⊙ h + i / (f + i) ⊙ h̃

    Args:
        input_size: I.
        hidden_size: H.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight: W_f, W_i, W_h ``(3 H, I)``.
        bias: b_f, b_i, b_h ``(3 H,)``.

    Source: Feng et al., "Were RNNs all we needed?" (2024), 3.2.
    """

    def __init__(self, input_size: int, hidden_size: int, dtype: DType | None = None) -> None:
        super().__init__(input_size, hidden_size, dtype)
        self.weight = self._draw(3 * hidden_size, input_size)
        self.bias = self._zeros(3 * hidden_size)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f / (f + i) = σ(ln f - ln i), which avoids 0 / 0; and 1 minus it, times h̃."""
        f, i, new = ops.split(affine(x, self.weight, self.bias), 3, axis=-1)
        keep = ops.sigmoid(ops.softplus(-i) - ops.softplus(-f))
        return keep, (1 - keep) * new


class RGLRUCell(LinearCell):
    """The real-gated linear recurrent unit: a gate sets the decay, and the input is scaled to it.

        u = W x + b,  r = σ(W_r u + b_r),  i = σ(W_i u + b_i)
        a = exp(-8 softplus(Λ) ⊙ r),    h' = a ⊙ h + √(1 - a²) ⊙ (i ⊙ u)

    The root keeps h as large as u for any decay. At r = 1, a starts between 0.9 and 0.999.

    Args:
        input_size: I.
        hidden_size: H.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight: W ``(H, I)``.
        bias: b ``(H,)``.
        gates: W_r, W_i ``(2 H, H)``.
        gate_bias: b_r, b_i ``(2 H,)``.
        decay: Λ ``(H,)``.

    Source: De et al., "Griffin" (2024), 2.4, with the linear map that precedes it there.
    """

    def __init__(self, input_size: int, hidden_size: int, dtype: DType | None = None) -> None:
        super().__init__(input_size, hidden_size, dtype)
        self.weight = self._draw(hidden_size, input_size)
        self.bias = self._zeros(hidden_size)
        self.gates = self._draw(2 * hidden_size, hidden_size)
        self.gate_bias = self._zeros(2 * hidden_size)
        kept = generator().uniform(0.9, 0.999, hidden_size)
        self.decay = Parameter(np.log(np.expm1(-np.log(kept) / 8)).astype(self._dtype))

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """a and √(1 - a²) ⊙ (i ⊙ u), with the root as √r √((1 - a²) / r): both factors have finite
        derivatives where r is 0 and a is 1."""
        u = affine(x, self.weight, self.bias)
        k, i = ops.split(affine(u, self.gates, self.gate_bias), 2, axis=-1)
        r, c = ops.sigmoid(k), 8 * ops.softplus(self.decay)
        least = ops.maximum(r, float(np.finfo(r.dtype).tiny ** 0.25))
        root = ops.exp(ops.softplus(-k) / -2) * ops.sqrt(-ops.expm1(-2 * c * least) / least)
        return ops.exp(-c * r), root * (ops.sigmoid(i) * u)


class LRUCell(LinearCell):
    """The linear recurrent unit: a diagonal of complex numbers within the unit circle.

        λ = exp(-e^ν + i e^θ),    s' = λ ⊙ s + γ ⊙ (B x),    y = Re(C s') + D x

    λ, γ, B and C are complex, x and y real; γ starts at √(1 - |λ|²), so that s is as large as x.

    Args:
        input_size: I.
        hidden_size: H.
        dtype: Of the parameters; the default float if None.
        r_min, r_max: |λ| starts between these, evenly over the ring; near 1 for long lags.

    Attributes:
        nu, theta, log_gamma: ν, θ and ln γ ``(H,)``.
        weight_in: B ``(2 H, I)``, rows (real, imaginary) in turn, as in the state ``(N, 2 H)``.
        weight_out: C ``(H, 2 H)``, columns (real, -imaginary) in turn.
        weight: D ``(H, I)``.

    Source: Orvieto et al., "Resurrecting recurrent neural networks for long sequences" (2023),
    appendix A; with a full D, so that sizes may differ.
    """

    complex = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        dtype: DType | None = None,
        r_min: float = 0.5,
        r_max: float = 0.99,
    ) -> None:
        super().__init__(input_size, hidden_size, dtype)
        if not 0 <= r_min < r_max <= 1:
            raise ValueError(f"LRU expects 0 ≤ r_min < r_max ≤ 1; got {r_min} and {r_max}")
        u = 1 - generator().random((2, hidden_size))  # in (0, 1], for its logarithm
        square = r_max**2 - (1 - u[0]) * (r_max**2 - r_min**2)
        nu = np.log(np.maximum(-np.log(square) / 2, 1e-8))
        gamma = np.sqrt(-np.expm1(-2 * np.exp(nu)))
        values = nu, np.log(2 * np.pi * u[1]), np.log(gamma)
        self.nu, self.theta, self.log_gamma = (Parameter(v.astype(self._dtype)) for v in values)
        self.weight_in = self._draw(2 * hidden_size, input_size)
        self.weight_out = self._draw(hidden_size, 2 * hidden_size)
        self.weight = self._draw(hidden_size, input_size)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """λ and γ ⊙ (B x), as pairs."""
        size, angle = ops.exp(-ops.exp(self.nu)), ops.exp(self.theta)
        a = ops.stack([size * ops.cos(angle), size * ops.sin(angle)], axis=-1)
        come = self._numbers(affine(x, self.weight_in, None))
        return a, ops.expand_dims(ops.exp(self.log_gamma), -1) * come

    def read(self, h: Tensor, x: Tensor) -> Tensor:
        """Re(C s) + D x."""
        return affine(h, self.weight_out, None) + affine(x, self.weight, None)
