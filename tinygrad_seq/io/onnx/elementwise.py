"""Handlers of elementwise operations."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...ops.shape import to
from .graph import BOOL, FLOAT, INT, LONG, Graph, broadcast, where
from .handlers import HANDLERS, onnx_handler
from .symbol import ExportError, Symbol

_NAMED = "ceil cos cosh erf exp floor gelu log sigmoid sin sinh softplus sqrt tan tanh"
UNARY: dict[Any, str] = {
    **{getattr(ops, name): name.capitalize() for name in _NAMED.split()},
    **{getattr(ops, f"arc{x}"): f"A{x}" for x in ("cos", "cosh", "sin", "sinh", "tan", "tanh")},
}
ANY_NUMBER: dict[Any, str] = {ops.absolute: "Abs", ops.negative: "Neg", ops.sign: "Sign"}
BINARY: dict[Any, str] = {
    ops.add: "Add",
    ops.maximum: "Max",
    ops.minimum: "Min",
    ops.multiply: "Mul",
    ops.subtract: "Sub",
}
COMPARE: dict[Any, str] = {
    ops.equal: "Equal",
    ops.greater: "Greater",
    ops.greater_equal: "GreaterOrEqual",
    ops.less: "Less",
    ops.less_equal: "LessOrEqual",
}
LOGIC: dict[Any, str] = {ops.logical_and: "And", ops.logical_or: "Or", ops.logical_xor: "Xor"}
BITS: dict[Any, tuple[str, str]] = {
    ops.bitwise_and: ("And", "BitwiseAnd"),
    ops.bitwise_or: ("Or", "BitwiseOr"),
    ops.bitwise_xor: ("Xor", "BitwiseXor"),
}


def operands(graph: Graph, *args: Any, floating: bool = False) -> list[Symbol]:
    """Arguments as symbols of one dtype: float32 over integers, int64 over int32 and booleans.
    Python numbers take the dtype of the others."""
    dtypes = [x.dtype for x in args if hasattr(x, "dtype")]
    kinds = {d.kind for d in dtypes}
    if floating or "f" in kinds or any(isinstance(x, float) for x in args):
        common = FLOAT
    elif any(d not in (INT, BOOL) for d in dtypes):
        common = LONG
    elif any(d == INT for d in dtypes):
        common = INT
    else:
        common = BOOL if all(isinstance(x, bool) or hasattr(x, "dtype") for x in args) else LONG
    return [graph.symbol(x, common) for x in args]


def elementwise(graph: Graph, op_type: str, *given: Symbol, dtype: Any = None) -> Symbol:
    """A node of broadcast operands."""
    return graph.node(op_type, given, broadcast(*(x.shape for x in given)), dtype)


def _function(op_type: str, graph: Graph, x: Any) -> Symbol:
    return elementwise(graph, op_type, *operands(graph, x, floating=True))


def _unary(op_type: str, graph: Graph, x: Any) -> Symbol:
    return elementwise(graph, op_type, *operands(graph, x))


def _binary(op_type: str, graph: Graph, a: Any, b: Any) -> Symbol:
    a, b = operands(graph, a, b)
    if a.dtype == BOOL:
        raise ExportError(f"{where()} computes {op_type} of booleans: astype(int) them first")
    return elementwise(graph, op_type, a, b)


def _compare(op_type: str, graph: Graph, a: Any, b: Any) -> Symbol:
    a, b = operands(graph, a, b)
    if a.dtype == BOOL and op_type != "Equal":
        a, b = graph.cast(a, INT), graph.cast(b, INT)
    return elementwise(graph, op_type, a, b, dtype=BOOL)


def _logic(op_type: str, graph: Graph, a: Any, b: Any) -> Symbol:
    return elementwise(graph, op_type, truth(graph, a), truth(graph, b))


def _bits(names: tuple[str, str], graph: Graph, a: Any, b: Any) -> Symbol:
    a, b = operands(graph, a, b)
    return elementwise(graph, names[a.dtype != BOOL], a, b)


def truth(graph: Graph, x: Any) -> Symbol:
    """Whether each element is not 0."""
    return graph.symbol(x, BOOL)


def _asked(graph: Graph, op_type: str, x: Any) -> Symbol:
    return elementwise(graph, op_type, *operands(graph, x, floating=True), dtype=BOOL)


_LN2 = math.log(2)
_TABLES: list[tuple[dict[Any, Any], Callable[..., Any]]] = [
    (UNARY, _function),
    (ANY_NUMBER, _unary),
    (BINARY, _binary),
    (COMPARE, _compare),
    (LOGIC, _logic),
    (BITS, _bits),
]
for _table, _handler in _TABLES:
    for _op, _name in _table.items():
        HANDLERS[_op] = functools.partial(_handler, _name)


_PLAIN: dict[Any, Callable[..., Any]] = {
    ops.astype: lambda graph, x, dtype: graph.cast(graph.symbol(x), dtype),
    ops.cbrt: lambda graph, x: ops.sign(x) * ops.power(ops.absolute(x), 1 / 3),
    ops.divide: lambda graph, a, b: elementwise(
        graph, "Div", *operands(graph, a, b, floating=True)
    ),
    ops.exp2: lambda graph, x: ops.exp(x * _LN2),
    ops.expm1: lambda graph, x: ops.tanh(x * 0.5) * (ops.exp(x) + 1.0),  # right also near 0
    ops.isfinite: lambda graph, x: ops.logical_not(ops.isnan(x) | ops.isinf(x)),
    ops.isinf: lambda graph, x: _asked(graph, "IsInf", x),
    ops.isnan: lambda graph, x: _asked(graph, "IsNaN", x),
    ops.log10: lambda graph, x: ops.log(x) * (1 / math.log(10)),
    ops.log2: lambda graph, x: ops.log(x) * (1 / _LN2),
    ops.logaddexp2: lambda graph, a, b: ops.logaddexp(a * _LN2, b * _LN2) * (1 / _LN2),
    ops.logical_not: lambda graph, x: elementwise(graph, "Not", truth(graph, x)),
    ops.not_equal: lambda graph, a, b: ops.logical_not(_compare("Equal", graph, a, b)),
    ops.power: lambda graph, a, b: elementwise(graph, "Pow", *operands(graph, a, b)),
    ops.silu: lambda graph, x: x * ops.sigmoid(x),
    ops.square: lambda graph, x: x * x,
    to: lambda graph, x, backend: graph.symbol(x),
}
HANDLERS.update(_PLAIN)


@onnx_handler(ops.relu)
def _(graph: Graph, x: Any) -> Any:
    (x,) = operands(graph, x)
    return elementwise(graph, "Relu", x) if x.dtype == FLOAT else ops.maximum(x, 0)


@onnx_handler(ops.elu)
def _(graph: Graph, x: Any, alpha: float) -> Symbol:
    (x,) = operands(graph, x, floating=True)
    return graph.node("Elu", [x], x.shape, alpha=float(alpha))


@onnx_handler(ops.leaky_relu)
def _(graph: Graph, x: Any, slope: float) -> Symbol:
    (x,) = operands(graph, x, floating=True)
    return graph.node("LeakyRelu", [x], x.shape, alpha=float(slope))


@onnx_handler(ops.log1p)
def _(graph: Graph, x: Any) -> Any:
    near = ops.arithmetic.limit(x, -0.5, 0.5)  # ln(1 + x) = 2 artanh(x / (2 + x)), also near 0
    return ops.where(near == x, 2.0 * ops.arctanh(near / (2.0 + near)), ops.log(x + 1.0))


@onnx_handler(ops.logaddexp)
def _(graph: Graph, a: Any, b: Any) -> Any:
    a, b = operands(graph, a, b, floating=True)
    return ops.maximum(a, b) + ops.softplus(-ops.absolute(a - b))


@onnx_handler(ops.hypot)
def _(graph: Graph, a: Any, b: Any) -> Any:
    a, b = operands(graph, a, b, floating=True)
    large = ops.maximum(ops.absolute(a), ops.absolute(b))  # a square of it may overflow
    scale = ops.where(large == 0, 1.0, large)
    return ops.sqrt(ops.square(a / scale) + ops.square(b / scale)) * scale


@onnx_handler(ops.sinc)
def _(graph: Graph, x: Any) -> Any:
    angle = ops.where(x == 0, 1.0, x * math.pi)
    return ops.where(x == 0, 1.0, ops.sin(angle) / angle)


@onnx_handler(ops.nan_to_num)
def _(graph: Graph, x: Any, nan: float, posinf: Any, neginf: Any) -> Any:
    (x,) = operands(graph, x, floating=True)
    largest = float(np.finfo(np.float32).max)
    high = largest if posinf is None else posinf
    low = -largest if neginf is None else neginf
    finite = ops.where(ops.isnan(x), float(nan), x)
    finite = ops.where(finite == math.inf, float(high), finite)
    return ops.where(finite == -math.inf, float(low), finite)


@onnx_handler(ops.round)
def _(graph: Graph, x: Any, decimals: int) -> Any:
    (x,) = operands(graph, x, floating=True)
    if not decimals:
        return elementwise(graph, "Round", x)
    scale = 10.0**decimals
    return elementwise(graph, "Round", x * scale) / scale


@onnx_handler(ops.remainder)
def _(graph: Graph, a: Any, b: Any) -> Any:
    a, b = operands(graph, a, b)
    if a.dtype == FLOAT:
        return a - b * ops.floor(a / b)
    return elementwise(graph, "Mod", a, b)


@onnx_handler(ops.floor_divide)
def _(graph: Graph, a: Any, b: Any) -> Any:
    a, b = operands(graph, a, b)
    if a.dtype == FLOAT:
        return ops.floor(a / b)
    return elementwise(graph, "Div", a - elementwise(graph, "Mod", a, b), b)


@onnx_handler(ops.arithmetic.limit)
def _(graph: Graph, x: Any, low: Any, high: Any) -> Any:
    x = x if low is None else ops.maximum(x, low)
    return x if high is None else ops.minimum(x, high)


@onnx_handler(ops.where)
def _(graph: Graph, condition: Any, a: Any, b: Any) -> Symbol:
    return elementwise(
        graph,
        "Where",
        truth(graph, condition),
        *(given := operands(graph, a, b)),
        dtype=given[0].dtype,
    )


@onnx_handler(ops.invert)
def _(graph: Graph, x: Any) -> Symbol:
    x = graph.symbol(x)
    return elementwise(graph, "Not" if x.dtype == BOOL else "BitwiseNot", x)


@onnx_handler(ops.index.ids_below)
def _(graph: Graph, x: Any, size: int, says: str) -> Symbol:
    return graph.cast(graph.symbol(x), "int64")  # ONNX refuses other ids itself, where it gathers
