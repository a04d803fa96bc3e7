"""Piano rolls: polyphonic music as binary arrays (T, 88), a row per time step, a column per key.

With 128 columns there is one for each pitch of MIDI.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..atomic import replacing
from ..backend import default_dtype
from ..nn.checks import flag
from .text import Filename

KEYS = 88
"""Of a piano: column k is MIDI note k + 21."""

PITCHES = 128
"""Of MIDI: column k is note k."""

_LOWEST = {KEYS: 21, PITCHES: 0}

Pieces: TypeAlias = list[NDArray[Any]]

_SPLITS = {
    "train": ("train", "traindata"),
    "valid": ("valid", "validdata", "validation"),
    "test": ("test", "testdata"),
}


def roll_of_notes(steps: Iterable[Any], keys: int = KEYS) -> NDArray[Any]:
    """The piano roll of notes that sound at each step.

    Args:
        steps: For each of T steps its MIDI notes, integers; one that is negative or NaN is a rest,
            as data sets of voices have it: lists of any lengths, or an array (T, V).
        keys: 88, the keys of a piano (notes 21 to 108), or 128, all pitches (0 to 127).

    Returns:
        ``(T, keys)``, 0 or 1 in the default float.

    Raises:
        ValueError: A note is no integer, or out of range; ``keys`` is another number.

    Example:
        >>> roll_of_notes([[60, 64, 67], [], [60]]).sum(axis=1)
        array([3., 0., 1.], dtype=float32)
    """
    if keys not in _LOWEST:
        raise ValueError(f"a piano roll has {KEYS} keys, or {PITCHES} pitches; got {keys}")
    lowest, steps = _LOWEST[keys], list(steps)
    roll = np.zeros((len(steps), keys), default_dtype())
    for t, notes in enumerate(steps):
        try:
            numbers = np.asarray(notes, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError):  # names of notes, lists in lists
            raise ValueError(f"expected MIDI notes, integers; got {notes!r} at step {t}") from None
        numbers = numbers[numbers >= 0]
        whole = numbers == np.floor(numbers)
        wrong = numbers[~whole | (numbers < lowest) | (numbers >= lowest + keys)]
        if wrong.size:
            hint = ": with keys=128 there are all" if keys == KEYS and whole.all() else ""
            raise ValueError(
                f"expected MIDI notes, integers from {lowest} to {lowest + keys - 1}; got "
                f"{wrong[0]:g} at step {t}{hint}"
            )
        roll[t, numbers.astype(int) - lowest] = 1
    return roll


def read_rolls(path: Filename, *, allow_pickle: bool = False) -> dict[str, Pieces]:
    """Piano rolls from a ``.mat``, ``.npz`` or ``.json`` file, such as the public JSB Chorales.

    The parts are called ``train``, ``valid`` and ``test``, or ``traindata``, ``validdata`` and
    ``testdata``; each is a cell or object array of pieces (T, 88) or (T, 128), or in JSON a list of
    pieces, each a list of the notes of its steps (:func:`roll_of_notes`, with 88 keys). An
    ``.npz`` that :func:`save_rolls` wrote needs no pickle: a part is its pieces one after another
    (ΣT, 88), with ``*_lengths`` (N,) beside it.

    Args:
        path: The file; ``.mat`` needs SciPy, in which a damaged one can end the process: read it
            only if you trust it.
        allow_pickle: Whether to read object arrays in an ``.npz``. Unpickling can run any code:
            allow it for files that you trust.

    Returns:
        For each part of the file its pieces (T, 88) or (T, 128), T ≥ 1, 0 or 1 in the default
        float.

    Raises:
        ValueError: Not such a file; no such parts; or a piece is no piano roll. The message names
            part and piece.
        ImportError: ``.mat`` without SciPy.
    """
    path, allow_pickle = Path(path), flag("read_rolls", "allow_pickle", allow_pickle)
    if path.suffix not in (".mat", ".npz", ".json"):
        raise ValueError(f"read_rolls reads .mat, .npz and .json files; got {path}")
    if path.suffix == ".json":
        content = _json(path)
    else:
        content = _mat(path) if path.suffix == ".mat" else _npz(path, allow_pickle)
    rolls = {}
    for split, names in _SPLITS.items():
        name = next((name for name in names if name in content), None)
        if name is not None:
            where = f"{path}, {name}"
            pieces = content[name]
            if path.suffix == ".json":
                pieces = [_sounded(piece, f"{where}[{n}]") for n, piece in enumerate(pieces)]
            else:
                pieces = _pieces(where, pieces, content.get(f"{name}_lengths"))
            rolls[split] = [_checked(p, f"{where}[{n}]") for n, p in enumerate(pieces)]
    if not rolls:
        raise ValueError(f"{path} holds {sorted(content)}; expected train, valid and test")
    return rolls


def save_rolls(path: Filename, rolls: Mapping[str, Iterable[Any]]) -> None:
    """Write piano rolls so that :func:`read_rolls` reads them again, without pickle.

    The file is whole or untouched at any moment, as with :func:`tinygrad_seq.save`.

    Args:
        path: An ``.npz`` file.
        rolls: Pieces (T, 88), or (T, 128), for any of ``train``, ``valid`` and ``test``.

    Raises:
        ValueError: Other names, no pieces, or one that is no piano roll, or of other keys.
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
        if len({piece.shape[1] for piece in pieces}) > 1:
            raise ValueError(f"{split} has pieces of {KEYS} keys and of {PITCHES} pitches")
        arrays[split] = np.concatenate(pieces).astype(np.uint8)
        arrays[f"{split}_lengths"] = np.array([len(piece) for piece in pieces])
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of JSON, or of UTF-8; lists in lists
        raise ValueError(f"{path} cannot be read as a .json file: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(p, list) for p in content.values()):
        raise ValueError(f"{path}: expected lists of pieces for train, valid and test")
    return content


def _sounded(piece: Any, where: str) -> NDArray[Any]:
    """The roll of a piece given as notes."""
    try:
        return roll_of_notes(piece)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{where}: {error!s:.400}") from None


def _mat(path: Path) -> Mapping[str, Any]:
    try:
        loadmat = import_module("scipy.io").loadmat
    except ImportError:
        raise ImportError(f"{path} is a .mat file, which SciPy reads: pip install scipy") from None
    with path.open("rb") as file:
        try:
            content: Mapping[str, Any] = loadmat(file)
        except Exception as error:  # what SciPy raises for a damaged file is anything
            raise ValueError(f"{path} cannot be read as a .mat file: {error!s:.400}") from error
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _npz(path: Path, allow_pickle: bool) -> Mapping[str, Any]:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path} is no .npz file, or a damaged one")
        try:
            if _member_count(file) not in (len(zipfile.ZipFile(file).namelist()), 0xFFFF):
                raise ValueError("members are missing")  # which zipfile does not mind
            file.seek(0)
            with np.load(file, allow_pickle=allow_pickle, encoding="latin1") as content:
                return dict(content)
        except Exception as error:  # what NumPy raises for a damaged file is anything
            if "allow_pickle" in str(error):
                raise ValueError(
                    f"{path} holds pickled arrays, and unpickling can run any code: if you trust "
                    "the file, read it with allow_pickle=True, and write it anew with save_rolls"
                ) from None
            raise ValueError(f"{path} cannot be read as an .npz file: {error!s:.400}") from error


def _member_count(file: BinaryIO) -> int:
    """The number of members that the end of a zip file without a comment states; 65535 for more."""
    file.seek(-22, os.SEEK_END)
    return int.from_bytes(file.read()[10:12], "little")


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
    if array.ndim != 2 or array.shape[1] not in _LOWEST or not len(array):
        raise ValueError(
            f"{where}: expected a piano roll (T, {KEYS}) or (T, {PITCHES}), T ≥ 1; got "
            f"{array.shape}"
        )
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{where}: expected 0 and 1; got dtype {array.dtype}")
    wrong = (array != 0) & (array != 1)  # NaN too
    if wrong.any():
        t, k = np.argwhere(wrong)[0]
        raise ValueError(f"{where}: expected 0 and 1; got {array[t, k]} at step {t}, column {k}")
    return array.astype(default_dtype())
