"""A tree of containers and values as a JSON document and the arrays it names.

In the document None, bool, str, lists and ordinary numbers are themselves. Every other value is an
object whose first key names its type:

    {"dict": [[key, node], ...]}  {"tuple": [node, ...]}  {"int": "hex"}  {"float": "nan"}
    {"array": name}  {"array": name, "dtype": ">f8"}  {"scalar": name}
    {"tensor": name, "requires_grad": true}

An array is named by the keys on the way to it, joined by dots, as PyTorch names parameters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..autograd.operands import on_host
from ..backend import is_array
from ..tensor import Tensor

VERSION = 1
_DEEPEST = 100
_EXACT = 2**53  # beyond it other readers of JSON lose digits

Arrays = dict[str, NDArray[Any]]


def encode(tree: Any) -> tuple[str, Arrays]:
    """The document of ``tree`` and its arrays, on the host, by name.

    Raises:
        TypeError: Something in it cannot be stored.
        ValueError: It is nested too deep, or contains itself.
    """
    encoder = _Encoder()
    node = encoder.node(tree, ())
    document = {"format": "tinygrad_seq", "version": VERSION, "tree": node}
    return json.dumps(document, allow_nan=False, separators=(",", ":")), encoder.arrays


def decode(document: str | bytes, arrays: Arrays) -> Any:
    """The tree that :func:`encode` took apart.

    Raises:
        ValueError: The document is not one of ours, of a later version, or does not fit the arrays.
    """
    content = json.loads(document)
    if content["format"] != "tinygrad_seq" or content["version"] > VERSION:
        raise ValueError(
            f"version {content['version']} is later than {VERSION}, the last one known"
        )
    remaining = dict(arrays)
    tree = _decode(content["tree"], remaining)
    if remaining:
        raise ValueError(f"arrays that belong nowhere: {sorted(remaining)}")
    return tree


class _Encoder:
    def __init__(self) -> None:
        self.arrays: Arrays = {}

    def node(self, value: Any, path: tuple[Any, ...]) -> Any:
        if len(path) > _DEEPEST:
            raise ValueError(
                f"cannot save {_place(path[:3])}...: nested more than {_DEEPEST} levels deep, "
                "or containing itself"
            )
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str(value)
        if isinstance(value, Tensor):
            return self.array("tensor", value.data, path) | {"requires_grad": value.requires_grad}
        if isinstance(value, np.generic):
            return self.array("scalar", np.asarray(value), path)
        if is_array(value):
            return self.array("array", value, path)
        if isinstance(value, int):
            return int(value) if abs(value) < _EXACT else {"int": f"{value:x}"}
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"float": str(float(value))}
        if isinstance(value, Mapping):
            return {"dict": [[self.key(k, path), self.node(value[k], (*path, k))] for k in value]}
        if isinstance(value, list | tuple):
            nodes = [self.node(item, (*path, i)) for i, item in enumerate(value)]
            return nodes if isinstance(value, list) else {"tuple": nodes}
        raise TypeError(
            f"cannot save {_place(path)}: expected an array, a Tensor, a number, a string, None, "
            f"or a dict, list or tuple of them; got {type(value).__name__}"
        )

    def key(self, key: Any, path: tuple[Any, ...]) -> Any:
        if isinstance(key, bool | np.generic) or not isinstance(key, str | int):
            raise TypeError(f"cannot save {_place(path)}: its keys must be str or int; got {key!r}")
        return self.node(key, ())

    def array(self, kind: str, array: Any, path: tuple[Any, ...]) -> dict[str, Any]:
        """Take in an array; its node."""
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError(
                f"cannot save {_place(path)}: save a masked array's data and mask apart"
            )
        array = on_host(array)
        plain = array.dtype.itemsize and (array.dtype.kind != "V" or array.dtype.names)
        if array.dtype.hasobject or not plain:
            raise TypeError(f"cannot save {_place(path)}: dtype {array.dtype} has no plain form")
        stem = ".".join(map(str, path))[:1000]
        # Neither format takes a NUL or half a surrogate pair in a name.
        stem = name = stem.replace("\0", "?").encode("utf-8", "replace").decode() or "value"
        count = 0
        while name in self.arrays or name == "__metadata__":
            count += 1
            name = f"{stem}~{count}"
        self.arrays[name] = array
        swapped = array.dtype.str.startswith(">")  # safetensors stores the other order
        return {kind: name} | ({"dtype": array.dtype.str} if swapped else {})


def _decode(node: Any, arrays: Arrays) -> Any:
    """The value of a node; takes its arrays out of ``arrays``."""
    if isinstance(node, list):
        return [_decode(item, arrays) for item in node]
    if not isinstance(node, dict):
        return node
    kind, content = next(iter(node.items()))
    match kind:
        case "dict":
            return {_decode(key, arrays): _decode(value, arrays) for key, value in content}
        case "tuple":
            return tuple(_decode(item, arrays) for item in content)
        case "int":
            return int(content, 16)
        case "float":
            return float(content)
    if kind not in ("array", "scalar", "tensor"):
        raise ValueError(f"the document has a node of unknown kind {kind!r}")
    array = arrays.pop(content)
    if "dtype" in node:
        dtype = np.dtype(node["dtype"])
        if dtype.newbyteorder("=") != array.dtype.newbyteorder("="):
            raise ValueError(f"an array of dtype {array.dtype} cannot have been {dtype}")
        array = array.astype(dtype)
    if kind == "tensor":
        return Tensor(array, requires_grad=node["requires_grad"])
    return array if kind == "array" else array[()]


def _place(path: tuple[Any, ...]) -> str:
    return "tree" + "".join(f"[{key!r}]" for key in path)
