"""A cell: one step of a recurrent net, ``cell(x, state) -> (y, state)``.

Any callable of this form is a cell: one of the library's, a module or a function of your own. It
may have two more methods: ``initial_state(batch_shape)``, the state to start from (None without
it), and ``begin(xs, state, recall)``, which runs once for a whole sequence.

Shapes: N sequences, I inputs, H hidden units; a cell reads one sequence without the axis N.
Weights have PyTorch's names, order and layout, and start from U(-1/√H, 1/√H).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, cast

from ...autograd.primitive import Primitive
from ...messages import is_ours
from ...recurrence import each
from ...tensor import Tensor
from .. import init
from ..checks import features, floating_dtype, positive, same_dtype, state_of, zeros_beside
from ..linear import affine
from ..module import Module
from ..names import inside
from ..parameter import Parameter

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from ...autograd.signatures import DType, Operand

    S = TypeVar("S", default=Any)
else:
    from typing import TypeVar

    S = TypeVar("S")

Step: TypeAlias = Callable[[Any, Any], Any]
"""(x, state) -> (y, state)."""

Recall: TypeAlias = Callable[[Any], Any]
"""Maps h, the first part of the state, to what the recurrent weights read."""


_SETTINGS = (int, float, str, Primitive, type(None))  # bool is an int


def as_it_is(h: Any) -> Any:
    """h itself: the usual :data:`Recall`."""
    return h


class Cell(Module, Generic[S]):
    """A cell of the library: weights, one check, and the equations in :meth:`step`.

    A cell of your own defines only its number of gates and its equations:

        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import nn
        >>> class UpdateGateCell(nn.Cell):  # Collins et al. 2017
        ...     def __init__(self, input_size, hidden_size):
        ...         super().__init__(input_size, hidden_size, gates=2, biases=1)
        ...
        ...     def step(self, x, h):
        ...         sums = x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T
        ...         g, c = ts.split(sums, 2, axis=-1)
        ...         g = ts.sigmoid(g)
        ...         h = g * h + (1 - g) * ts.tanh(c)
        ...         return h, h
        >>> y, last = nn.Recurrent(UpdateGateCell(3, 4))(ts.ones((5, 2, 3)), lengths=[5, 2])
        >>> y.shape, last.shape
        ((5, 2, 4), (2, 4))

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
    """

    state_names: ClassVar[tuple[str, ...]] = ("h",)
    gate_names: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        gates: int,
        biases: int,
        dtype: DType | None = None,
        output_size: int | None = None,
    ) -> None:
        owner = type(self).__name__
        self.input_size = positive(owner, "input_size", input_size)
        self.hidden_size = positive(owner, "hidden_size", hidden_size)
        self.output_size = output_size or hidden_size
        dtype = floating_dtype(owner, dtype)
        rows = gates * hidden_size
        self._shapes: dict[str, tuple[int, ...]] = {"bias_ih": (rows,), "bias_hh": (rows,)}
        self.weight_ih = self._draw("weight_ih", (rows, input_size), dtype)
        self.weight_hh = self._draw("weight_hh", (rows, self.output_size), dtype)
        self.bias_ih = self._draw("bias_ih", (rows,), dtype) if biases else None
        self.bias_hh = self._draw("bias_hh", (rows,), dtype) if biases == 2 else None

    def _draw(self, name: str, shape: tuple[int, ...], dtype: Any) -> Parameter:
        """Add a weight whose shape :meth:`check` verifies."""
        self._shapes[name] = shape
        bound = 1.0 / math.sqrt(self.hidden_size)
        return Parameter(init.uniform(shape, -bound, bound, dtype))

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters, and of inputs and states."""
        return self.weight_ih.dtype

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Sizes of the last axis of the parts of the state: that of h, then H for each other."""
        return self.output_size, *(self.hidden_size for _ in self.state_names[1:])

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> S:
        """A state of zeros, for a batch ``(N,)`` or one sequence ``()``."""
        shapes = ((*batch_shape, n) for n in self.state_sizes)
        parts = tuple(zeros_beside(self.weight_ih, shape) for shape in shapes)
        return cast("S", parts if len(parts) > 1 else parts[0])

    def check(
        self, x: Operand, state: Operand | None = None, sequence: bool = False
    ) -> tuple[Tensor, Any]:
        """Check that input, state and weights fit; return input and state as tensors.

        Args:
            x: Input of one step ``(N, I)`` or ``(I,)``.
            state: The state before it; zeros if None.
            sequence: Whether x has all steps, ``(T, N, I)`` or ``(T, I)``.

        Raises:
            ValueError: a shape does not fit.
            TypeError: a dtype or kind does not fit.
        """
        owner, size, dtype = type(self).__name__, self.input_size, self.dtype
        for name, shape in self._shapes.items():
            weight = getattr(self, name)
            if weight is None:
                continue
            if weight.shape != shape:
                raise ValueError(
                    f"{owner} expects {weight.name or name} of shape {shape}; got {weight.shape}"
                )
            same_dtype(owner, weight.name or name, weight, dtype, "weight_ih")
        x = features(owner, x, "input_size", size, dtype)
        if sequence and x.ndim not in (2, 3):
            raise ValueError(
                f"{owner} reads sequences (T, N, {size}) or (T, {size}); got x of shape {x.shape}"
            )
        if not sequence and x.ndim > 2:
            raise ValueError(
                f"{owner} takes one step, x of shape (N, {size}) or ({size},); "
                f"got {x.ndim} axes: nn.Recurrent(cell) unrolls it"
            )
        batch = x.shape[sequence:-1]
        if state is None:
            return x, self.initial_state(batch)
        shapes = [(*batch, n) for n in self.state_sizes]
        return x, state_of(owner, state, self.state_names, shapes, dtype)

    def forward(
        self, x: Operand, state: Operand | None = None, recall: Recall = as_it_is
    ) -> tuple[Tensor, S]:
        """One step.

        Args:
            x: Input ``(N, I)``, or ``(I,)``.
            state: The state before, each part ``(N, H)`` or ``(H,)``; zeros if None.
            recall: Maps h to what the recurrent weights read in its place.

        Returns:
            (y, state after): y is the new h.

        Raises:
            ValueError: a shape does not fit.
            TypeError: a dtype or kind does not fit.
        """
        x, state = self.check(x, state)
        return recalling(self.step, recall)(x, state)  # type: ignore[no-any-return]

    def step(self, x: Any, state: Any) -> tuple[Any, Any]:
        """The equations: ``(x, state) -> (y, state)``, of tensors that fit.

        If it takes ``recall``, its recurrent weights read ``recall(h)`` and the rest of the
        equations read h. Otherwise it gets ``recall`` of its whole state.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no equations: define step(self, x, state)"
        )

    def _sums(self, x: Tensor, h: Any) -> Tensor:
        """W x + b + U h + c, all gates side by side."""
        return affine(x, self.weight_ih, self.bias_ih) + affine(h, self.weight_hh, self.bias_hh)

    def constant(self) -> tuple[Any, list[Tensor]] | None:
        """(settings, weights), if its step depends on nothing else; else None.

        This is known for the library's cells with the library's functions. Any other step may read
        anything, and is checked again for every sequence.
        """
        if not is_ours(type(self)):
            return None
        settings: list[Any] = [type(self)]
        weights = []
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                weights.append(value)
            elif isinstance(value, _SETTINGS) or (
                type(value) is tuple and all(isinstance(v, _SETTINGS) for v in value)
            ):
                settings.append((name, value))
            elif name != "_shapes":
                return None
        return tuple(settings), weights

    def _recurrent_cells(self) -> list[Cell]:
        return [self]

    def options(self) -> list[str]:
        """The settings that differ from the default, as written in a call."""
        return ["bias=False"] * (self.bias_ih is None)

    def extra_repr(self) -> str:
        """Sizes and options."""
        return ", ".join([str(self.input_size), str(self.hidden_size), *self.options()])


