"""Handlers of functions that move, choose and join elements."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ... import ops
from ...ops.axes import one_axis
from .elementwise import operands
from .graph import BOOL, FLOAT, LONG, Graph, broadcast, where
from .handlers import onnx_handler
from .symbol import Axis, ExportError, Length, Symbol, Value

_END = 2**62


@onnx_handler(ops.reshape)
def _(graph: Graph, x: Any, shape: Any) -> Symbol:
    shape = shape if isinstance(shape, tuple | list) else (shape,)
    return graph.reshape(graph.symbol(x), shape)


@onnx_handler(ops.transpose)
def _(graph: Graph, x: Any, axes: Sequence[int] | None) -> Symbol:
    x = graph.symbol(x)
    return graph.transpose(x, range(x.ndim)[::-1] if axes is None else axes)


@onnx_handler(ops.broadcast_to)
def _(graph: Graph, x: Any, shape: Any) -> Symbol:
    return graph.expand(graph.symbol(x), shape if isinstance(shape, tuple | list) else (shape,))


@onnx_handler(ops.concatenate)
def _(graph: Graph, *xs: Any, axis: int) -> Symbol:
    xs = tuple(operands(graph, *xs))
    k = one_axis(axis, xs[0].ndim)
    total: Any = sum(x.shape[k] for x in xs)
    others = {i: broadcast(*((x.shape[i],) for x in xs))[0] for i in range(xs[0].ndim) if i != k}
    shape = [others.get(i, total) for i in range(xs[0].ndim)]
    return xs[0] if len(xs) == 1 else graph.node("Concat", xs, shape, axis=k)


@onnx_handler(ops.stack)
def _(graph: Graph, *xs: Any, axis: int) -> Any:
    return ops.concatenate([ops.expand_dims(x, axis) for x in operands(graph, *xs)], axis=axis)


@onnx_handler(ops.unstack)
def _(graph: Graph, x: Any, axis: int) -> Any:
    x = graph.symbol(x)
    k = one_axis(axis, x.ndim)
    pieces = _cut(graph, x, k, [1] * operator.index(x.shape[k]))
    return tuple(graph.reshape(piece, x.shape[:k] + x.shape[k + 1 :]) for piece in pieces)


@onnx_handler(ops.split)
def _(graph: Graph, x: Any, indices_or_sections: Any, axis: int) -> Any:
    x = graph.symbol(x)
    k = one_axis(axis, x.ndim)
    if hasattr(indices_or_sections, "__len__"):
        n = operator.index(x.shape[k])
        bounds = [0, *(slice(int(i)).indices(n)[1] for i in indices_or_sections), n]
        sizes = [max(0, b - a) for a, b in pairwise(bounds)]
        if sum(sizes) != n:
            raise ExportError(f"{where()} splits at {indices_or_sections}, which is not ascending")
        return _cut(graph, x, k, sizes)
    sections = operator.index(indices_or_sections)
    n = operator.index(x.shape[k])
    if sections < 1 or n % sections:
        raise ValueError(f"axis {k}, of length {n}, has no {sections} equal sections")
    return _cut(graph, x, k, [n // sections] * sections)


def _cut(graph: Graph, x: Symbol, axis: int, sizes: list[int]) -> tuple[Symbol, ...]:
    """Consecutive pieces."""
    if len(sizes) == 1:
        return (x,)
    shapes = [(*x.shape[:axis], n, *x.shape[axis + 1 :]) for n in sizes]
    results = [(shape, x.dtype) for shape in shapes]
    return graph.several("Split", [x, np.array(sizes, np.int64)], results, axis=axis)


# -- indices ----------------------------------------------------------------------------------


@onnx_handler(ops.getitem)
def _(graph: Graph, array: Any, index: Any) -> Symbol:
    x = graph.symbol(array)
    parts = list(index) if isinstance(index, tuple) else [index]
    named = sum(part is not None and part is not ... for part in parts)
    if ... in [part for part in parts if not _is_array(part)]:
        at = next(k for k, part in enumerate(parts) if part is ...)
        parts[at : at + 1] = [slice(None)] * (x.ndim - named)
    if sum(_is_array(part) for part in parts) > 1:
        raise ExportError(
            f"{where()} indexes with several arrays at once: ONNX takes one axis at a time, as "
            "x[i] or take_along_axis(x, i, axis) do"
        )
    k = 0
    for part in parts:
        if part is None:
            x = graph.reshape(x, (*x.shape[:k], 1, *x.shape[k:]))
            k += 1
        elif isinstance(part, slice):
            x = _slice(graph, x, k, part)
            k += 1
        elif isinstance(part, bool | np.bool_):
            raise ExportError(f"{where()} indexes with a boolean: ONNX has no counterpart here")
        else:
            ids = graph.symbol(part)
            if ids.dtype == BOOL:
                raise ExportError(
                    f"{where()} chooses elements with a mask, so their number depends on values: "
                    "use ts.where"
                )
            x = gather(graph, x, ids, k)
            k += ids.ndim
    return x


def _is_array(part: Any) -> bool:
    return isinstance(part, Symbol | Value | np.ndarray | list) and getattr(part, "ndim", 1) > 0


def gather(graph: Graph, x: Symbol, ids: Symbol, axis: int) -> Symbol:
    """Slices along an axis, chosen by integers."""
    shape = x.shape[:axis] + ids.shape + x.shape[axis + 1 :]
    return graph.node("Gather", [x, ids], shape, axis=axis)


def _slice(graph: Graph, x: Symbol, axis: int, part: slice) -> Symbol:
    if part == slice(None):
        return x
    n, step = x.shape[axis], 1 if part.step is None else operator.index(part.step)
    first = (0 if step > 0 else _END) if part.start is None else part.start
    last = (_END if step > 0 else -_END) if part.stop is None else part.stop
    inputs = [x, *(graph.length(v) for v in (first, last, axis, step))]
    length = _left(n, part)
    if length is not None:
        return graph.node("Slice", inputs, (*x.shape[:axis], length, *x.shape[axis + 1 :]))
    y = graph.node("Slice", inputs, x.shape)
    return graph.new_axis(y, axis, f"[{y._data.name}]")


def _left(n: Length, part: slice) -> Length | None:
    """The length of a slice, if that of the axis decides it (and is long enough for the slice)."""
    ends = (part.start, part.stop)
    if not isinstance(n, Axis) and not any(isinstance(end, Axis) for end in ends):
        return len(range(*part.indices(n)))
    start, stop = (0 if part.start is None else part.start), part.stop
    if part.step == -1 and ends == (None, None):
        return n
    if part.step not in (None, 1):
        return None
    if isinstance(stop, Axis) and not isinstance(start, Axis) and start == 0:
        return stop
    if not isinstance(start, Axis) and not isinstance(stop, Axis) and (start, stop) == (0, 1):
        return 1
    if isinstance(start, Axis) or isinstance(stop, Axis) or (stop is not None and stop >= 0):
        return None
    if start < 0:
        return -start if stop is None else None
    return n - start + (stop or 0)


@onnx_handler(ops.take)
def _(graph: Graph, x: Any, indices: Any, axis: int | None = None) -> Symbol:
    x = graph.symbol(x)
    x = graph.reshape(x, (-1,)) if axis is None else x
    return gather(graph, x, graph.symbol(indices), 0 if axis is None else one_axis(axis, x.ndim))


@onnx_handler(ops.take_along_axis)
def _(graph: Graph, x: Any, indices: Any, axis: int = -1) -> Symbol:
    x, indices = graph.symbol(x), graph.symbol(indices)
    k = one_axis(axis, x.ndim)
    if indices.ndim != x.ndim:
        raise ValueError(f"take_along_axis needs indices with {x.ndim} axes; got {indices.ndim}")

    def common(a: Symbol, b: Symbol) -> Any:
        lengths = [broadcast((n,), (m,))[0] for n, m in zip(a.shape, b.shape, strict=True)]
        return (*lengths[:k], a.shape[k], *lengths[k + 1 :])

    x, indices = graph.expand(x, common(x, indices)), graph.expand(indices, common(indices, x))
    return graph.node("GatherElements", [x, indices], indices.shape, axis=k)


@onnx_handler(ops.one_hot)
def _(graph: Graph, indices: Any, num_classes: int, dtype: Any = None) -> Symbol:
    ids = graph.symbol(indices)
    graph.expects(ids, 0, num_classes - 1)
    values, depth = np.array([0, 1], np.float32), np.array([num_classes], np.int64)
    y = graph.node("OneHot", [ids, depth, values], (*ids.shape, num_classes), FLOAT, axis=-1)
    return graph.cast(y, FLOAT if dtype is None else dtype)


def _triangle(upper: int) -> Any:
    def handler(graph: Graph, x: Any, k: int = 0) -> Symbol:
        x = graph.symbol(x)
        return graph.node("Trilu", [x, np.array(k, np.int64)], x.shape, upper=upper)

    return handler


onnx_handler(ops.tril)(_triangle(0))
onnx_handler(ops.triu)(_triangle(1))


@onnx_handler(ops.pad)
def _(
    graph: Graph, x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0
) -> Symbol:
    x = graph.symbol(x)
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise ExportError(f"{where()} pads in mode {mode!r}, which ONNX does not have")
    widths = np.broadcast_to(np.asarray(pad_width, np.int64), (x.ndim, 2))
    shape = [n + int(before + after) for n, (before, after) in zip(x.shape, widths, strict=True)]
    value = np.asarray(constant_values, x.dtype)
    return graph.node("Pad", [x, widths.T.reshape(-1), value], shape, mode=mode)


@onnx_handler(ops.argsort)
def _(graph: Graph, x: Any, axis: int) -> Symbol:
    return _top(graph, x, None, axis, largest=0)[1]


@onnx_handler(ops.sort)
def _(graph: Graph, x: Any, axis: int | None = -1) -> Symbol:
    x = graph.symbol(x)
    x, k = (graph.reshape(x, (-1,)), 0) if axis is None else (x, axis)
    return _top(graph, x, None, k, largest=0)[0]


@onnx_handler(ops.topk)
def _(graph: Graph, x: Any, k: int, axis: int = -1) -> tuple[Symbol, Symbol]:
    return _top(graph, x, k, axis, largest=1)


def _top(graph: Graph, x: Any, k: Any, axis: int, largest: int) -> tuple[Symbol, Symbol]:
    """The first k (or all) elements in order along an axis, and their positions."""
    x = graph.symbol(x)
    at = one_axis(axis, x.ndim)
    count = x.shape[at] if k is None else k
    shape = (*x.shape[:at], count, *x.shape[at + 1 :])
    results = [(shape, x.dtype), (shape, LONG)]
    values, positions = graph.several(
        "TopK", [x, graph.length(count)], results, axis=at, largest=largest, sorted=1
    )
    return values, positions
