"""``read_onnx``: the layers of any ONNX file, and the file as a model."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn
from ...messages import Hinted
from ..files import CheckpointError
from ..layouts import from_onnx
from ..layouts.onnx import ACTIVATIONS, NAMES
from .fold import folded
from .model import FileModel
from .operators import Array
from .proto import GraphProto, Info, ModelProto, Node, decode

LONGEST = 300  # characters that a message quotes from a damaged file


class _UnknownError(ValueError):
    """A node has no equivalent among the library's layers; its file is still valid."""


@dataclass(frozen=True)
class Found:
    """A layer that was found in a file.

    Attributes:
        name: The name of its node.
        module: The layer, with the weights of the file: :class:`nn.Recurrent` or
            :class:`nn.Bidirectional` of a cell, :class:`nn.Linear` or :class:`nn.Embedding`.
        node: For a recurrent layer the argument of :func:`from_onnx`: ``op_type``, ``W``, ``R``,
            ``B``, ``P`` and ``attributes``; else None.
    """

    name: str
    module: nn.Module
    node: dict[str, Any] | None = None


@dataclass(frozen=True)
class OnnxFile(Hinted):
    """The contents of a file, from :func:`read_onnx`.

    Attributes:
        recurrent, linear, embedding: The layers of each kind, in the order of the graph.
        inputs, outputs: Name -> axes: a length, a name, or None if the file does not say.
        producer: The program that wrote the file.
        metadata: The file's own strings by name.
    """

    recurrent: list[Found]
    linear: list[Found]
    embedding: list[Found]
    inputs: dict[str, list[int | str | None]]
    outputs: dict[str, list[int | str | None]]
    producer: str
    metadata: dict[str, str]
    _parts: tuple[ModelProto, dict[str, Array], dict[int, Found]]

    def nodes(self) -> list[dict[str, Any]]:
        """The recurrent layers, as arguments for :func:`from_onnx`."""
        return [found.node for found in self.recurrent if found.node is not None]

    def model(self) -> FileModel:
        """The file as a module that computes the same and can be trained further.

        It is called with the file's inputs, by name or in order, and returns its output, or a tuple
        of them. Its layers are those that were found.

        Raises:
            ValueError: a node is of an unsupported kind; the message names it.
        """
        proto, arrays, found = self._parts
        return FileModel(proto, arrays, {k: layer.module for k, layer in found.items()})


def read_onnx(path: str | os.PathLike[str]) -> OnnxFile:
    """Read the layers of an ONNX file from this library, PyTorch, Keras' converters or others.

    Layers are the nodes RNN, GRU (both forms) and LSTM with all their attributes, products with a
    constant matrix and lookups in a constant table. Slice, Concat, Transpose, Reshape, Unsqueeze
    and the like may compute their weights. Nothing in the file is executed, and reading takes at
    most a few times its memory.

    Args:
        path: An ONNX file that holds its own weights.

    Returns:
        The layers, with their weights; :meth:`OnnxFile.model` is the whole file as a model.

    Raises:
        CheckpointError: The file is damaged, not an ONNX file, or has its weights in other files.
        FileNotFoundError: There is no such file.

    Example:
        >>> import tempfile
        >>> from tinygrad_seq import io, nn
        >>> lstm = nn.LSTM(8, 16, num_layers=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     io.export_onnx(
        ...         lstm,
        ...         f"{folder}/lstm.onnx",
        ...         inputs={"x": io.Input("time", "batch", 8)},
        ...         outputs=["y", "h", "c"],
        ...     )
        ...     file = io.read_onnx(f"{folder}/lstm.onnx")
        >>> io.from_onnx(nn.LSTM(8, 16, num_layers=2), file.nodes())
        >>> model = file.model()
    """
    content = Path(path).read_bytes()
    try:
        proto = decode(content)
        arrays = folded(proto.graph, 4 * len(content) + 2**24)
        _join_biases(proto.graph, arrays)
        layers = [_found(node, arrays) for node in proto.graph.nodes]
    except MemoryError:
        raise
    except _UnknownError as error:
        raise CheckpointError(f"{path} cannot be read as ONNX: {str(error)[:LONGEST]}") from error
    except Exception as error:  # damaged bytes can raise anything
        raise CheckpointError(
            f"{path} cannot be read as ONNX ({type(error).__name__}: {str(error)[:LONGEST]}): it "
            "is damaged, cut short, or no ONNX file with its weights inside"
        ) from error
    found = {k: layer for k, layer in enumerate(layers) if layer is not None}
    return OnnxFile(
        recurrent=[layer for layer in found.values() if layer.node is not None],
        linear=[layer for layer in found.values() if isinstance(layer.module, nn.Linear)],
        embedding=[layer for layer in found.values() if isinstance(layer.module, nn.Embedding)],
        inputs=_axes(i for i in proto.graph.inputs if i.name not in proto.graph.arrays),
        outputs=_axes(proto.graph.outputs),
        producer=proto.producer,
        metadata=proto.metadata,
        _parts=(proto, arrays, found),
    )


