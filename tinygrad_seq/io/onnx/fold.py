"""Arrays that a file computes from its own arrays, as exporters do to lay out weights.

PyTorch's exporter builds the weights of ONNX's nodes by Slice, Concat, Transpose, Reshape and
Unsqueeze. This module computes them once, within a limit on memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .proto import DTYPES, GraphProto, Node

Array = NDArray[Any]


def folded(graph: GraphProto, budget: int) -> dict[str, Array]:
    """All arrays of a graph by name: those of the file, and those computed from them.

    Args:
        graph: The graph.
        budget: How many bytes the folded arrays may take.

    Raises:
        ValueError: a node does not fit its arrays, or they take more memory.
    """
    arrays = dict(graph.arrays)
    for node in graph.nodes:
        fold = FOLDS.get(node.op_type)
        if fold is None or not all(name in arrays or not name for name in node.inputs):
            continue
        given = [arrays[name] if name else None for name in node.inputs]
        if node.op_type == "Concat":
            budget -= sum(array.nbytes for array in given if array is not None)
            if budget < 0:  # before it is allocated
                raise ValueError("its constants unfold to far more memory than the file takes")
        results = fold(node, *given)
        for name, result in zip(node.outputs, results, strict=False):
            budget -= 0 if node.op_type == "Concat" else _own_bytes(result, given)
            arrays[name] = result
        if budget < 0:
            raise ValueError("its constants unfold to far more memory than the file takes")
    return arrays


def _own_bytes(result: Array, given: Sequence[Array | None]) -> int:
    """The bytes of a result; 0 if it is a view of an input."""
    shares = any(x is not None and np.may_share_memory(result, x) for x in given)
    return 0 if shares else result.nbytes


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


def constant(node: Node) -> Array:
    """The array of a Constant."""
    kinds = {"value_float": np.float32, "value_floats": np.float32}
    kinds |= {"value_int": np.int64, "value_ints": np.int64}  # type: ignore[dict-item]
    for name, value in node.attributes.items():
        if name == "value":
            return np.asarray(value)
        if name in kinds:
            return np.asarray(value, kinds[name])
    raise ValueError(f"a Constant of {', '.join(node.attributes) or 'nothing'}")


def _split(node: Node, x: Array, sizes: Array | None = None) -> list[Array]:
    axis = node.attributes.get("axis", 0)
    cuts = np.cumsum(sizes_of(node, x.shape[axis], sizes))[:-1]
    return np.split(x, cuts, axis)


def _cast(node: Node, x: Array) -> list[Array]:
    return [x.astype(DTYPES[node.attributes["to"]], copy=False)]


def _concat(node: Node, *xs: Array) -> list[Array]:
    return [np.concatenate(xs, node.attributes["axis"])]


def _transpose(node: Node, x: Array) -> list[Array]:
    return [x.transpose(node.attributes.get("perm"))]


def _squeeze(node: Node, x: Array, axes: Array | None = None) -> list[Array]:
    return [x.squeeze(axes_of(node, axes) or None)]


FOLDS: dict[str, Callable[..., list[Array]]] = {
    "Cast": _cast,
    "Concat": _concat,
    "Constant": lambda node: [constant(node)],
    "Identity": lambda node, x: [x],
    "Reshape": lambda node, x, shape: [x.reshape(reshaped(x.shape, shape.tolist()))],
    "Slice": lambda node, x, *given: [x[slices(node, x.ndim, given)]],
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": lambda node, x, axes=None: [x.reshape(unsqueezed(x.shape, axes_of(node, axes)))],
}
