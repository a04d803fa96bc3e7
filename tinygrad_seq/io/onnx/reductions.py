"""Handlers of reductions, products of matrices, and softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...ops.axes import one_axis
from ...ops.reduce import axes_of
from .elementwise import operands, truth
from .graph import BOOL, FLOAT, INT, LONG, Graph, broadcast, where
from .handlers import HANDLERS, onnx_handler
from .symbol import ExportError, Length, Symbol, same


def reduce(graph: Graph, op_type: str, x: Symbol, axis: Any, keepdims: bool) -> Symbol:
    """A reduction along axes; None means all."""
    axes = axes_of(x.ndim, axis)
    if not axes:
        return x
    shape = [1 if k in axes else n for k, n in enumerate(x.shape) if keepdims or k not in axes]
    return graph.node(op_type, [x, np.array(axes, np.int64)], shape, keepdims=int(keepdims))


def _reduction(op_type: str, floating: bool) -> Callable[..., Symbol]:
    def handler(graph: Graph, x: Any, axis: Any = None, keepdims: bool = False) -> Symbol:
        (x,) = operands(graph, x, floating=floating)
        x = graph.cast(x, LONG) if x.dtype == BOOL else x
        return reduce(graph, op_type, x, axis, keepdims)

    return handler


for _op, _name, _floating in (
    (ops.sum, "ReduceSum", False),
    (ops.prod, "ReduceProd", False),
    (ops.max, "ReduceMax", False),
    (ops.min, "ReduceMin", False),
    (ops.mean, "ReduceMean", True),
    (ops.logsumexp, "ReduceLogSumExp", True),
):
    HANDLERS[_op] = _reduction(_name, _floating)


def _truths(op_type: str) -> Callable[..., Symbol]:
    def handler(graph: Graph, x: Any, axis: Any, keepdims: bool) -> Symbol:
        y = reduce(graph, op_type, graph.cast(truth(graph, x), INT), axis, keepdims)
        return graph.cast(y, BOOL)

    return handler


HANDLERS[ops.all] = _truths("ReduceMin")
HANDLERS[ops.any] = _truths("ReduceMax")


def _position(op_type: str) -> Callable[..., Symbol]:
    def handler(graph: Graph, x: Any, axis: Any, keepdims: bool) -> Symbol:
        (x,) = operands(graph, x)
        x, k = (graph.reshape(x, (-1,)), 0) if axis is None else (x, one_axis(axis, x.ndim))
        if axis is None and keepdims:
            raise ExportError(f"{where()} asks for one position of all elements, with its axes")
        shape = [1 if i == k else n for i, n in enumerate(x.shape) if keepdims or i != k]
        return graph.node(op_type, [x], shape, LONG, axis=k, keepdims=int(keepdims))

    return handler


HANDLERS[ops.argmax] = _position("ArgMax")
HANDLERS[ops.argmin] = _position("ArgMin")


def _count(graph: Graph, x: Symbol, axis: Any) -> Any:
    """The number of elements that are reduced to one result."""
    count: Any = 1
    for k in axes_of(x.ndim, axis):
        count = count * x.shape[k]
    return count


@onnx_handler(ops.var)
def _(graph: Graph, x: Any, axis: Any, ddof: float, keepdims: bool) -> Any:
    (x,) = operands(graph, x, floating=True)
    centred = x - ops.mean(x, axis=axis, keepdims=True)
    total = ops.sum(centred * centred, axis=axis, keepdims=keepdims)
    count: Any = graph.cast(graph.symbol(_count(graph, x, axis)), FLOAT)
    return total / (count - float(ddof))


@onnx_handler(ops.std)
def _(graph: Graph, x: Any, axis: Any, ddof: float, keepdims: bool) -> Any:
    return ops.sqrt(ops.var(x, axis, ddof, keepdims))


@onnx_handler(ops.reduce.vector_norm)
def _(graph: Graph, x: Any, ord: float, axis: Any, keepdims: bool) -> Any:
    (x,) = operands(graph, x, floating=True)
    if ord in (1, 2):
        return reduce(graph, f"ReduceL{int(ord)}", x, axis, keepdims)
    powers = ops.power(ops.absolute(x), float(ord))
    return ops.power(ops.sum(powers, axis=axis, keepdims=keepdims), 1 / ord)


@onnx_handler(ops.cumsum)
def _(graph: Graph, x: Any, axis: int | None) -> Symbol:
    (x,) = operands(graph, x)
    x, k = (graph.reshape(x, (-1,)), 0) if axis is None else (x, one_axis(axis, x.ndim))
    return graph.node("CumSum", [x, np.array(k, np.int64)], x.shape)


def _softmax(op_type: str) -> Callable[..., Symbol]:
    def handler(graph: Graph, x: Any, axis: Any) -> Symbol:
        (x,) = operands(graph, x, floating=True)
        axes = axes_of(x.ndim, axis)
        if len(axes) != 1:
            raise ExportError(f"{where()} takes {op_type} along axes {axes}; ONNX takes one")
        return graph.node(op_type, [x], x.shape, axis=axes[0])

    return handler


HANDLERS[ops.softmax] = _softmax("Softmax")
HANDLERS[ops.log_softmax] = _softmax("LogSoftmax")


@onnx_handler(ops.matmul)
def _(graph: Graph, a: Any, b: Any) -> Symbol:
    a, b = operands(graph, a, b, floating=True)
    rows, columns = a.shape[-2:-1], b.shape[-1:] if b.ndim > 1 else ()
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if not a.ndim or not b.ndim or not same(a.shape[-1], inner):
        raise ValueError(
            f"{where()}matmul of shapes {a.shape} and {b.shape}: the last axis of the first must "
            "be as long as the last but one (or only) of the second"
        )
    leading = broadcast(a.shape[:-2], b.shape[:-2])
    return graph.node("MatMul", [a, b], leading + rows + columns)


@onnx_handler(ops.linear.affine)
def _(graph: Graph, x: Any, weight: Any, bias: Any = None) -> Any:
    return ops.linear.affine_in_parts(x, weight, bias)


@onnx_handler(ops.linear.contract)
def _(graph: Graph, *xs: Any, inputs: tuple[str, ...], output: str) -> Symbol:
    xs = tuple(operands(graph, *xs, floating=True))
    lengths: dict[str, Length] = {}
    for word, x in zip(inputs, xs, strict=True):
        for letter, n in zip(word, x.shape, strict=True):
            lengths[letter] = broadcast((lengths.get(letter, 1),), (n,))[0]
    equation = f"{','.join(inputs)}->{output}"
    return graph.node("Einsum", xs, [lengths[c] for c in output], equation=equation)