def _axes(infos: Iterable[Info]) -> dict[str, list[int | str | None]]:
    return {info.name: info.axes for info in infos}


def _join_biases(graph: GraphProto, arrays: dict[str, Array]) -> None:
    """Make one Gemm of each product with a constant matrix and the constant bias added to it."""
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(info.name for info in graph.outputs)
    products: dict[str, int] = {}
    nodes: list[Node | None] = list(graph.nodes)
    for k, node in enumerate(graph.nodes):
        if node.op_type == "MatMul" and _matrix(arrays.get(node.inputs[1])):
            products[node.outputs[0]] = k
        for name, other in (node.inputs, node.inputs[::-1]) if node.op_type == "Add" else ():
            place, bias = products.get(name, -1), arrays.get(other)
            if place < 0 or bias is None or readers[name] > 1:
                continue
            product = graph.nodes[place]
            if bias.shape == arrays[product.inputs[1]].shape[1:]:
                nodes[place] = None
                nodes[k] = Node("Gemm", [*product.inputs, other], node.outputs, name=product.name)
                break
    graph.nodes = [node for node in nodes if node is not None]


def _found(node: Node, arrays: dict[str, Array]) -> Found | None:
    """The layer that a node represents, if any."""
    given = [arrays.get(name) for name in node.inputs] + [None] * 8
    first, second, third = given[:3]
    if node.outputs and node.outputs[0] in arrays:
        return None  # computed already
    if node.op_type in ACTIVATIONS:
        return _recurrent(node, given)
    if node.op_type in ("MatMul", "Gemm") and first is None and _matrix(second):
        assert second is not None
        if node.op_type == "MatMul" or _plain(node, second, third):
            turned = node.op_type == "Gemm" and node.attributes.get("transB", 0)
            return Found(node.name, _linear(second if turned else second.T, third))
    if node.op_type == "Gather" and _matrix(first) and second is None:
        assert first is not None
        if node.attributes.get("axis", 0) == 0:
            return Found(node.name, _embedding(first))
    return None


def _matrix(array: Array | None) -> bool:
    return array is not None and array.ndim == 2 and array.dtype.kind == "f" and array.size > 0


def _plain(node: Node, matrix: Array, bias: Array | None) -> bool:
    """Whether a Gemm is x Wᵀ + b."""
    get = node.attributes.get
    if bias is None:
        fits = len(node.inputs) < 3 or not node.inputs[2]
    else:
        fits = (
            bias.shape == matrix.shape[:1] if get("transB", 0) else bias.shape == matrix.shape[1:]
        )
    return fits and get("alpha", 1) == get("beta", 1) == 1 and not get("transA", 0)


