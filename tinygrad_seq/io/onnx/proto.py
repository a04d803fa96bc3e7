"""ONNX's messages: tensors, nodes, graphs and the model, as bytes and back.

Field numbers are those of ``onnx.proto``, version 9 of the format.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .wire import Fields, Parser, WireError, floats, integers, message, signed, text

OPSET = 20
IR_VERSION = 9
MAX_BYTES = 2**31 - 1  # protobuf's own limit
_DEPTH, _LISTED = (
    8,
    100_000,
)  # limits on a file that is read: nested graphs, numbers of an attribute

_NUMBERED = "float32 uint8 int8 uint16 int16 int32 int64 string bool float16 float64 uint32 uint64"
TYPES: dict[np.dtype[Any], int] = {
    np.dtype(name): k for k, name in enumerate(_NUMBERED.split(), 1) if name != "string"
}
DTYPES = {number: dtype for dtype, number in TYPES.items()}


@dataclass
class Node:
    """One operation: the names of its inputs and outputs."""

    op_type: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    domain: str = ""


@dataclass
class Info:
    """An input or output of a graph; an axis is a length, a name, or None if unknown."""

    name: str
    dtype: np.dtype[Any] | None
    axes: list[int | str | None]


@dataclass
class GraphProto:
    """Nodes in an order of computation, and the arrays that they read."""

    name: str
    nodes: list[Node] = field(default_factory=list)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    inputs: list[Info] = field(default_factory=list)
    outputs: list[Info] = field(default_factory=list)


@dataclass
class ModelProto:
    """A file: a graph, and its producer."""

    graph: GraphProto
    opset: int = OPSET
    producer: str = ""
    version: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


# -- writing ----------------------------------------------------------------------------------


def encode(model: ModelProto) -> bytes:
    """A model as the bytes of a file.

    Raises:
        ValueError: it is larger than the format allows.
    """
    size = sum(array.nbytes for array in model.graph.arrays.values())
    if size > MAX_BYTES:
        raise ValueError(
            f"an ONNX file holds at most 2 GiB; the weights of this model take {size:,} bytes"
        )
    entries = [message((1, key), (2, value)) for key, value in model.metadata.items()]
    return message(
        (1, IR_VERSION),
        (2, model.producer),
        (3, model.version),
        (7, _graph(model.graph)),
        (8, message((1, ""), (2, model.opset))),
        (14, entries),
    )


def _graph(graph: GraphProto) -> bytes:
    return message(
        (1, [_node(node) for node in graph.nodes]),
        (2, graph.name),
        (5, [_tensor(array, name) for name, array in graph.arrays.items()]),
        (11, [_info(info) for info in graph.inputs]),
        (12, [_info(info) for info in graph.outputs]),
    )


def _node(node: Node) -> bytes:
    return message(
        (1, list(node.inputs)),
        (2, list(node.outputs)),
        (3, node.name),
        (4, node.op_type),
        (5, [_attribute(name, value) for name, value in node.attributes.items()]),
    )


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, GraphProto):
        return message((1, name), (6, _graph(value)), (20, 5))
    if isinstance(value, np.ndarray):
        return message((1, name), (5, _tensor(value)), (20, 4))
    if isinstance(value, list):
        number, kind = {float: (7, 6), str: (9, 8)}.get(type(value[0]) if value else int, (8, 7))
        return message((1, name), (number, value), (20, kind))
    number = {float: 2, str: 4}.get(type(value), 3)
    return message((1, name), (number, value), (20, {2: 1, 3: 2, 4: 3}[number]))


def _tensor(array: NDArray[Any], name: str = "") -> bytes:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return message(
        (1, list(array.shape)), (2, TYPES[array.dtype]), (8, name), (9, little.tobytes())
    )


def _info(info: Info) -> bytes:
    axes = [
        message() if axis is None else message((2 if isinstance(axis, str) else 1, axis))
        for axis in info.axes
    ]
    assert info.dtype is not None  # every attribute that is written has a type
    tensor = message((1, TYPES[info.dtype]), (2, message((1, axes))))
    return message((1, info.name), (2, message((1, tensor))))


# -- reading ----------------------------------------------------------------------------------


def decode(content: bytes) -> ModelProto:
    """The model in the bytes of a file; arrays are views of them.

    Raises:
        ValueError: it is not an ONNX file, or its arrays are in other files.
    """
    parse = Parser()
    fields = parse(memoryview(content))
    if 7 not in fields or 8 not in fields:
        raise WireError("there is no graph in it")
    opsets = [parse(entry) for entry in fields[8]]
    ours = [signed(o[2][0]) for o in opsets if _text(o, 1) in ("", "ai.onnx")]
    pairs = [parse(entry) for entry in fields.get(14, [])]
    return ModelProto(
        graph=_read_graph(parse, fields[7][-1], 0),
        opset=ours[0] if ours else 0,
        producer=_text(fields, 2),
        version=_text(fields, 3),
        metadata={_text(pair, 1): _text(pair, 2) for pair in pairs},
    )


def _text(fields: Fields, number: int) -> str:
    return text(fields[number][-1]) if number in fields else ""


def _read_graph(parse: Parser, content: memoryview, depth: int) -> GraphProto:
    if depth > _DEPTH:
        raise WireError(f"graphs within graphs, more than {_DEPTH} deep")
    fields = parse(content)
    return GraphProto(
        name=_text(fields, 2),
        nodes=[_read_node(parse, each, depth) for each in fields.get(1, [])],
        arrays=dict(_read_tensor(parse, each) for each in fields.get(5, [])),
        inputs=[_read_info(parse, each) for each in fields.get(11, [])],
        outputs=[_read_info(parse, each) for each in fields.get(12, [])],
    )


def _read_node(parse: Parser, content: memoryview, depth: int) -> Node:
    fields = parse(content)
    return Node(
        op_type=_text(fields, 4),
        inputs=[text(name) for name in fields.get(1, [])],
        outputs=[text(name) for name in fields.get(2, [])],
        attributes=dict(_read_attribute(parse, each, depth) for each in fields.get(5, [])),
        name=_text(fields, 3),
        domain=_text(fields, 7),
    )


def _read_attribute(parse: Parser, content: memoryview, depth: int) -> tuple[str, Any]:
    fields = parse(content)
    return _text(fields, 1), _read_value(parse, fields, depth)


def _read_value(parse: Parser, fields: Fields, depth: int) -> Any:
    match fields.get(20, [0])[-1]:
        case 1:
            return float(floats(fields.get(2, [bytes(4)])[-1:], "<f4")[0])
        case 2:
            return signed(fields.get(3, [0])[-1])
        case 3:
            return _text(fields, 4)
        case 4:
            return _read_tensor(parse, fields[5][-1])[1]
        case 5:
            return _read_graph(parse, fields[6][-1], depth + 1)
        case 6:
            return _listed(floats(fields.get(7, []), "<f4"))
        case 7:
            return _listed(integers(fields.get(8, [])))
        case 8:
            return [text(each) for each in fields.get(9, [])]
    return None  # a kind that is not used here


def _listed(array: NDArray[Any]) -> list[Any]:
    """A repeated attribute; limited, because Python numbers take far more memory than the file."""
    if array.size > _LISTED:
        raise WireError(f"an attribute of {array.size:,} numbers")
    listed: list[Any] = array.tolist()
    return listed


def _read_tensor(parse: Parser, content: memoryview) -> tuple[str, NDArray[Any]]:
    fields = parse(content)
    name, kind = _text(fields, 8), fields.get(2, [0])[-1]
    if 13 in fields or fields.get(14, [0])[-1]:
        raise WireError(f"the values of {name!r} lie in another file: save the model as one file")
    if kind not in DTYPES:
        raise WireError(f"{name!r} has elements of the unknown type {kind}")
    dtype = DTYPES[kind]
    shape = integers(fields.get(1, [])).tolist()
    if min(shape, default=0) < 0:
        raise WireError(f"{name!r} has the shape {shape}")
    if 9 in fields:
        if len(fields[9][-1]) % dtype.itemsize:
            raise WireError(f"{name!r} has {len(fields[9][-1])} bytes of {dtype}")
        array: NDArray[Any] = np.frombuffer(fields[9][-1], dtype.newbyteorder("<"))
    elif kind == TYPES[np.dtype("float32")]:
        array = floats(fields.get(4, []), "<f4")
    elif kind == TYPES[np.dtype("float64")]:
        array = floats(fields.get(10, []), "<f8")
    else:
        numbers = integers(fields.get({7: 7, 12: 11, 13: 11}.get(kind, 5), []))
        half = dtype == np.dtype("float16")  # the integers hold its bits
        array = numbers.astype(np.uint16).view(dtype) if half else numbers.astype(dtype)
    if array.size != math.prod(shape):
        raise WireError(f"{name!r} of shape {shape} has {array.size} elements")
    return name, array.reshape(shape).astype(dtype, copy=False)


def _read_info(parse: Parser, content: memoryview) -> Info:
    fields = parse(content)
    kind = parse(fields[2][-1]) if 2 in fields else {}
    tensor = parse(kind[1][-1]) if 1 in kind else {}
    dims = parse(tensor[2][-1]).get(1, []) if 2 in tensor else []
    axes: list[int | str | None] = []
    for dim in map(parse, dims):
        axes.append(signed(dim[1][-1]) if 1 in dim else _text(dim, 2) or None)
    return Info(_text(fields, 1), DTYPES.get(tensor.get(1, [0])[-1]), axes)
