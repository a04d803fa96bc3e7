"""What Recurrent asks of a cell, and the answers of any callable ``(x, state) -> (y, state)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, TypeAlias

from ..autograd.mode import tracing
from ..autograd.scope import inside
from ..tensor import Tensor
from .checks import as_tensor
from .module import Module

Step: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]
"""(projected input or x, state) -> (y, state)."""

Recall: TypeAlias = Callable[[Any], Any]
"""What the recurrent weights see of the state that they are given."""


def as_it_is(state: Any) -> Any:
    """The state itself: the usual :data:`Recall`."""
    return state


class Unrollable(Module):
    """What cells and the wrappers around them share: one step, made of what Recurrent asks for.

    ``cell(x, state)`` is ``cell.recurrence()(cell.project(x), state)``, after the checks.
    """

    fused: ClassVar[Callable[..., tuple[Tensor, ...]] | None] = None

    def acting(self) -> Any:
        """What reads the next sequence: this, or the cell within where there is nothing to do."""
        return self

    def check_step(self, x: Any) -> Any:
        """The input of one step as a tensor, if it fits."""
        raise NotImplementedError(f"{type(self).__name__} does not define check_step(x)")

    def check_sequence(self, x: Any) -> Any:
        """The input of all steps as a tensor, if it fits."""
        raise NotImplementedError(f"{type(self).__name__} does not define check_sequence(x)")

    def check_state(self, state: Any, batch_shape: tuple[int, ...] = ()) -> Any:
        """The state as tensors, if it fits the batch."""
        raise NotImplementedError(f"{type(self).__name__} does not define check_state(state)")

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Any:
        """The state to start from, for a batch ``(N,)`` or one sequence ``()``."""
        raise NotImplementedError(f"{type(self).__name__} does not define initial_state()")

    def project(self, x: Any) -> Any:
        """The part of a step that reads only the input, for one step or for all."""
        raise NotImplementedError(f"{type(self).__name__} does not define project(x)")

    def recurrence(self, recall: Recall = as_it_is) -> Step:
        """The step ``(projected, state) -> (y, state)``, for one pass over a sequence.

        What does not change from step to step (transposed weights, the masks of one sequence) is
        made here, once.

        Args:
            recall: What the recurrent weights see in place of h.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define recurrence()")

    def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        """One step.

        Args:
            x: Input ``(N, I)``, or ``(I,)``.
            state: The state before, each part ``(N, H)`` or ``(H,)``; zeros if None.

        Returns:
            (y, state after): y is the new h.

        Raises:
            ValueError: a shape does not fit.
            TypeError: a dtype or kind does not fit.
        """
        x = self.check_step(x)
        batch = x.shape[:-1]
        state = self.initial_state(batch) if state is None else self.check_state(state, batch)
        return self.recurrence()(self.project(x), state)


class AnyCell:
    """A callable ``(x, state) -> (y, state)``, which checks its arguments itself.

    It starts from its own ``initial_state(batch_shape)``, if it has one, or else from None.
    """

    fused = None

    def __init__(self, cell: Callable[..., Any]) -> None:
        self.cell = cell

    def check_step(self, x: Any) -> Tensor:
        """x as a tensor."""
        return as_tensor(x)

    def check_sequence(self, x: Any) -> Tensor:
        """x as a tensor."""
        return as_tensor(x)

    def check_state(self, state: Any, batch_shape: tuple[int, ...] = ()) -> Any:
        """The state as it is."""
        return state

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Any:
        """The cell's own first state, or None."""
        start = getattr(self.cell, "initial_state", None)
        return None if start is None else start(batch_shape)

    def project(self, x: Any) -> Any:
        """x: the cell is not cut in two."""
        return x

    def recurrence(self) -> Step:
        """The cell itself."""
        return self.cell


def unrollable(owner: str, cell: Any) -> Any:
    """What answers for a cell: the cell itself, or an :class:`AnyCell` around it.

    Raises:
        TypeError: it cannot be called.
    """
    if isinstance(cell, Unrollable):
        return cell.acting()
    if not callable(cell):
        raise TypeError(
            f"{owner} expects a cell, callable as cell(x, state) -> (y, state); got {cell!r}"
        )
    return AnyCell(cell)


def inside_cell(cell: Any) -> AbstractContextManager[None]:
    """Record inside a cell for a while, if it is a module."""
    return inside(cell) if isinstance(cell, Module) else nullcontext()


def recurrence_of(cell: Any, recall: Recall = as_it_is) -> Step:
    """The step of a cell whose recurrent weights see ``recall(h)``.

    A cell that does not take ``recall`` cannot tell them apart from the rest of its equations, and
    is given ``recall(state)`` as its state.
    """
    if tracing.get() is None:
        return _recurrence_of(cell, recall)
    with inside_cell(cell):
        step = _recurrence_of(cell, recall)

    def in_its_scope(x: Any, state: Any) -> tuple[Any, Any]:
        with inside_cell(cell):
            return step(x, state)

    return in_its_scope


def _recurrence_of(cell: Any, recall: Recall) -> Step:
    if recall is as_it_is:
        return cell.recurrence()  # type: ignore[no-any-return]
    if "recall" in inspect.signature(cell.recurrence).parameters:
        return cell.recurrence(recall)  # type: ignore[no-any-return]
    step = cell.recurrence()
    return lambda x, state: step(x, recall(state))


def each(f: Callable[..., Any], *states: Any) -> Any:
    """f of the parts of states, which are a tensor or tuples of them, of one structure."""
    if isinstance(states[0], tuple | list):
        return tuple(each(f, *parts) for parts in zip(*states, strict=True))
    return f(*states)