def _single(array: Array) -> Array:
    """float16 as the same values in float32."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _linear(weight: Array, bias: Array | None) -> nn.Linear:
    weight = _single(weight)
    size, features = weight.shape
    layer = nn.Linear(features, size, bias=bias is not None, dtype=weight.dtype)
    layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return layer


def _embedding(table: Array) -> nn.Embedding:
    count, size = table.shape
    layer = nn.Embedding(count, size, dtype=_single(table).dtype)
    layer.load_state_dict({"weight": table})
    return layer


def _recurrent(node: Node, given: Sequence[Array | None]) -> Found:
    """The layer of a recurrent node."""
    what = f"{node.op_type} {node.name!r}"
    places = {"W": 1, "R": 2, "B": 3} | ({"P": 7} if node.op_type == "LSTM" else {})
    present: dict[str, Array] = {}
    for name, place in places.items():
        array = given[place]
        if array is not None:
            present[name] = _single(array)
        elif name in ("W", "R") or (place < len(node.inputs) and node.inputs[place]):
            raise _UnknownError(f"{name} of {what} is not a constant")
    _check_shapes(what, node.op_type, present)
    attributes = {n: v for n, v in node.attributes.items() if n != "output_sequence"}
    if attributes.pop("layout", 0):
        raise _UnknownError(f"{what} has layout=1, which no runtime reads")
    whole = {"op_type": node.op_type, **present, "attributes": attributes}
    layer = _layer(what, node.op_type, present, attributes)
    try:
        from_onnx(layer, [whole])
    except ValueError as error:
        raise _UnknownError(f"{what}: {error}") from error
    return Found(node.name, layer, whole)


def _check_shapes(what: str, op_type: str, given: dict[str, Array]) -> None:
    """Check that the weights fit one another, before a layer of their sizes is made."""
    w, r = given["W"], given["R"]
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op_type]
    if w.ndim == r.ndim == 3 and w.size and r.size and w.dtype.kind == "f":
        directions, rows, hidden = r.shape
        if rows == gates * hidden and w.shape[:2] == (directions, rows):
            return
    raise ValueError(f"{what} has W of shape {w.shape} and R of shape {r.shape}")


def _layer(
    what: str, op_type: str, given: dict[str, Array], attributes: dict[str, Any]
) -> nn.Module:
    """A layer with the kind and the sizes of a node."""
    directions, _, size = given["W"].shape
    direction = attributes.get("direction", "forward")
    if directions != 1 + (direction == "bidirectional"):
        raise ValueError(f"{what} has direction {direction!r}, but weights of {directions}")
    usual = ACTIVATIONS[op_type]
    names = attributes.get("activations") or usual * directions
    known = {name.lower(): function for function, name in NAMES}
    unknown = [name for name in names if name.lower() not in known]
    if unknown or len(names) != len(usual) * directions:
        raise _UnknownError(f"the activations {names} of {what} are not supported")
    functions = [known[name.lower()] for name in names]

    def cell(k: int) -> Any:
        own = functions[k * len(usual) : (k + 1) * len(usual)]
        options: dict[str, Any] = {"bias": "B" in given, "dtype": given["W"].dtype}
        hidden = given["R"].shape[2]
        if op_type == "RNN":
            return nn.RNNCell(size, hidden, nonlinearity=own[0], **options)
        options["activations"] = own
        if op_type == "GRU":
            after = bool(attributes.get("linear_before_reset", 0))
            return nn.GRUCell(size, hidden, reset_after=after, **options)
        if attributes.get("input_forget", 0):
            return nn.CoupledLSTMCell(size, hidden, peepholes="P" in given, **options)
        make: Any = nn.PeepholeLSTMCell if "P" in given else nn.LSTMCell
        return make(size, hidden, **options)

    if directions == 2:
        return nn.Bidirectional(nn.Recurrent(cell(0)), nn.Recurrent(cell(1), reverse=True))
    return nn.Recurrent(cell(0), reverse=direction == "reverse")
