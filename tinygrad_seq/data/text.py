"""Text files, read in pieces."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .vocabulary import CharTokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

Filename: TypeAlias = str | os.PathLike[str]


def text_chunks(path: Filename, size: int = 2**18) -> Iterator[str]:
    """A UTF-8 text piece by piece; joined, the pieces are the text, character by character.

    Line ends stay as they are in the file; a byte order mark at its start is left out.

    Args:
        path: The file.
        size: Bytes of the file to read for a piece.

    Raises:
        ValueError: The file is not UTF-8; the message says at which byte.
    """
    if size < 1:
        raise ValueError(f"text_chunks expects a size of at least 1 byte; got {size}")
    decoder = codecs.getincrementaldecoder("utf-8")()
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
                    f"{path} is no UTF-8 text: byte {at} (0x{error.object[error.start]:02x}) "
                    f"cannot be read ({error.reason}); convert the file to UTF-8 first"
                ) from None
            if start - kept == 0:
                text = text.removeprefix("\ufeff")
            start += len(piece)
            if text:
                yield text


def read_text(path: Filename) -> str:
    """A UTF-8 text as a whole; see :func:`text_chunks`."""
    return "".join(text_chunks(path))


def letters(text: str) -> str:
    """The text in 27 characters: a to z, and one space for all that stands between them.

    Source: d2l 9.2, "The Time Machine" as a character model reads it.

    >>> letters("The Time Machine, by H. G. Wells [1898]").strip()
    'the time machine by h g wells'
    """
    return re.sub("[^a-z]+", " ", text.lower())


def encode_file(path: Filename, tokenizer: CharTokenizer, into: Filename) -> NDArray[Any]:
    """The ids of a text of any size, in a file: neither text nor ids are ever whole in memory.

    Args:
        path: A UTF-8 text. Its tokenizer can be made in the same way, a piece at a time:
            ``CharTokenizer.from_text(text_chunks(path))``.
        tokenizer: What makes ids of characters.
        into: The ``.npy`` file to write, in the smallest dtype that holds the ids. Read it again
            with ``np.load(into, mmap_mode="r")``.

    Returns:
        The ids (L,) as they lie in that file, for ``RandomWindows`` or ``Streams``.

    Raises:
        ValueError: The text is empty, not UTF-8, or has characters without an id. Nothing is
            written.
    """
    into = Path(into)
    length = sum(map(len, text_chunks(path)))
    if not length:
        raise ValueError(f"{path} is empty: there is nothing to encode")
    unfinished = into.with_name(into.name + ".part")
    try:
        ids = np.lib.format.open_memmap(
            unfinished, mode="w+", dtype=np.min_scalar_type(len(tokenizer) - 1), shape=(length,)
        )
        start = 0
        for text in text_chunks(path):
            try:
                ids[start : start + len(text)] = tokenizer.encode(text)
            except ValueError as error:
                raise ValueError(f"{path}, counted from character {start}: {error}") from None
            start += len(text)
        ids.flush()
        del ids
        unfinished.replace(into)
    finally:
        unfinished.unlink(missing_ok=True)
    written: NDArray[Any] = np.load(into, mmap_mode="r")
    return written
