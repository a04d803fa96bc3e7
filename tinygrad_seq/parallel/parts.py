"""Cuts a rank's part out of a batch, and joins parts."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from ..tensor import Tensor

Axis: TypeAlias = int | tuple[int, ...]
"""The axis of the sequences: one for all arrays of a batch, or one for each item of a tuple."""


def bounds(number: int, rank: int, size: int) -> tuple[int, int]:
    """The first and last index of a rank's part of ``number`` items; sizes differ by at most 1."""
    each, more = divmod(number, size)
    start = rank * each + min(rank, more)
    return start, start + each + (rank < more)


def part_of(value: Any, axis: Axis, rank: int, size: int) -> Any:
    """A rank's part of every array in ``value``.

    Raises:
        ValueError: an array lacks the axis, or two of them differ in length along it.
    """
    lengths = set()

    def cut(array: Any, axis: int) -> Any:
        if not -array.ndim <= axis < array.ndim:
            raise ValueError(
                f"a batch is divided along axis {axis}, which an array of shape {array.shape} does "
                "not have: give axis=0, or a tuple with the axis of each item"
            )
        lengths.add(array.shape[axis])
        if len(lengths) > 1:
            raise ValueError(
                f"the arrays of a batch have {' and '.join(map(str, sorted(lengths)))} sequences "
                f"along the divided axis, {axis} of shape {array.shape}: give axis= as a tuple "
                "with the axis of each item"
            )
        own = slice(*bounds(array.shape[axis], rank, size))
        return array[(slice(None),) * (axis % array.ndim) + (own,)]

    return each_array(cut, value, axis)


def joined(values: list[Any], axis: Axis) -> Any:
    """The parts of all ranks joined in order: NumPy arrays, in the structure of a part."""
    first = values[0]
    if isinstance(first, dict):
        return {key: joined([v[key] for v in values], axis) for key in first}
    if isinstance(first, tuple):
        axes = _axes(axis, first)
        items = [joined(list(v), a) for v, a in zip(zip(*values, strict=True), axes, strict=True)]
        return _tuple_like(first, items)
    return None if first is None else np.concatenate(values, axis)  # type: ignore[arg-type]


def checksum(value: Any, before: int) -> int:
    """A checksum of all bits of the arrays in ``value``, continued from ``before``."""

    def add(array: Any, _: int) -> None:
        nonlocal before
        host = array.detach().numpy() if isinstance(array, Tensor) else array
        before = zlib.crc32(host.tobytes(), before)

    each_array(add, value, 0)
    return before


def each_array(function: Callable[[Any, int], Any], value: Any, axis: Axis) -> Any:
    """Apply ``function(array, axis)`` to all arrays in tuples and dicts; lists are arrays."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {key: each_array(function, item, axis) for key, item in value.items()}
    if isinstance(value, tuple):
        pairs = zip(value, _axes(axis, value), strict=True)
        return _tuple_like(value, [each_array(function, item, a) for item, a in pairs])
    array = value if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.hasobject:
        raise TypeError(f"a batch consists of arrays of numbers or text; got {value!r:.60}")
    return function(array, axis)  # type: ignore[arg-type]  # tuples were handled above


def _axes(axis: Axis, items: tuple[Any, ...]) -> Iterator[Axis]:
    if isinstance(axis, tuple) and len(axis) != len(items):
        raise ValueError(f"axis={axis} names {len(axis)} axes; the batch has {len(items)} items")
    return iter(axis if isinstance(axis, tuple) else (axis,) * len(items))


def _tuple_like(like: tuple[Any, ...], items: list[Any]) -> Any:
    return type(like)(*items) if hasattr(like, "_fields") else tuple(items)
