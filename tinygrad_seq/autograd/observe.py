"""Observers: they see every operation in their block, and every rule of its backward pass.

Anomaly mode, ``viz.trace``, ``viz.profile``, the export to ONNX and the derivation of loops are
observers. A ``ContextVar`` holds the current :class:`Scope`: who observes, in which module and at
which time step. Every recorded node keeps it. Without an observer it is None, and an operation
costs one look at the variable.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..messages import explained
from .mode import Block

if TYPE_CHECKING:
    from .graph import Node

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Scope:
    """Where an operation is recorded, and who observes it.

    Attributes:
        path: The module, dotted; ``""`` outside of modules.
        step: The time step, or None.
        observers: The outermost first.
        names: Objects and their names, by id, as the layers above gave them; None if no
            observer asks for names.
    """

    path: str = ""
    step: int | None = None
    observers: tuple[Observer, ...] = field(default=(), repr=False, compare=False)
    names: dict[int, tuple[Any, str]] | None = field(default=None, repr=False, compare=False)

    def instead(self, op: Any, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """The result of the innermost observer that replaces this call, else NotImplemented."""
        for observer in reversed(self.observers):
            given = observer.instead(op, args, params)
            if given is not NotImplemented:
                return given
        return NotImplemented

    def forward(self, op: Any, compute: Callable[..., Any], /, *args: Any, **params: Any) -> Any:
        """``compute(*args, **params)``, by way of every observer."""
        for observer in self.observers:
            compute = functools.partial(observer.forward, op, compute)
        return compute(*args, **params)

    def pullback(
        self, node: Node, pull: Callable[..., Iterable[tuple[Any, Any]]], /, *args: Any
    ) -> Iterable[tuple[Any, Any]]:
        """``pull(node, *args)``, by way of every observer."""
        for observer in self.observers:
            pull = functools.partial(_by_way_of, observer, pull)
        return pull(node, *args)


def _by_way_of(observer: Observer, pull: Callable[..., Any], node: Node, *args: Any) -> Any:
    return observer.pullback(node, pull, *args)


observing: ContextVar[Scope | None] = ContextVar("observing", default=None)


class Observer(Block):
    """Sees every operation in its block. Derive from it to measure, keep, check or replace.

    Several may be active at once; each sees every operation.

    Attributes:
        unfuses: Whether fused operations are computed operation by operation meanwhile.
        symbolic: Whether it writes a program that must hold for other numbers too. Then rules do
            not decide by values, and outer observers do not see the operations.
    """

    variable = observing
    unfuses = False
    symbolic = False

    @property
    def value(self) -> Scope:
        """The scope inside its block: the scope outside, with this observer added."""
        outer = observing.get() or Scope()
        if self.symbolic:
            return replace(outer, observers=(self,))
        if self in outer.observers:
            return outer
        return replace(outer, observers=(*outer.observers, self))

    def instead(self, op: Any, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Give the result of calling ``op``, a function or a module, or NotImplemented to let it
        compute. This is called before the arguments are checked."""
        return NotImplemented

    def forward(self, op: Any, compute: Callable[..., Any], /, *args: Any, **params: Any) -> Any:
        """Give ``compute(*args, **params)``, the forward of ``op``."""
        return compute(*args, **params)

    def recorded(self, node: Node) -> None:
        """``node`` has just been recorded, for the result of the latest forward."""

    def looked(self, array: Any, how: str) -> None:
        """The numbers of ``array`` are read, by the attribute or method ``how``."""

    def knows(self, array: Any) -> bool:
        """Whether it knows ``array`` by its identity, so that no copy may replace it."""
        return False

    def pullback(
        self, node: Node, pull: Callable[..., Iterable[tuple[Any, Any]]], /, *args: Any
    ) -> Iterable[tuple[Any, Any]]:
        """Give ``pull(node, *args)``: the gradients that ``node`` passes on, in the shape and dtype
        of its arguments. Each is used up before the next is asked for."""
        return pull(node, *args)


class Place(Block):
    """Operations in its block are recorded in another scope; in none, no observer sees them."""

    variable = observing

    def __init__(self, scope: Scope | None) -> None:
        self.value = scope


NOWHERE = nullcontext()


def at_step(t: int) -> AbstractContextManager[Any]:
    """Let the nodes recorded in the block know that they belong to time step ``t``.

    Layers that unroll do it themselves: this is for your own loops over time. Without an observer
    it does nothing.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import viz
        >>> h = ts.tensor(0.5, requires_grad=True)
        >>> with viz.trace():
        ...     for t in range(3):
        ...         with viz.at_step(t):
        ...             h = ts.tanh(h)
        >>> h.node.scope
        Scope(path='', step=2)
    """
    here = observing.get()
    return NOWHERE if here is None else Place(replace(here, step=t))


def replaceable(function: F) -> F:
    """``function``, which an observer may compute in another way: :meth:`Observer.instead`."""

    own = explained(function)

    @functools.wraps(function)
    def call(*args: Any, **params: Any) -> Any:
        here = observing.get()
        given = NotImplemented if here is None else here.instead(call, args, params)
        return own(*args, **params) if given is NotImplemented else given

    return cast(F, call)


def looked(value: Any, how: str) -> None:
    """Tell the observers that the numbers of tensors or arrays are read, or of those in a list."""
    here = observing.get()
    if here is None:
        return
    if isinstance(value, (tuple, list)):
        for part in value:
            looked(part, how)
    else:
        for observer in here.observers:
            observer.looked(getattr(value, "_data", value), how)


def known(array: Any) -> bool:
    """Whether an observer knows ``array`` by its identity."""
    here = observing.get()
    return here is not None and any(observer.knows(array) for observer in here.observers)


def unfused() -> bool:
    """Whether fused operations are to be computed operation by operation."""
    here = observing.get()
    return here is not None and any(observer.unfuses for observer in here.observers)


def symbolic() -> bool:
    """Whether what is computed now must hold for other numbers too."""
    here = observing.get()
    return here is not None and any(observer.symbolic for observer in here.observers)
