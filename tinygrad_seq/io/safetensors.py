"""The safetensors format: arrays one after the other, and their names in a header.

The document is in the header's metadata. The format has no checksum, so the metadata holds one too:
CRC-32 of the document and of the name, dtype, shape and bytes of every array.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from .tree import Arrays

_TREE, _CHECKSUM = "tinygrad_seq.tree", "tinygrad_seq.checksum"
_DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
_STORED = {np.dtype(dtype) for dtype in _DTYPES.values()}


def require() -> None:
    """Raise ImportError unless the library is installed."""
    try:
        import safetensors  # noqa: F401  # only to see whether it is there
    except ImportError:
        raise ImportError(
            "a .safetensors file needs the library safetensors: "
            "pip install safetensors, or save as .npz"
        ) from None


def check(arrays: Arrays) -> None:
    """Raise TypeError for an array whose dtype the format lacks."""
    for name, array in arrays.items():
        if array.dtype.newbyteorder("<") not in _STORED:
            raise TypeError(
                f"a .safetensors file has no dtype {array.dtype}, which {name!r} has: save as .npz"
            )


def write(file: BinaryIO, document: str, arrays: Arrays) -> None:
    """Write document and arrays to ``file``."""
    from safetensors.numpy import save

    # The library stores memory as it is: a transposed view would be stored wrong.
    stored = {
        name: np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        for name, array in arrays.items()
    }
    metadata = {_TREE: document, _CHECKSUM: _checksum(document, stored)}
    file.write(save(stored, metadata=metadata))


def read(file: BinaryIO) -> tuple[str | None, Arrays]:
    """The document, or None in a file from elsewhere, and the arrays in a file."""
    import safetensors

    parse: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize
    content = file.read()
    entries = parse(content)  # copies
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    del content
    arrays = {name: _array(name, entry) for name, entry in entries}
    if _TREE not in metadata and _CHECKSUM not in metadata:
        return None, arrays
    document: str = metadata[_TREE]
    if metadata[_CHECKSUM] != _checksum(document, arrays):
        raise ValueError("its checksum does not fit its content")
    return document, arrays


def _array(name: str, entry: dict[str, Any]) -> np.ndarray[Any, Any]:
    """A writable array of an entry of the file."""
    kind, shape = entry["dtype"], entry["shape"]
    if kind == "BF16":  # the upper half of a float32
        upper = np.frombuffer(entry["data"], dtype="<u2").astype(np.uint32)
        return (upper << 16).view(np.float32).reshape(shape)
    if kind not in _DTYPES:
        raise ValueError(f"NumPy has no dtype {kind}, which {name!r} has")
    array = np.frombuffer(entry["data"], dtype=_DTYPES[kind]).reshape(shape)
    return array if array.flags.writeable else array.copy()


def _checksum(document: str, arrays: Arrays) -> str:
    crc = zlib.crc32(document.encode())
    for name, array in sorted(arrays.items()):
        crc = zlib.crc32(repr((name, array.dtype.str, array.shape)).encode(), crc)
        crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"
