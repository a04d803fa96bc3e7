"""Where an operation is recorded: in which module, and at which time step.

A ``ContextVar`` holds the scope that is valid now, None while nobody looks. A node takes it as it
is recorded; modules and recurrent layers put another in its place while they compute.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from ..backend.forks import in_forked_child
from .graph import Node, Variable
from .mode import tracing

F = TypeVar("F", bound=Callable[..., Any])

# What the traces entered in this context will put back; one trace may be entered in several.
_entered: ContextVar[tuple[Token[Any], ...]] = ContextVar("_entered", default=())
_naming = threading.RLock()  # threads under one trace share its names


@in_forked_child
def _renew() -> None:
    global _naming
    _naming = threading.RLock()


@dataclass(frozen=True, slots=True)
class Scope:
    """The place of an operation.

    Attributes:
        path: The module it was recorded in, dotted; ``""`` outside of modules.
        step: The time step, or None.
        trace: Who is looking.
    """

    path: str
    step: int | None
    trace: Trace = field(repr=False, compare=False)


class Trace:
    """Somebody who looks on. Entered, every node that is recorded in its block knows its scope.

    What derives from it is told of every operation, and may keep or measure what it is told. Of
    traces within one another the innermost is told; names, module and step go on.

    Args:
        model: A module whose names are used as they are.

    Attributes:
        names: Of the modules and parameters met so far, by id; each is kept alive here, so that no
            id is used again.
    """

    def __init__(self, model: Any = None) -> None:
        if model is not None and not hasattr(model, "_parts"):
            name = type(self).__name__
            raise TypeError(f"{name} takes the module whose names are wanted; got {model!r:.60}")
        self.model = model
        self.names: dict[int, tuple[Any, str]] = {}

    def __enter__(self) -> Any:
        outer = tracing.get()
        if outer is not None:
            self.names = outer.trace.names
        if self.model is not None:  # first: it may raise
            self.adopt(self.model, "")
        here = Scope("", None, self) if outer is None else replace(outer, trace=self)
        _entered.set((*_entered.get(), tracing.set(here)))
        return self

    def __exit__(self, *error: object) -> None:
        *before, token = _entered.get()
        _entered.set(tuple(before))
        tracing.reset(token)

    def forward(self, op: Any, compute: Callable[..., Any], /, *args: Any, **params: Any) -> Any:
        """Give ``compute(*args, **params)``, the forward of ``op``."""
        return compute(*args, **params)

    def instead(self, op: Any, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Give what calling ``op``, a function or a module, results in; NotImplemented to let it
        compute. It is asked before anything is checked."""
        return NotImplemented

    def recorded(self, node: Node) -> None:
        """``node`` has just been recorded, of what the latest forward gave."""

    def looked(self, variable: Variable, how: str) -> None:
        """The numbers of ``variable`` are read, by the attribute or method ``how``."""

    def pullback(self, node: Node, *args: Any) -> Iterable[tuple[Any, Any]]:
        """Give the gradients that ``node`` hands on, each used up before the next is asked for."""
        return node.op.pullback(node, *args)

    def name(self, module: Any, within: str) -> str:
        """The path of a module: its place in the tree of the outermost one, which is called after
        its class; one that stands in no tree is called so below ``within``."""
        known = self.names.get(id(module))
        if known is None:
            with _naming:
                taken = {path for _, path in self.names.values()}
                self.adopt(module, next(p for p in _numbered(within, module) if p not in taken))
                known = self.names[id(module)]
        return known[1]

    def adopt(self, module: Any, path: str) -> None:
        """Name a module, and all modules and parameters below it."""
        with _naming:
            for below, part in module._parts():
                self.names.setdefault(id(part), (part, joined(path, below)))


class _At:
    """A context manager: while it lasts, ``scope`` is where operations are recorded."""

    __slots__ = ("_scope", "_token")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        self._token = tracing.set(self._scope)

    def __exit__(self, *error: object) -> None:
        tracing.reset(self._token)


_NOWHERE = nullcontext()


def inside(module: Any) -> AbstractContextManager[None]:
    """Record inside ``module`` for a while; nothing, while nobody looks."""
    here = tracing.get()
    if here is None:
        return _NOWHERE
    return _At(Scope(here.trace.name(module, here.path), here.step, here.trace))


def at_step(t: int) -> AbstractContextManager[None]:
    """Record at time step ``t`` for a while; nothing, while nobody looks.

    Layers that unroll do so themselves: it is for loops over time of your own.

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
    here = tracing.get()
    return _NOWHERE if here is None else _At(Scope(here.path, t, here.trace))


def asked_first(function: F) -> F:
    """``function``, which whoever looks on may compute in another way: :meth:`Trace.instead`."""

    @functools.wraps(function)
    def call(*args: Any, **params: Any) -> Any:
        here = tracing.get()
        if here is not None:
            given = here.trace.instead(call, args, params)
            if given is not NotImplemented:
                return given
        return function(*args, **params)

    return cast(F, call)


def told(op: Any, compute: Callable[..., Any]) -> Callable[..., Any]:
    """``compute``, the forward of ``op``, as whoever looks on now does it."""
    return functools.partial(tracing.get().trace.forward, op, compute)


def looked(variable: Variable, how: str) -> None:
    """Tell whoever looks on that the numbers of a tensor are read."""
    here = tracing.get()
    if here is not None:
        here.trace.looked(variable, how)


def joined(path: str, below: str) -> str:
    """Two dotted paths as one."""
    return f"{path}.{below}" if path and below else path or below


def _numbered(within: str, module: Any) -> Iterator[str]:
    """``LSTM``, ``LSTM_2``, ``LSTM_3``, ... below ``within``."""
    path = joined(within, type(module).__name__)
    yield path
    count = 2
    while True:
        yield f"{path}_{count}"
        count += 1
