"""Recurrent cells: one step of a recurrent net, as its equations.

``cell(x, state) -> (y, state)``: state is an argument and a result, never kept in the cell.

Shapes: N sequences, I inputs, H hidden units; without the axis N a cell reads one sequence.
Weights have PyTorch's names, order and layout, and start from U(-1/√H, 1/√H).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

from .. import ops
from ..ops import recurrent
from ..tensor import Tensor
from . import init
from .checks import State, features, floating_dtype, positive, state_of, zeros_beside
from .linear import affine
from .module import Parameter
from .unrollable import Recall, Step, Unrollable, as_it_is

Specification: TypeAlias = Callable[[], tuple[Tensor, ...]]


class Cell(Unrollable):
    """What the cells share: weights, checks, and a step cut in two.

    :meth:`project` is the part of a step that reads only the input, so that it can be computed for
    all steps in one product; :meth:`recurrence` gives the part that reads the state:
    ``cell(x, state)`` is ``cell.recurrence()(cell.project(x), state)``. (A cell of your own need
    not derive from this: any callable ``(x, state) -> (y, state)`` unrolls.)

    Args:
        input_size: I.
        hidden_size: H.
        gates: Number of blocks of H rows in the weights.
        biases: 0, 1 (``bias_ih``) or 2 (``bias_ih`` and ``bias_hh``).
        dtype: Of the parameters; the default float if None.
        output_size: Size of h, if it is not H.

    Attributes:
        weight_ih: W ``(gates * H, I)``.
        weight_hh: U ``(gates * H, output_size)``.
        bias_ih, bias_hh: Biases ``(gates * H,)``, or None.
        state_names: Names of the parts of the state.
        gate_names: Names of the blocks of the weights, in order; may be left out.
        fused: The whole sequence as one operation, ``fused(x, state, specification, mask=...,
            reverse=...) -> (y, parts of the last state)``; None for a cell that has no such form.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h",)
    gate_names: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        gates: int,
        biases: int,
        dtype: Any = None,
        output_size: int | None = None,
    ) -> None:
        owner = type(self).__name__
        self.input_size = positive(owner, "input_size", input_size)
        self.hidden_size = positive(owner, "hidden_size", hidden_size)
        self.output_size = output_size or hidden_size
        dtype = floating_dtype(owner, dtype)
        rows = gates * hidden_size
        self.weight_ih = self._draw((rows, input_size), dtype)
        self.weight_hh = self._draw((rows, self.output_size), dtype)
        self.bias_ih = self._draw((rows,), dtype) if biases else None
        self.bias_hh = self._draw((rows,), dtype) if biases == 2 else None

    def _draw(self, shape: tuple[int, ...], dtype: Any) -> Parameter:
        bound = 1.0 / math.sqrt(self.hidden_size)
        return Parameter(init.uniform(shape, -bound, bound, dtype))

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters, and of inputs and states."""
        return self.weight_ih.dtype

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Sizes of the last axis of the parts of the state: of h, then H for each further one."""
        return self.output_size, *(self.hidden_size for _ in self.state_names[1:])

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> State:
        """A state of zeros, for a batch ``(N,)`` or one sequence ``()``."""
        shapes = ((*batch_shape, n) for n in self.state_sizes)
        parts = tuple(zeros_beside(self.weight_ih, shape) for shape in shapes)
        return parts if len(parts) > 1 else parts[0]

    def check_state(self, state: Any, batch_shape: tuple[int, ...] = ()) -> State:
        """The state as tensors, if it fits this cell and the batch.

        Raises:
            TypeError: it is of another kind or dtype.
            ValueError: it is of another shape.
        """
        shapes = [(*batch_shape, size) for size in self.state_sizes]
        return state_of(type(self).__name__, state, self.state_names, shapes, self.dtype)

    def check_input(self, x: Any) -> Tensor:
        """The input as a tensor, if its features and dtype fit."""
        return features(type(self).__name__, x, "input_size", self.input_size, self.dtype)

    def check_step(self, x: Any) -> Tensor:
        """The input of one step, ``(N, I)`` or ``(I,)``, as a tensor."""
        tensor = self.check_input(x)
        if tensor.ndim > 2:
            raise ValueError(
                f"{type(self).__name__} takes one step, x of shape (N, {self.input_size}) or "
                f"({self.input_size},); got {tensor.ndim} axes: nn.Recurrent(cell) unrolls it"
            )
        return tensor

    def check_sequence(self, x: Any) -> Tensor:
        """The input of all steps, ``(T, N, I)`` or ``(T, I)``, as a tensor."""
        tensor = self.check_input(x)
        if tensor.ndim not in (2, 3):
            size = self.input_size
            raise ValueError(
                f"{type(self).__name__} reads sequences (T, N, {size}) or (T, {size}); "
                f"got x of shape {tensor.shape}"
            )
        return tensor

    def project(self, x: Any) -> Tensor:
        """W x + b for x ``(..., I)``: what the input brings to every gate, ``(..., gates * H)``."""
        return affine(self.check_input(x), self.weight_ih, self._input_bias())

    def _input_bias(self) -> Tensor | None:
        """Both biases at once, where they stand in the same sum."""
        if self.bias_ih is None or self.bias_hh is None:
            return self.bias_ih
        both: Tensor = self.bias_ih + self.bias_hh
        return both

    def _recurrent_cells(self) -> list[Cell]:
        return [self]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A cell with other equations than its parent is not the parent's fused operation."""
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if {"project", "recurrence", "forward", "_input_bias"} & own.keys() and "fused" not in own:
            cls.fused = None

    def options(self) -> list[str]:
        """The settings that differ from the default, as they are written in a call."""
        return ["bias=False"] * (self.bias_ih is None)

    def extra_repr(self) -> str:
        """Sizes and options."""
        return ", ".join([str(self.input_size), str(self.hidden_size), *self.options()])