# -- any cell ----------------------------------------------------------------------------------


def require_cell(owner: str, cell: Any) -> None:
    """Refuse what cannot be a cell.

    Raises:
        TypeError: it is a class or a layer, is not callable, or is no module but has parameters.
    """
    name = getattr(cell, "__name__", type(cell).__name__)
    if isinstance(cell, type):
        raise TypeError(f"{owner} expects a cell, not its class: write {owner}({name}(...))")
    if not callable(cell):
        raise TypeError(
            f"{owner} expects a cell, callable as cell(x, state) -> (y, state); got {cell!r}"
        )
    if isinstance(cell, Module):
        if takes(cell.forward, "lengths"):
            raise TypeError(
                f"{owner} expects a cell, which takes one step; {name} is a layer, which reads "
                f"whole sequences by itself: call it, or give its cell, as in nn.GRUCell(...)"
            )
    elif any(
        isinstance(part, Module | Parameter) for part in getattr(cell, "__dict__", {}).values()
    ):
        raise TypeError(
            f"{owner} got a {name} that holds parameters but is no module, so they would not be "
            "trained or saved: derive it from nn.Module"
        )


def initial_state_of(cell: Any, batch_shape: tuple[int, ...]) -> Any:
    """The state that a cell starts from, or None."""
    start = getattr(cell, "initial_state", None)
    return None if start is None else start(batch_shape)


def learned(owner: str, module: Any, learn: Callable[[Tensor], Any]) -> Any:
    """``learn`` of every part of a module's initial state, in the form of the state.

    Raises:
        TypeError: a part is not a Tensor.
    """

    def checked(part: Any) -> Any:
        if not isinstance(part, Tensor):
            raise TypeError(
                f"{owner} expects a cell or a layer whose initial_state() gives Tensors; "
                f"{type(module).__name__} gives {part!r}"
            )
        return learn(part)

    return each(checked, initial_state_of(module, ()))


def begun(cell: Any, xs: Any, state: Any, recall: Recall = as_it_is) -> tuple[Step, Any]:
    """Begin a sequence with a cell: return its step, and the inputs of all steps."""
    if not hasattr(type(cell) if isinstance(cell, Module) else cell, "begin"):
        return recalling(cell, recall), xs
    begin = cell.begin
    with inside_cell(cell):
        if takes(begin, "recall"):
            return begin(xs, state, recall)  # type: ignore[no-any-return]
        step, xs = begin(xs, state)
        return recalling(step, recall), xs


def recalling(step: Any, recall: Recall) -> Step:
    """A step whose recurrent weights read ``recall(h)``.

    A step that does not take ``recall`` gets ``recall(state)`` as its whole state.
    """
    if recall is as_it_is:
        return step  # type: ignore[no-any-return]
    if takes(step.forward if isinstance(step, Module) else step, "recall"):
        return lambda x, state: step(x, state, recall=recall)
    return lambda x, state: step(x, recall(state))


def takes(function: Any, name: str) -> bool:
    """Whether a function has a parameter of this name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some functions written in C have no signature
        return False


def inside_cell(cell: Any) -> AbstractContextManager[None]:
    """Record inside a cell during a block, if it is a module."""
    return inside(cell) if isinstance(cell, Module) else nullcontext()
