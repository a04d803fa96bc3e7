"""A file's graph as a module, made of the library's layers and operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import nn, ops
from ...tensor import Tensor
from .operators import OPERATORS, Array, computed
from .proto import ModelProto, Node

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
                results = computed(node, [values[name] for name in node.inputs])
            values.update(zip(node.outputs, map(_recorded, results), strict=False))
        outputs = tuple(values[name] for name in self._outputs)
        return outputs if len(outputs) > 1 else outputs[0]


_OURS = {"", "ai.onnx"}


def _taken(value: Any) -> Any:
    """Floats as tensors, everything else as arrays."""
    if isinstance(value, Tensor):
        return value if value.dtype.kind == "f" else value.numpy()
    return _recorded(np.asarray(value))


def _recorded(value: Any) -> Any:
    """An array of floats as a tensor."""
    return Tensor(value) if value.dtype.kind == "f" and not isinstance(value, Tensor) else value


def _layer(layer: Any, node: Node, values: Mapping[str, Any]) -> tuple[Any, ...]:
    """The outputs of a layer, in the form of its node."""
    given: list[Any] = [values.get(name) for name in node.inputs] + [None] * 8
    if isinstance(layer, nn.Embedding):
        ids = np.asarray(given[1])
        return (layer(np.where(ids < 0, ids + layer.num_embeddings, ids)),)
    if isinstance(layer, nn.Linear):
        return (layer(given[0]),)
    x, lengths, starts = given[0], given[4], [s for s in given[5:7] if s is not None]
    both = isinstance(layer, nn.Bidirectional)
    cells = [ops.unstack(start) for start in starts]
    states = [c if len(c) > 1 else c[0] for c in zip(*cells, strict=True)] or [None, None]
    y, last = layer(x, tuple(states) if both else states[0], lengths=lengths)
    y = ops.reshape(y, (*y.shape[:2], 1 + both, y.shape[2] // (1 + both)))
    lasts = [part if isinstance(part, tuple) else (part,) for part in (last if both else [last])]
    finals = [ops.stack(list(parts)) for parts in zip(*lasts, strict=True)]
    return ops.transpose(y, (0, 2, 1, 3)), *finals
