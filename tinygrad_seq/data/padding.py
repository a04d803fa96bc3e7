"""Sequences of unequal lengths as one array."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
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
    sequences = list(sequences)
    if any(isinstance(sequence, str) for sequence in sequences):
        raise TypeError("pad_sequences takes ids or numbers: encode texts first (CharTokenizer)")
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise ValueError("pad_sequences needs at least one sequence; got none")
    first = arrays[0]
    for n, array in enumerate(arrays):
        if array.ndim == 0 or len(array) == 0:
            raise ValueError(
                f"pad_sequences expects sequences of at least one step; sequence {n} has shape "
                f"{array.shape}"
            )
        if array.shape[1:] != first.shape[1:]:
            raise ValueError(
                "pad_sequences expects sequences that differ in their first axis only; sequence 0 "
                f"has shape {first.shape}, sequence {n} has shape {array.shape}"
            )
        if array.dtype != first.dtype:
            raise TypeError(
                f"pad_sequences expects one dtype; sequence 0 has {first.dtype}, "
                f"sequence {n} has {array.dtype}"
            )
    if not _holds(first.dtype, value):
        raise TypeError(f"a padding of {value!r} does not fit sequences of {first.dtype}")
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    padded = np.full((lengths.max(), len(arrays), *first.shape[1:]), value, dtype=first.dtype)
    for n, array in enumerate(arrays):
        padded[: len(array), n] = array
    return padded, lengths


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether an array of ``dtype`` can hold ``value``; floats may round it."""
    try:
        return dtype.kind in "fc" or bool(dtype.type(value) == value)
    except (ValueError, OverflowError):
        return False
