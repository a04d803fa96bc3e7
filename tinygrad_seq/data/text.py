"""Text files, read in pieces."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..atomic import replacing
from .vocabulary import CharTokenizer

Filename: TypeAlias = str | os.PathLike[str]


def text_chunks(path: Filename, size: int = 2**18, *, encoding: str = "utf-8") -> Iterator[str]:
    """A text piece by piece; joined, the pieces are the text, character by character.

    Line ends are not changed; a byte order mark at the start is removed.

    Args:
        path: The file.
        size: The number of bytes to read per piece.
        encoding: The encoding of the file, such as ``"latin-1"`` or ``"cp1252"``.

    Raises:
        ValueError: The file is not in that encoding; the message says at which byte.
        LookupError: There is no encoding of that name.
    """
    if size < 1:
        raise ValueError(f"text_chunks expects a size of at least 1 byte; got {size}")
    decoder = codecs.getincrementaldecoder(encoding)()
    with open(path, "rb") as file:
        start, done = 0, False
        while not done:
            kept = len(decoder.getstate()[0])  # the first bytes of a character cut in two
            piece = file.read(size)
            done = not piece
            try:
                text = decoder.decode(piece, final=done)
            except UnicodeDecodeError as error:
                at = start - kept + error.start
                raise ValueError(
                    f"{path} is no {encoding.upper()} text: byte {at} "
                    f"(0x{error.object[error.start]:02x}) cannot be read ({error.reason}); say "
                    'what it is written in, such as encoding="latin-1"'
                ) from None
            if start - kept == 0:
                text = text.removeprefix("\ufeff")
            start += len(piece)
            if text:
                yield text


def read_text(path: Filename, *, encoding: str = "utf-8") -> str:
    """A text as a whole; see :func:`text_chunks`."""
    return "".join(text_chunks(path, encoding=encoding))


def letters(text: str) -> str:
    """The text in 27 characters: a to z, and one space for everything between them.

    Source: d2l 9.2, "The Time Machine" as a character model reads it.

    >>> letters("The Time Machine, by H. G. Wells [1898]").strip()
    'the time machine by h g wells'
    """
    return re.sub("[^a-z]+", " ", text.lower())


def encode_file(
    path: Filename, tokenizer: CharTokenizer, into: Filename, *, encoding: str = "utf-8"
) -> NDArray[Any]:
    """The ids of a text of any size, in a file; text and ids are never whole in memory.

    The file is whole or untouched at any moment, as with :func:`tinygrad_seq.save`.

    Args:
        path: A text. Its tokenizer can be made in the same way, a piece at a time:
            ``CharTokenizer.from_text(text_chunks(path))``.
        tokenizer: Converts characters to ids.
        into: The ``.npy`` file to write, in the smallest dtype that holds the ids. Read it again
            with ``np.load(into, mmap_mode="r")``.
        encoding: Of the text, as for :func:`text_chunks`.

    Returns:
        The ids (L,), read from that file, for ``RandomWindows`` or ``Streams``.

    Raises:
        ValueError: The text is empty, not in that encoding, or has characters without an id.
            Nothing is written.
    """
    dtype = np.min_scalar_type(len(tokenizer) - 1)
    length = 0
    with replacing(into) as file:
        _write_header(file, dtype, length)
        start = file.tell()
        for text in text_chunks(path, encoding=encoding):
            try:
                ids = tokenizer.encode(text)
            except ValueError as error:
                raise ValueError(f"{path}, counted from character {length}: {error}") from None
            file.write(ids.astype(dtype).data)
            length += len(text)
        if not length:
            raise ValueError(f"{path} is empty: there is nothing to encode")
        file.seek(0)
        _write_header(file, dtype, length)  # it has room for any length
        assert file.tell() == start
    written: NDArray[Any] = np.load(into, mmap_mode="r")
    return written


def _write_header(file: BinaryIO, dtype: np.dtype[Any], length: int) -> None:
    header = {"descr": dtype.str, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, header)
