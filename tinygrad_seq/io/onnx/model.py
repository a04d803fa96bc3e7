"""A file's graph as a module, made of the library's layers and operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import nn, ops
from ...autograd.operands import on_host
from ...tensor import Tensor
from .elementwise import ANY_NUMBER, BINARY, COMPARE, LOGIC, UNARY
from .fold import Array, axes_of, constant, reshaped, sizes_of, slices, unsqueezed
from .proto import DTYPES, ModelProto, Node

OLDEST, NEWEST = 13, 24  # opsets: in older ones Softmax and others have other definitions


class FileModel(nn.Module):
    """The graph of an ONNX file, as a module whose parameters can be trained further.

    Called with the inputs of the file, by name or in order, it returns its output, or a tuple of
    them. Recurrent layers, products and tables are submodules, ``recurrent0``, ``linear0``,
    ``embedding0``; other floating arrays of the file are parameters ``constant0`` if a node
    computes with them.

    Made by :meth:`OnnxFile.model`.
    """

    def __init__(
        self, proto: ModelProto, arrays: Mapping[str, Array], layers: Mapping[int, nn.Module]
    ) -> None:
        if not OLDEST <= proto.opset <= NEWEST:
            raise ValueError(
                f"the file is of opset {proto.opset}; a model needs opsets {OLDEST} to "
                f"{NEWEST} (its layers can still be used)"
            )
        graph = proto.graph
        self._inputs = [info.name for info in graph.inputs if info.name not in graph.arrays]
        self._outputs = [info.name for info in graph.outputs]
        self._layers: dict[int, str] = {}
        self._constants: dict[str, str] = {}
        counts: dict[str, int] = {}

        def place(kind: str, value: Any) -> str:
            name = f"{kind}{counts.setdefault(kind, 0)}"
            counts[kind] += 1
            setattr(self, name, value)
            return name

        for k, layer in layers.items():
            kind = {nn.Linear: "linear", nn.Embedding: "embedding"}.get(type(layer), "recurrent")
            self._layers[k] = place(kind, layer)
        needed = [
            (k, node)
            for k, node in enumerate(graph.nodes)
            if not all(name in arrays for name in node.outputs)
        ]
        unknown = sorted({n.op_type for k, n in needed if k not in layers} - OPERATORS.keys())
        foreign = sorted({f"{n.domain}.{n.op_type}" for _, n in needed if n.domain not in _OURS})
        if unknown or foreign:
            raise ValueError(
                f"a model cannot be made of this file: {', '.join(foreign or unknown)} is not "
                "supported (its layers can still be used)"
            )
        self._needed = needed
        known = {"", *arrays, *self._inputs}
        for _, node in needed:
            lost = [name for name in node.inputs if name not in known]
            if lost:
                raise ValueError(
                    f"{node.op_type} {node.name!r} reads {lost[0]!r}, which no node computes"
                )
            known.update(node.outputs)
        if not known.issuperset(self._outputs):
            raise ValueError(f"no node computes the outputs {', '.join(self._outputs)}")
        self._arrays = {}
        read = {name for k, node in needed if k not in layers for name in node.inputs}
        for name in sorted(read | set(self._outputs)):
            array = arrays.get(name)
            if array is None:
                continue
            if array.dtype.kind == "f":
                self._constants[name] = place("constant", nn.Parameter(array))
            else:
                self._arrays[name] = np.array(array)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs of the file.

        Raises:
            TypeError: the inputs are not those of the file.
        """
        given = dict(zip(self._inputs, args, strict=False)) | kwargs
        if len(args) + len(kwargs) != len(given) or given.keys() != set(self._inputs):
            raise TypeError(
                f"this model takes {', '.join(self._inputs)}; got {len(args)} by position, and "
                f"{', '.join(kwargs) or 'none'} by name"
            )
        values: dict[str, Any] = {"": None, **self._arrays}
        values |= {name: getattr(self, own) for name, own in self._constants.items()}
        values |= {name: _taken(value) for name, value in given.items()}
        for k, node in self._needed:
            if k in self._layers:
                results = _layer(getattr(self, self._layers[k]), node, values)
            else:
                results = OPERATORS[node.op_type](node, *(values[name] for name in node.inputs))
            if not isinstance(results, tuple):
                results = (results,)
            values.update(zip(node.outputs, results, strict=False))
        outputs = tuple(values[name] for name in self._outputs)
        return outputs if len(outputs) > 1 else outputs[0]


_OURS = {"", "ai.onnx"}


def _taken(value: Any) -> Any:
    """Floats as tensors, everything else as arrays."""
    if isinstance(value, Tensor):
        return value if value.dtype.kind == "f" else value.numpy()
    array = np.asarray(value)
    return Tensor(array) if array.dtype.kind == "f" else array


def _layer(layer: Any, node: Node, values: Mapping[str, Any]) -> Any:
    """The output of a layer, in the form of its node."""
    given: list[Any] = [values.get(name) for name in node.inputs] + [None] * 8
    if isinstance(layer, nn.Embedding):
        ids = np.asarray(given[1])
        return layer(np.where(ids < 0, ids + layer.num_embeddings, ids))
    if isinstance(layer, nn.Linear):
        return layer(given[0])
    x, lengths, starts = given[0], given[4], [s for s in given[5:7] if s is not None]
    both = isinstance(layer, nn.Bidirectional)
    cells = [ops.unstack(start) for start in starts]
    states = [c if len(c) > 1 else c[0] for c in zip(*cells, strict=True)] or [None, None]
    y, last = layer(x, tuple(states) if both else states[0], lengths=lengths)
    y = ops.reshape(y, (*y.shape[:2], 1 + both, y.shape[2] // (1 + both)))
    lasts = [part if isinstance(part, tuple) else (part,) for part in (last if both else [last])]
    finals = [ops.stack(list(parts)) for parts in zip(*lasts, strict=True)]
    return ops.transpose(y, (0, 2, 1, 3)), *finals


# -- operators --------------------------------------------------------------------------------


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
    return x.astype(dtype) if dtype.kind == "f" and isinstance(x, Tensor) else _retyped(x, dtype)


def _retyped(x: Any, dtype: Any) -> Any:
    array = on_host(x).astype(dtype)
    return Tensor(array) if dtype.kind == "f" else array


def _filled(node: Node, shape: Any) -> Any:
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32))).reshape(-1)[0]
    return _taken(np.full(_ints(shape), value))


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
    "Constant": lambda node: _taken(constant(node)),
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
