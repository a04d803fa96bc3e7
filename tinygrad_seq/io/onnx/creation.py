"""Handlers of functions that create tensors, whose lengths may be open."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ... import creation
from .graph import FLOAT, LONG, Graph
from .handlers import HANDLERS, Handler, onnx_handler
from .symbol import Symbol


def _filled(graph: Graph, shape: Any, value: Any, dtype: Any) -> Symbol:
    return graph.expand(graph.symbol(value, FLOAT if dtype is None else np.dtype(dtype)), shape)


def _of_shape(value: int) -> Handler:
    def handler(
        graph: Graph, *shape: Any, dtype: Any = None, requires_grad: bool = False
    ) -> Symbol:
        return _filled(graph, _shape(shape), value, dtype)

    return handler


HANDLERS[creation.zeros] = _of_shape(0)
HANDLERS[creation.ones] = _of_shape(1)


@onnx_handler(creation.full)
def _(
    graph: Graph, shape: Any, value: Any, dtype: Any = None, requires_grad: bool = False
) -> Symbol:
    return _filled(graph, _shape((shape,)), value, dtype)


@onnx_handler(creation.full_like)
def _like(
    graph: Graph, like: Any, value: Any, dtype: Any = None, requires_grad: bool = False
) -> Symbol:
    return _filled(graph, like.shape, value, dtype or like.dtype)


HANDLERS[creation.zeros_like] = partial(_like, value=0)
HANDLERS[creation.ones_like] = partial(_like, value=1)


@onnx_handler(creation.arange)
def _(graph: Graph, *bounds: Any, dtype: Any = None, requires_grad: bool = False) -> Symbol:
    start, stop, step = (0, *bounds, 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    given = [graph.symbol(bound, LONG) for bound in (start, stop, step)]
    y = graph.node("Range", given, (0,), LONG)
    if isinstance(step, int) and step == 1:
        y._data.shape = (stop - start,)
    else:
        y = graph.new_axis(y, 0, f"[{y._data.name}]")
    return y if dtype is None else graph.cast(y, dtype)


def _shape(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """``(3, n)`` or ``((3, n),)`` as a shape."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], tuple | list) else given
