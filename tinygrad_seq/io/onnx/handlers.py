"""Which nodes a call becomes: a handler for each function and each kind of module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from ...nn import Module

Handler: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=Handler)

HANDLERS: dict[Any, Handler] = {}
"""Function, primitive or class of modules -> its handler."""


def onnx_handler(*operations: Any) -> Callable[[F], F]:
    """Say how calls of an operation of your own are written as ONNX: a decorator.

    The handler is called as the operation is, with the graph in front: ``handler(graph, *args)``,
    for a module ``handler(graph, module, *args)``. Some arguments are symbols, which have a shape
    and a dtype but no numbers; others tensors, arrays or numbers. It adds nodes with
    ``graph.node(op_type, inputs, shape, dtype=None, **attributes)`` and gives the resulting symbol,
    or a tuple of them (``graph.several``). Symbols can be computed with, as tensors can.

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
    """The handler of a call; of a module that of its class, or of a parent with its ``forward``."""
    if not isinstance(operation, Module):
        return HANDLERS.get(operation)
    kind = type(operation)
    for parent in kind.__mro__:
        if parent in HANDLERS and kind.forward is getattr(parent, "forward", None):
            return HANDLERS[parent]
    return None
