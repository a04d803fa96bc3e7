"""``save`` and ``load``: a tree of arrays and plain values as one file."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from ..atomic import replacing
from . import npz, safetensors
from .tree import decode, encode

LONGEST = 400
"""Characters of a message that may repeat what stands in a file."""

_FORMATS: dict[str, ModuleType] = {".npz": npz, ".safetensors": safetensors}


class CheckpointError(ValueError):
    """A file cannot be loaded: damaged, cut short, or not of this library."""


def save(path: str | os.PathLike[str], tree: Any) -> None:
    """Write a tree to a file, so that :func:`load` gives an equal one.

    A tree is made of dicts (keys str or int), lists and tuples; its leaves are arrays of any dtype
    but object, Tensors, NumPy scalars, and None, bool, int, float, str. Arrays come back with the
    same dtype and bits, Tensors as leaves (what they were computed from is not stored), subclasses
    of dict, list and tuple as these.

    The suffix chooses the format: ``.npz`` needs NumPy alone and is open to ``numpy.load``;
    ``.safetensors`` needs that library, and holds bool, integer and float arrays. There the
    arrays of a flat dict keep their keys as names.

    The file is complete or untouched at any moment: a new file is written beside it, flushed to
    the disk, and renamed in one step, with the mode of the old file. A process
    that is killed may leave a hidden file ``.saving-*.tmp`` beside it; the next save to ``path``
    removes it, once it is a minute old.

    Args:
        path: Where to; ends in ``.npz`` or ``.safetensors``, in a folder that exists.
        tree: What to.

    Raises:
        TypeError: Something in the tree cannot be stored; the message says where.
        ValueError: The suffix is unknown, or the tree is nested too deep or contains itself.
        FileNotFoundError: The folder does not exist.
        FileExistsError: The path is a device, a pipe or a socket.
        ImportError: The library of the format is not installed.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"save(path, tree) takes the path first; got {type(path).__name__}")
    path = Path(path)
    form = _format_of(path)
    document, arrays = encode(tree)
    form.check(arrays)
    with replacing(path) as file:
        form.write(file, document, arrays)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a file written by :func:`save`; nothing in it is executed.

    A ``.safetensors`` file from elsewhere gives the dict of its arrays by name; bfloat16 becomes
    float32, which holds the same values.

    Args:
        path: A file that ends in ``.npz`` or ``.safetensors``.

    Returns:
        The tree that was saved. Its arrays are new and writable.

    Raises:
        CheckpointError: The file is damaged, cut short, or was not written by ``save``.
        ValueError: The suffix is unknown.
        FileNotFoundError: There is no such file.
        ImportError: The library of the format is not installed.
    """
    path = Path(path)
    form = _format_of(path)
    with path.open("rb") as file:
        try:
            document, arrays = form.read(file)
            return arrays if document is None else decode(document, arrays)
        except MemoryError:
            raise
        except Exception as error:  # parsers raise any kind of error for damaged bytes
            raise CheckpointError(
                f"{path} cannot be loaded ({type(error).__name__}: {str(error)[:LONGEST]}): it is "
                "damaged, cut short, or was not written by save(); load an earlier copy"
            ) from error


def _format_of(path: Path) -> ModuleType:
    form = _FORMATS.get(path.suffix)
    if form is None:
        raise ValueError(f"expected a path that ends in {' or '.join(_FORMATS)}; got {path}")
    form.require()
    return form
