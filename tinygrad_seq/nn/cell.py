"""What recurrent cells share: weights, checks, and a step cut in two.

``cell(x, state) -> (y, state)``: state is an argument and a result, never kept in the cell.

Shapes: N sequences, I inputs, H hidden units; without the axis N a cell reads one sequence.
Weights have PyTorch's names, order and layout, and start from U(-1/√H, 1/√H).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

from ..tensor import Tensor
from . import init
from .checks import State, features, floating_dtype, positive, state_of, zeros_beside
from .linear import affine
from .module import Parameter
from .unrollable import Unrollable

Specification: TypeAlias = Callable[[], tuple[Tensor, ...]]


class Cell(Unrollable):
    """A cell of the library, cut in two.

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
