"""NumPy's archive: a zip file of ``.npy`` members, and the document as ``tree.json``.

A zip file carries a checksum of each member, which is verified on reading.
"""

from __future__ import annotations

import ast
import math
import operator
import os
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .tree import Arrays

_DOCUMENT = "tree.json"  # no array's member: those end in .npy
_LONGEST = 10_000  # a header: as NumPy's own reader has it
_PIECE = 2**16  # bytes read at a time


def require() -> None:
    """Nothing but NumPy is needed."""


def check(arrays: Arrays) -> None:
    """Every array that has a document can be stored."""


def write(file: BinaryIO, document: str, arrays: Arrays) -> None:
    """Write document and arrays to ``file``."""
    import zipfile  # imported here, because it slows the import of the library

    archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
    try:
        archive.writestr(_DOCUMENT, document)
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        archive.close()
    except BaseException:
        archive.fp = None  # nothing to close: that would fail, and hide an interrupt
        raise


def read(file: BinaryIO) -> tuple[bytes, Arrays]:
    """The document and the arrays in an untrusted file.

    What a member declares is used only if it fits the file, so a small file cannot ask for much
    memory.
    """
    import zipfile

    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise ValueError("it holds two members of one name")
        if any(m.compress_type != zipfile.ZIP_STORED for m in members.values()):
            raise ValueError("it is compressed, which save() never does")
        if sum(m.file_size for m in members.values()) > file.seek(0, os.SEEK_END):
            raise ValueError("its members are larger than the file")
        if members.pop(_DOCUMENT, None) is None:
            raise ValueError(
                f"it holds no {_DOCUMENT}; numpy.load reads an archive of plain arrays"
            )
        arrays = {}
        for name, member in members.items():
            if not name.endswith(".npy"):
                raise ValueError(f"its member {name!r} is none of save()'s")
            with archive.open(member) as content:
                arrays[name.removesuffix(".npy")] = _array(content, member.file_size)
        return archive.read(_DOCUMENT), arrays


def _array(content: IO[bytes], size: int) -> NDArray[Any]:
    """The array in a ``.npy`` member of that size."""
    version = np.lib.format.read_magic(content)
    length = int.from_bytes(content.read(2 if version == (1, 0) else 4), "little")
    if length > _LONGEST:
        raise ValueError(f"a header of {length} bytes is too long")
    text = content.read(length).decode("utf-8" if version > (2, 0) else "latin1")
    header = ast.literal_eval(text)
    dtype = np.lib.format.descr_to_dtype(header["descr"])
    shape, turned = tuple(map(operator.index, header["shape"])), bool(header["fortran_order"])
    if dtype.hasobject:
        raise ValueError("it holds objects of Python's, which would have to be unpickled")
    left = size - content.tell()
    if not dtype.itemsize:  # NumPy would make room for a byte each
        raise ValueError(f"it holds an array of the empty dtype {dtype}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"{left} bytes are no array of shape {shape} and dtype {dtype}")
    array = np.empty(math.prod(shape), dtype)
    for start in range(0, left, _PIECE):
        array.view(np.uint8).data[start : start + _PIECE] = content.read(_PIECE)
    content.read(1)  # at its end the checksum is compared
    return array.reshape(shape[::-1]).T if turned else array.reshape(shape)