class RNNCell(Cell):
    """Simple recurrent cell.

        h' = φ(W x + b + U h + c),    y = h'

    Args:
        input_size: I.
        hidden_size: H.
        bias: Whether b and c are there.
        nonlinearity: φ, ``"tanh"`` or ``"relu"``.
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
        nonlinearity: str = "tanh",
        *,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'nonlinearity must be "tanh" or "relu"; got {nonlinearity!r}')
        super().__init__(input_size, hidden_size, 1, 2 if bias else 0, dtype)
        self.nonlinearity = nonlinearity

    def recurrence(self, recall: Recall = as_it_is) -> Step:
        """One step: h ``(N, H)`` -> (h', h')."""
        u = self.weight_hh.T
        phi = ops.tanh if self.nonlinearity == "tanh" else ops.relu

        def step(wx: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            h = phi(wx + recall(h) @ u)
            return h, h

        return step

    def fused(
        self, x: Tensor, state: Any, specification: Specification, **where: Any
    ) -> tuple[Tensor, ...]:
        """The whole sequence as one operation."""
        layer = recurrent.rnn_tanh if self.nonlinearity == "tanh" else recurrent.rnn_relu
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        return layer([x, state, *weights], specification, **where)

    def options(self) -> list[str]:
        """The settings that differ from the default."""
        return super().options() + ["nonlinearity='relu'"] * (self.nonlinearity == "relu")


class GRUCell(Cell):
    """Gated recurrent unit, in its two forms.

    With ``reset_after=False``, as published: the reset gate acts before the matrix.

        r = σ(W_r x + b_r + U_r h)
        z = σ(W_z x + b_z + U_z h)
        n = tanh(W_n x + b_n + U_n (r ⊙ h))
        h' = z ⊙ h + (1 - z) ⊙ n,    y = h'

    With ``reset_after=True``, as in PyTorch and cuDNN: it acts after, and there is a second bias.

        n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n)),    and c_r, c_z beside b_r, b_z

    The two are different functions: weights of one mean nothing to the other, and loading them
    raises. (Without biases their weights look alike and nothing can tell.)

    Args:
        input_size: I.
        hidden_size: H.
        bias: Whether there are biases.
        dtype: Of the parameters; the default float if None.
        reset_after: Which of the two forms.

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
        dtype: Any = None,
        reset_after: bool = False,
    ) -> None:
        biases = (2 if reset_after else 1) if bias else 0
        super().__init__(input_size, hidden_size, 3, biases, dtype)
        self.reset_after = reset_after

    def _input_bias(self) -> Tensor | None:
        """b alone: c_n stands inside the product with r."""
        return self.bias_ih

    def recurrence(self, recall: Recall = as_it_is) -> Step:
        """One step: h ``(N, H)`` -> (h', h')."""
        return self._reset_after(recall) if self.reset_after else self._reset_before(recall)

    def _reset_before(self, recall: Recall) -> Step:
        rz = [2 * self.hidden_size]
        u_rz, u_n = (u.T for u in ops.split(self.weight_hh, rz, axis=0))

        def step(wx: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            x_rz, x_n = ops.split(wx, rz, axis=-1)
            seen = recall(h)
            r, z = ops.split(ops.sigmoid(x_rz + seen @ u_rz), 2, axis=-1)
            n = ops.tanh(x_n + (r * seen) @ u_n)
            h = n + z * (h - n)  # z h + (1 - z) n
            return h, h

        return step

    def _reset_after(self, recall: Recall) -> Step:
        rz = [2 * self.hidden_size]
        u = self.weight_hh.T

        def step(wx: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            uh = recall(h) @ u
            if self.bias_hh is not None:
                uh = uh + self.bias_hh
            x_rz, x_n = ops.split(wx, rz, axis=-1)
            h_rz, h_n = ops.split(uh, rz, axis=-1)
            r, z = ops.split(ops.sigmoid(x_rz + h_rz), 2, axis=-1)
            n = ops.tanh(x_n + r * h_n)
            h = n + z * (h - n)  # z h + (1 - z) n
            return h, h

        return step

    def fused(
        self, x: Tensor, state: Any, specification: Specification, **where: Any
    ) -> tuple[Tensor, ...]:
        """The whole sequence as one operation."""
        args = [x, state, self.weight_ih, self.weight_hh, self.bias_ih]
        if self.reset_after:
            return recurrent.gru_after([*args, self.bias_hh], specification, **where)
        return recurrent.gru(args, specification, **where)

    def _refuse(self, names: set[str]) -> str | None:
        """Weights of the other form, known by its biases."""
        first, second = (
            any(name.startswith(kind) for name in names) for kind in ("bias_ih", "bias_hh")
        )
        if second and not self.reset_after:
            return (
                "these weights have bias_hh: they are of the GRU that resets after its matrix "
                "(PyTorch's and cuDNN's), another function; build with reset_after=True"
            )
        if first and not second and self.reset_after and self.bias_hh is not None:
            return (
                "these weights have no bias_hh: they are of the published GRU, which resets before "
                "its matrix, another function; build with reset_after=False"
            )
        return None

    def options(self) -> list[str]:
        """The settings that differ from the default."""
        return super().options() + ["reset_after=True"] * self.reset_after


class LSTMCell(Cell):
    """Long short-term memory.

        i = σ(W_i x + b_i + U_i h + c_i)        input gate
        f = σ(W_f x + b_f + U_f h + c_f)        forget gate
        g = tanh(W_g x + b_g + U_g h + c_g)     candidate
        o = σ(W_o x + b_o + U_o h + c_o)        output gate
        c' = f ⊙ c + i ⊙ g
        h' = o ⊙ tanh(c'),    y = h'

    With ``proj_size=P`` the output is projected: h' = R (o ⊙ tanh(c')), of size P < H.

    Args:
        input_size: I.
        hidden_size: H.
        bias: Whether there are biases.
        dtype: Of the parameters; the default float if None.
        proj_size: P; 0 for no projection.

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
        dtype: Any = None,
        proj_size: int = 0,
    ) -> None:
        if proj_size and not 0 < proj_size < hidden_size:
            raise ValueError(
                f"proj_size must be 0, for none, or smaller than hidden_size={hidden_size}; "
                f"got {proj_size}"
            )
        super().__init__(input_size, hidden_size, 4, 2 if bias else 0, dtype, proj_size)
        self.proj_size = proj_size
        self.weight_hr = self._draw((proj_size, hidden_size), self.dtype) if proj_size else None

    def recurrence(self, recall: Recall = as_it_is) -> Step:
        """One step: (h ``(N, H or P)``, c ``(N, H)``) -> (h', (h', c'))."""
        u = self.weight_hh.T
        projection = None if self.weight_hr is None else self.weight_hr.T

        def step(wx: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            h, c = state
            i, f, g, o = ops.split(wx + recall(h) @ u, 4, axis=-1)
            c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
            h = ops.sigmoid(o) * ops.tanh(c)
            if projection is not None:
                h = h @ projection
            return h, (h, c)

        return step

    def fused(
        self, x: Tensor, state: Any, specification: Specification, **where: Any
    ) -> tuple[Tensor, ...]:
        """The whole sequence as one operation."""
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, self.weight_hr]
        return recurrent.lstm([x, *state, *weights], specification, **where)

    def options(self) -> list[str]:
        """The settings that differ from the default."""
        return super().options() + [f"proj_size={self.proj_size}"] * bool(self.proj_size)
