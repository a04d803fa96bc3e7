"""ONNX's operators as functions of arrays or tensors: a table from their names.

Arrays give arrays, as in ``fold``; a tensor among the arguments gives a tensor, as in ``model``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import ops
from ...autograd.operands import on_host
from ...tensor import Tensor
from .elementwise import ANY_NUMBER, BINARY, COMPARE, LOGIC, UNARY
from .proto import DTYPES, Node

Array = NDArray[Any]


def computed(node: Node, given: Sequence[Any]) -> tuple[Any, ...]:
    """The results of a node; None stands for an argument that is left out."""
    results = OPERATORS[node.op_type](node, *given)
    return results if isinstance(results, tuple) else (results,)


def axes_of(node: Node, given: Array | None, default: Sequence[int] = ()) -> tuple[int, ...]:
    """Axes, an input since opset 13 or 18 and an attribute before."""
    axes = node.attributes.get("axes", default) if given is None else given.reshape(-1).tolist()
    return tuple(int(k) for k in axes)


def reshaped(shape: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    """A shape to reshape to; 0 keeps a length."""
    return tuple(shape[k] if n == 0 else int(n) for k, n in enumerate(wanted))


def unsqueezed(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """A shape with new axes of length 1 at the given positions of the result."""
    ndim = len(shape) + len(axes)
    new, old = {k % ndim for k in axes}, iter(shape)
    return tuple(1 if k in new else next(old) for k in range(ndim))


def slices(node: Node, ndim: int, given: Sequence[Array | None]) -> tuple[slice, ...]:
    """The index that a Slice takes, from its inputs or (before opset 10) its attributes."""
    names = ("starts", "ends", "axes", "steps")
    values = [None if x is None else x.reshape(-1).tolist() for x in given] + [None] * 4
    parts = [v or node.attributes.get(name) for v, name in zip(values, names, strict=False)]
    starts, ends = parts[0] or [], parts[1] or []
    axes = parts[2] or list(range(len(starts)))
    steps = parts[3] or [1] * len(starts)
    index = [slice(None)] * ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        before_first = step < 0 and end < -(2**31)
        index[axis] = slice(start, None if before_first else end, step)
    return tuple(index)


def sizes_of(node: Node, length: int, given: Array | None) -> list[int]:
    """The lengths of the pieces of a Split."""
    sizes = node.attributes.get("split") if given is None else given.tolist()
    if sizes:
        return [int(n) for n in sizes]
    count = node.attributes.get("num_outputs", len(node.outputs))
    size = math.ceil(length / count)
    return [size] * (count - 1) + [length - size * (count - 1)]


def _constant(node: Node) -> Array:
    """The array of a Constant."""
    kinds = {"value_float": np.float32, "value_floats": np.float32}
    kinds |= {"value_int": np.int64, "value_ints": np.int64}  # type: ignore[dict-item]
    for name, value in node.attributes.items():
        if name == "value":
            return np.asarray(value)
        if name in kinds:
            return np.asarray(value, kinds[name])
    raise ValueError(f"a Constant of {', '.join(node.attributes) or 'nothing'}")


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(np.asarray(values).reshape(-1).tolist())


def _reduce(name: str) -> Callable[..., Any]:
    def reduce(node: Node, x: Any, axes: Any = None) -> Any:
        along = axes_of(node, axes)
        if not along and node.attributes.get("noop_with_empty_axes", 0):
            return x
        keep = bool(node.attributes.get("keepdims", 1))
        return getattr(ops, name)(x, axis=along or None, keepdims=keep)

    return reduce


def _gemm(node: Node, a: Any, b: Any, c: Any = None) -> Any:
    get = node.attributes.get
    a, b = (a.T if get("transA", 0) else a), (b.T if get("transB", 0) else b)
    y = a @ b * get("alpha", 1.0)
    return y if c is None else y + c * get("beta", 1.0)


def _divide(node: Node, a: Any, b: Any) -> Any:
    if a.dtype.kind in "iu":
        return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)  # towards 0
    return a / b


def _norm(node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
    first = node.attributes.get("axis", -1) % x.ndim
    axes = tuple(range(first, x.ndim))
    centred = x - ops.mean(x, axis=axes, keepdims=True)
    variance = ops.mean(centred * centred, axis=axes, keepdims=True)
    y = centred / ops.sqrt(variance + node.attributes.get("epsilon", 1e-5)) * scale
    return y if bias is None else y + bias


def _cast(node: Node, x: Any) -> Any:
    dtype = DTYPES[node.attributes["to"]]
    recorded = dtype.kind == "f" and isinstance(x, Tensor)
    return x.astype(dtype) if recorded else on_host(x).astype(dtype, copy=False)


def _filled(node: Node, shape: Any) -> Any:
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32))).reshape(-1)[0]
    return np.full(_ints(shape), value)


def _gather(node: Node, x: Any, ids: Any) -> Any:
    return ops.take(x, np.asarray(ids), axis=node.attributes.get("axis", 0))


def _squeeze(node: Node, x: Any, axes: Any = None) -> Any:
    return ops.squeeze(x, axes_of(node, axes) or None)


def _expand(node: Node, x: Any, shape: Any) -> Any:
    return ops.broadcast_to(x, np.broadcast_shapes(x.shape, _ints(shape)))


def _shape(node: Node, x: Any) -> Any:
    get = node.attributes.get
    return np.array(x.shape[get("start", 0) : get("end", None)], np.int64)


def _split(node: Node, x: Any, sizes: Any = None) -> Any:
    axis = node.attributes.get("axis", 0)
    cuts = np.cumsum(sizes_of(node, x.shape[axis], sizes))[:-1]
    return tuple(ops.split(x, cuts.tolist(), axis=axis))


def _softmax(name: str) -> Callable[..., Any]:
    return lambda node, x: getattr(ops, name)(x, axis=node.attributes.get("axis", -1))


def _plain(op: Callable[..., Any]) -> Callable[..., Any]:
    return lambda node, *args: op(*args)


def _folded(name: str) -> Callable[..., Any]:
    """A binary operation, extended to any number of arguments."""

    def operator(node: Node, x: Any, *others: Any) -> Any:
        for other in others:
            x = getattr(ops, name)(x, other)
        return x

    return operator


_SAME_ARGUMENTS = UNARY | ANY_NUMBER | BINARY | COMPARE | LOGIC
_SAME_ARGUMENTS |= {ops.matmul: "MatMul", ops.power: "Pow", ops.relu: "Relu", ops.where: "Where"}
_SAME_ARGUMENTS |= {ops.logical_not: "Not"}
del _SAME_ARGUMENTS[ops.gelu]  # ONNX's has an attribute
OPERATORS: dict[str, Callable[..., Any]] = {
    **{theirs: _plain(ours) for ours, theirs in _SAME_ARGUMENTS.items()},
    "Cast": _cast,
    "Clip": lambda node, x, low=None, high=None: ops.arithmetic.limit(x, low, high),
    "Concat": lambda node, *xs: ops.concatenate(list(xs), axis=node.attributes["axis"]),
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Div": _divide,
    "Dropout": lambda node, x, *_: x,
    "Expand": _expand,
    "Gather": _gather,
    "Gemm": _gemm,
    "Identity": lambda node, x: x,
    "LayerNormalization": _norm,
    "LogSoftmax": _softmax("log_softmax"),
    "Max": _folded("maximum"),
    "Min": _folded("minimum"),
    "Range": lambda node, a, b, step: np.arange(*(on_host(v).item() for v in (a, b, step))),
    "Reciprocal": lambda node, x: 1 / x,
    "ReduceMax": _reduce("max"),
    "ReduceMean": _reduce("mean"),
    "ReduceMin": _reduce("min"),
    "ReduceSum": _reduce("sum"),
    "Reshape": lambda node, x, shape: ops.reshape(x, reshaped(x.shape, _ints(shape))),
    "Shape": _shape,
    "Slice": lambda node, x, *given: x[slices(node, x.ndim, given)],
    "Softmax": _softmax("softmax"),
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": lambda node, x: ops.transpose(x, node.attributes.get("perm")),
    "Unsqueeze": lambda node, x, axes=None: ops.reshape(
        x, unsqueezed(x.shape, axes_of(node, axes))
    ),
}
