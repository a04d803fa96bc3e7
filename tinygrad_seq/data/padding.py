"""Sequences of unequal lengths as one array."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pad_sequences(
    sequences: Iterable[Any], value: float = 0
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Lay sequences side by side, the short ones filled up at the end.

    Args:
        sequences: N arrays of shape (T_n, ...), T_n ≥ 1, with equal trailing axes and one dtype.
        value: What fills up; for targets of a loss, its ``ignore_index``.

    Returns:
        An array of shape (T, N, ...) with T the largest T_n, and the lengths (N,), int64.

    Raises:
        ValueError: No sequences, an empty one, or trailing axes that differ.
        TypeError: dtypes that differ, or one that cannot hold ``value``.

    Example:
        >>> padded, lengths = pad_sequences([[5, 6, 7], [8]])
        >>> padded
        array([[5, 8],
               [6, 0],
               [7, 0]])
        >>> np.arange(len(padded))[:, None] < lengths  # (T, N): where there is no padding
        array([[ True,  True],
               [ True, False],
               [ True, False]])
    """
    arrays = as_sequences("pad_sequences", sequences)
    return laid("pad_sequences", arrays, value)


def as_sequences(owner: str, sequences: Iterable[Any], least: int = 1) -> list[NDArray[Any]]:
    """Sequences as arrays that differ in their first axis alone, of at least ``least`` steps."""
    sequences = list(sequences)
    if any(isinstance(sequence, str) for sequence in sequences):
        raise TypeError(f"{owner} takes ids or numbers: encode texts first (CharTokenizer)")
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise ValueError(f"{owner} needs at least one sequence; got none")
    # An empty list has no kind and no axes of its own.
    like = next((a for a in arrays if a.size), arrays[0])
    for n, array in enumerate(arrays):
        if array.shape == (0,) and least == 0:
            array = arrays[n] = np.empty((0, *like.shape[1:]), like.dtype)
        if array.ndim == 0 or len(array) < least:
            raise ValueError(
                f"{owner} expects sequences of at least {least} step{'s' * (least != 1)}; "
                f"sequence {n} has shape {array.shape}"
            )
        if array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"{owner} expects sequences that differ in their first axis only; sequence 0 "
                f"has shape {arrays[0].shape}, sequence {n} has shape {array.shape}"
            )
        if array.dtype != arrays[0].dtype:
            raise TypeError(
                f"{owner} expects one dtype; sequence 0 has {arrays[0].dtype}, "
                f"sequence {n} has {array.dtype}"
            )
    return arrays


def laid(
    owner: str, arrays: list[NDArray[Any]], value: float, steps: int | None = None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Such arrays side by side, filled up to ``steps`` or to the longest, and their lengths."""
    dtype = arrays[0].dtype
    if not holds(dtype, value):
        raise TypeError(f"{owner}: a padding of {value!r} does not fit sequences of {dtype}")
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    longest = lengths.max() if steps is None else steps
    padded = np.full((longest, len(arrays), *arrays[0].shape[1:]), value, dtype=dtype)
    for n, array in enumerate(arrays):
        padded[: len(array), n] = array
    return padded, lengths


def holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether an array of ``dtype`` can hold ``value``; floats may round it."""
    try:
        return dtype.kind in "fc" or bool(dtype.type(value) == value)
    except (ValueError, OverflowError):
        return False
