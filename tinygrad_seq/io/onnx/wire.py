"""Protobuf's wire format: messages as numbered fields, written and read with NumPy alone.

A field is a number, then a value of one of four kinds: a varint, 8 bytes, a length and that many
bytes, or 4 bytes. Values are views of the file: nothing is copied, nothing is executed, and
every length is checked against the bytes that remain.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Fields: TypeAlias = dict[int, list[Any]]
"""Field number -> its values: ints for varints, views of bytes for all else."""

MAX_FIELDS = 300_000
"""The most fields that a file may have: each takes far more memory than its bytes."""

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_SIZES = {_EIGHT: 8, _FOUR: 4}
_PIECE = 1 << 16  # bytes of packed numbers read at once
_MASK = (1 << 64) - 1


class WireError(ValueError):
    """The bytes are not a message."""


def varint(number: int) -> bytes:
    """An integer, 7 bits per byte, the lowest first; negative ones as 64 bits."""
    number &= _MASK
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(*fields: tuple[int, Any]) -> bytes:
    """A message of (number, value): an int, a float (as float32), a str, or bytes; a list of them
    is a repeated field."""
    return b"".join(
        _field(number, each)
        for number, value in fields
        for each in (value if isinstance(value, list) else [value])
    )


def _field(number: int, value: Any) -> bytes:
    if isinstance(value, int | np.integer):
        return varint(number << 3 | _VARINT) + varint(int(value))
    if isinstance(value, float | np.floating):
        return varint(number << 3 | _FOUR) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _BYTES) + varint(len(content)) + content


class Parser:
    """Reads the messages of one file, and counts their fields."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, content: memoryview) -> Fields:
        """The fields of a message.

        Raises:
            WireError: it is truncated or not a message, or the file has too many fields.
        """
        fields: Fields = {}
        at, end = 0, len(content)
        while at < end:
            key, at = _read_varint(content, at)
            number, kind = key >> 3, key & 7
            if kind == _VARINT:
                value: Any
                value, at = _read_varint(content, at)
            elif kind in (_EIGHT, _FOUR, _BYTES):
                size, at = _read_varint(content, at) if kind == _BYTES else (_SIZES[kind], at)
                if size > end - at:
                    raise WireError(f"a field of {size} bytes where {end - at} are left")
                value = content[at : at + size]
                at += size
            else:
                raise WireError(f"a field of the unknown kind {kind}")
            fields.setdefault(number, []).append(value)
            self.count += 1
            if self.count > MAX_FIELDS:
                raise WireError(f"more than {MAX_FIELDS:,} fields")
        return fields


def _read_varint(content: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(content):
        byte = content[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & _MASK, at
        shift += 7
        if shift > 63:
            raise WireError("a number of more than 10 bytes")
    raise WireError("the end is missing")


def signed(number: int) -> int:
    """A varint read as a signed 64-bit integer."""
    return number - (1 << 64) if number >> 63 else number


def text(value: Any) -> str:
    """A string field."""
    if isinstance(value, int):
        raise WireError("a number where a string is expected")
    return bytes(value).decode()


def integers(values: Iterable[Any]) -> NDArray[np.int64]:
    """A repeated integer field, each value alone or many packed into bytes."""
    parts = [np.zeros(0, np.int64)]
    for value in values:
        if isinstance(value, int):
            parts.append(np.array([signed(value)], np.int64))
        else:
            parts += _packed(np.frombuffer(value, np.uint8))
    return np.concatenate(parts)


def _packed(raw: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
    """Packed varints, read in chunks: 7 bits of each byte, up to a byte without the high bit."""
    at = 0
    while at < raw.size:
        piece = raw[at : at + _PIECE]
        last = np.flatnonzero(piece < 128)
        if not last.size:
            raise WireError("the end is missing, or a number is too long")
        first = np.concatenate([[0], last[:-1] + 1])
        longest = int((last - first).max())
        if longest > 9:
            raise WireError("a number of more than 10 bytes")
        numbers = np.zeros(last.size, np.uint64)
        for k in range(longest + 1):
            here = first + k <= last
            bits = piece[first[here] + k].astype(np.uint64) & np.uint64(127)
            numbers[here] |= bits << np.uint64(7 * k)
        yield numbers.view(np.int64)
        at += int(last[-1]) + 1


def floats(values: Iterable[Any], dtype: str) -> NDArray[Any]:
    """A repeated field of float32 (``"<f4"``) or float64 (``"<f8"``), alone or packed."""
    return np.concatenate([np.zeros(0, dtype), *(np.frombuffer(value, dtype) for value in values)])
