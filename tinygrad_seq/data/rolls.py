"""Piano rolls: polyphonic music as binary arrays (T, 88), a row per time step, a column per key."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..backend import default_dtype
from .text import Filename

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEYS = 88
"""Of a piano: column k is MIDI note k + 21."""

Pieces: TypeAlias = "list[NDArray[Any]]"

_SPLITS = {
    "train": ("train", "traindata"),
    "valid": ("valid", "validdata", "validation"),
    "test": ("test", "testdata"),
}


def read_rolls(path: Filename, *, allow_pickle: bool = False) -> dict[str, Pieces]:
    """Piano rolls from a ``.mat`` or ``.npz`` file, such as the public JSB Chorales.

    The parts are called ``train``, ``valid`` and ``test``, or ``traindata``, ``validdata`` and
    ``testdata``; each is a cell or object array of pieces (T, 88). An ``.npz`` that
    :func:`save_rolls` wrote needs no pickle: a part is its pieces one after another (ΣT, 88), with
    ``*_lengths`` (N,) beside it.

    Args:
        path: The file; ``.mat`` needs SciPy.
        allow_pickle: Whether to read object arrays in an ``.npz``. Unpickling can run any code:
            allow it for files that you trust.

    Returns:
        For each part of the file its pieces (T, 88), T ≥ 1, 0 or 1 in the default float.

    Raises:
        ValueError: Not such a file; no such parts; or a piece is not (T, 88), or not binary. The
            message names part and piece.
        ImportError: ``.mat`` without SciPy.
    """
    path = Path(path)
    if path.suffix not in (".mat", ".npz"):
        raise ValueError(f"read_rolls reads .mat and .npz files; got {path}")
    content = _mat(path) if path.suffix == ".mat" else _npz(path, allow_pickle)
    rolls = {}
    for split, names in _SPLITS.items():
        name = next((name for name in names if name in content), None)
        if name is not None:
            pieces = _pieces(f"{path}, {name}", content[name], content.get(f"{name}_lengths"))
            rolls[split] = [_checked(p, f"{path}, {name}[{n}]") for n, p in enumerate(pieces)]
    if not rolls:
        raise ValueError(f"{path} holds {sorted(content)}; expected train, valid and test")
    return rolls


def save_rolls(path: Filename, rolls: Mapping[str, Iterable[Any]]) -> None:
    """Write piano rolls so that :func:`read_rolls` reads them again, without pickle.

    Args:
        path: An ``.npz`` file.
        rolls: Pieces (T, 88) for any of ``train``, ``valid`` and ``test``.

    Raises:
        ValueError: Other names, no pieces, or a piece is not (T, 88), or not binary.
    """
    if Path(path).suffix != ".npz":
        raise ValueError(f"save_rolls writes .npz files; got {os.fspath(path)}")
    if not rolls or not rolls.keys() <= _SPLITS.keys():
        raise ValueError(f"expected pieces for train, valid or test; got {sorted(rolls)}")
    arrays: dict[str, Any] = {}
    for split, given in rolls.items():
        pieces = [_checked(piece, f"{split}[{n}]") for n, piece in enumerate(given)]
        if not pieces:
            raise ValueError(f"{split} has no pieces: leave it out")
        arrays[split] = np.concatenate(pieces).astype(np.uint8)
        arrays[f"{split}_lengths"] = np.array([len(piece) for piece in pieces])
    np.savez_compressed(path, **arrays)


def _mat(path: Path) -> Mapping[str, Any]:
    try:
        loadmat = import_module("scipy.io").loadmat
    except ImportError:
        raise ImportError(f"{path} is a .mat file, which SciPy reads: pip install scipy") from None
    with path.open("rb") as file:
        try:
            content: Mapping[str, Any] = loadmat(file)
        except Exception as error:  # what SciPy raises for a damaged file is anything
            raise ValueError(f"{path} cannot be read as a .mat file: {error}") from error
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _npz(path: Path, allow_pickle: bool) -> Mapping[str, Any]:
    if path.exists() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .npz file, or a damaged one")
    try:
        with np.load(path, allow_pickle=allow_pickle, encoding="latin1") as file:
            return dict(file)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, UnpicklingError) as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path} holds pickled arrays, and unpickling can run any code: if you trust the "
                "file, read it with allow_pickle=True, and write it anew with save_rolls"
            ) from None
        raise ValueError(f"{path} cannot be read as an .npz file: {error}") from None


def _pieces(where: str, part: Any, lengths: Any) -> list[Any]:
    """The pieces of one part, as the file has them."""
    part = np.asarray(part)
    if lengths is None:
        if part.ndim == 3:  # pieces of one length
            return list(part.astype(float) if part.dtype == object else part)
        if part.dtype != object:
            raise ValueError(
                f"{where}: expected an object array of pieces (T, {KEYS}), or its lengths beside "
                f"it; got {part.dtype} of shape {part.shape}"
            )
        return list(part.ravel())
    lengths = np.asarray(lengths)
    whole = lengths.dtype.kind in "iu" and lengths.ndim == 1 and (lengths > 0).all()
    if part.ndim == 0 or not whole or lengths.sum() != len(part):
        raise ValueError(
            f"{where}: its lengths must be positive integers (N,) that sum up to its rows; "
            f"got {lengths.dtype} {lengths.shape} for rows of shape {part.shape}"
        )
    return np.split(part, np.cumsum(lengths)[:-1])


def _checked(piece: Any, where: str) -> NDArray[Any]:
    """A piece as floats, if it is a piano roll."""
    array = np.asarray(piece)
    if array.ndim != 2 or array.shape[1] != KEYS or not len(array):
        raise ValueError(f"{where}: expected a piano roll (T, {KEYS}), T ≥ 1; got {array.shape}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{where}: expected 0 and 1; got dtype {array.dtype}")
    wrong = (array != 0) & (array != 1)  # NaN too
    if wrong.any():
        t, k = np.argwhere(wrong)[0]
        raise ValueError(f"{where}: expected 0 and 1; got {array[t, k]} at step {t}, column {k}")
    return array.astype(default_dtype())
