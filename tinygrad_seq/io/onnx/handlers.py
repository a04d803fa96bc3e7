"""Translation of calls into nodes: a handler for each function and each kind of module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from ...nn import Module

Handler: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=Handler)

HANDLERS: dict[Any, Handler] = {}
"""Function, primitive or class of modules -> its handler."""


def onnx_handler(*operations: Any) -> Callable[[F], F]:
    """Decorate a function that translates calls of your own operation to ONNX.

    The handler gets the graph and the arguments of the call: ``handler(graph, *args)``, or
    ``handler(graph, module, *args)`` for a module. Some arguments are symbols, which have a shape
    and a dtype but no numbers; others are tensors, arrays or numbers. It adds nodes with
    ``graph.node(op_type, inputs, shape, dtype=None, **attributes)`` and returns the resulting
    symbol, or a tuple of them (``graph.several``). Operations on symbols work as on tensors.

    Args:
        *operations: Primitives (:func:`tinygrad_seq.primitive`) or classes of modules.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import io
        >>> @ts.primitive
        ... def cube(x, /):
        ...     return x * x * x
        >>> @io.onnx_handler(cube)
        ... def _(graph, x):
        ...     return graph.node("Pow", [x, 3.0], x.shape)
    """

    def enter(handler: F) -> F:
        for operation in operations:
            HANDLERS[operation] = handler
        return handler

    return enter


def handler_of(operation: Any) -> Handler | None:
    """The handler of a call; for a module, of its class or of a base class with its ``forward``."""
    if not isinstance(operation, Module):
        return HANDLERS.get(operation)
    kind = type(operation)
    for parent in kind.__mro__:
        if parent in HANDLERS and kind.forward is getattr(parent, "forward", None):
            return HANDLERS[parent]
    return None
