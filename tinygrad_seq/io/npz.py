"""NumPy's archive: a zip file of ``.npy`` members, and the document as ``tree.json``.

A zip file carries a checksum of each member, which is verified on reading.
"""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np

from .tree import Arrays

_DOCUMENT = "tree.json"  # no array's member: those end in .npy


def require() -> None:
    """Nothing but NumPy is needed."""


def check(arrays: Arrays) -> None:
    """Every array that has a document can be stored."""


def write(file: BinaryIO, document: str, arrays: Arrays) -> None:
    """Write document and arrays to ``file``."""
    import zipfile  # here, for it slows the start of the library

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


def read(content: bytes) -> tuple[bytes, Arrays]:
    """The document and the arrays in the bytes of a file."""
    import zipfile

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if _DOCUMENT not in names:
            raise ValueError(
                f"it holds no {_DOCUMENT}; numpy.load reads an archive of plain arrays"
            )
        arrays = {}
        for member in names:
            if member != _DOCUMENT:
                array = io.BytesIO(archive.read(member))
                arrays[member.removesuffix(".npy")] = np.lib.format.read_array(array)
        return archive.read(_DOCUMENT), arrays
