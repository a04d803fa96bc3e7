"""Tables of numbers (CSV), read in pieces."""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nn.checks import flag
from .text import Filename

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
"""What an absent value is written as, in lower case."""


def csv_chunks(
    path: Filename,
    columns: Sequence[str] | Sequence[int] | None = None,
    missing: str = "error",
    *,
    delimiter: str = ",",
    header: bool = True,
    decimal: str = ".",
    thousands: str = "",
    marks: Iterable[str] = (),
    encoding: str = "utf-8",
    rows: int = 2**16,
) -> Iterator[NDArray[np.float64]]:
    """Numbers from a CSV file, piece by piece.

    Empty lines are skipped, as in other readers; nothing else is.

    Args:
        path: The file.
        columns: The columns to read, in this order, by name, or by number from 0 without a
            header; all if None. Other columns may contain anything.
        missing: What to do if a value is missing (empty, or NA, N/A, NaN, null, None):
            ``"error"``, give ``"nan"``, or ``"drop"`` the row.
        delimiter: The separator of cells, such as ``";"`` or a tab.
        header: Whether the first line names the columns.
        decimal: The decimal sign: ``","`` for 3,14.
        thousands: The separator of groups of three digits: ``"."`` for 1.234.567.
        marks: Further notations of a missing value, such as ``["?", "-99.9"]``.
        encoding: The encoding of the file, such as ``"latin-1"``.
        rows: The number of rows per piece.

    Returns:
        Arrays (R, F), R ≤ rows, one column for each of ``columns``.

    Raises:
        ValueError: The file is empty or not in that encoding; a column is not there, or twice; a
            row has more or fewer cells than the first; a cell is no finite number; or two of the
            signs are the same. The message names line and column.
    """
    if missing not in ("error", "nan", "drop"):
        raise ValueError(f'missing must be "error", "nan" or "drop"; got {missing!r}')
    if rows < 1:
        raise ValueError(f"csv_chunks expects rows of at least 1; got {rows}")
    if isinstance(columns, str):
        raise TypeError(f"columns are a list of names; got the string {columns!r}")
    number = _Number(delimiter, decimal, thousands, marks)
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"  # a byte order mark is no part of the first name
    with open(path, encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        lines = _lines(path, reader, encoding)
        first = next(lines, None)
        if flag("csv_chunks", "header", header):
            names, places = _header(path, first, columns, number)
        else:
            names, places = _numbered(path, first, columns)
            lines = chain([first] if first else [], lines)

        def values() -> Iterator[list[float]]:
            for cells in lines:
                where = f"{path}, line {reader.line_num}"
                if len(cells) != len(names):
                    raise ValueError(
                        f"{where}: expected {len(names)} cells, as the first line has; "
                        f"got {len(cells)}"
                    )
                row = [number(cells[at], f"{where}, column {names[at]!r}") for at in places]
                gaps = [names[at] for at, x in zip(places, row, strict=True) if math.isnan(x)]
                if gaps and missing == "error":
                    raise ValueError(
                        f"{where}, column {gaps[0]!r}: the value is missing; with "
                        'missing="nan" it is read as NaN, with missing="drop" the row is left out'
                    )
                if not gaps or missing == "nan":
                    yield row

        found = values()
        while chunk := list(islice(found, rows)):
            yield np.array(chunk, dtype=np.float64)


def read_csv(
    path: Filename,
    columns: Sequence[str] | Sequence[int] | None = None,
    missing: str = "error",
    *,
    delimiter: str = ",",
    header: bool = True,
    decimal: str = ".",
    thousands: str = "",
    marks: Iterable[str] = (),
    encoding: str = "utf-8",
) -> NDArray[np.float64]:
    """All numbers from a CSV file as one array (L, F); arguments are :func:`csv_chunks`'s.

    Raises:
        ValueError: There are no rows; or as :func:`csv_chunks`.
    """
    chunks = list(
        csv_chunks(
            path,
            columns,
            missing,
            delimiter=delimiter,
            header=header,
            decimal=decimal,
            thousands=thousands,
            marks=marks,
            encoding=encoding,
        )
    )
    if not chunks:
        raise ValueError(f"{path} has no rows of numbers below its first line")
    return np.concatenate(chunks)


class _Number:
    """Reads a cell as a finite number, or NaN for one that is missing."""

    def __init__(self, delimiter: str, decimal: str, thousands: str, marks: Iterable[str]) -> None:
        signs = [delimiter, decimal, *([thousands] if thousands else [])]
        if len(set(signs)) < len(signs) or len(decimal) != 1 or len(thousands) > 1:
            raise ValueError(
                f"delimiter {delimiter!r}, decimal {decimal!r} and thousands {thousands!r} must be "
                "different single characters"
            )
        if isinstance(marks, str):
            raise TypeError(f"marks are a list of strings; got the string {marks!r}")
        self.delimiter = delimiter
        self._absent = MISSING | {mark.strip().lower() for mark in marks}
        point, group = re.escape(decimal), re.escape(thousands)
        whole = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d+)" if thousands else r"\d+"
        self._form = re.compile(rf"[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?")
        self._signs = str.maketrans({decimal: ".", **({thousands: None} if thousands else {})})

    def __call__(self, cell: str, where: str) -> float:
        text = cell.strip()
        if text.lower() in self._absent:
            return math.nan
        fits = text.isascii() and self._form.fullmatch(text)
        value = float(text.translate(self._signs)) if fits else math.nan
        if not math.isfinite(value):
            raise ValueError(f"{where}: expected a finite number; got {cell[:60]!r}")
        return value

    def reads(self, cell: str) -> bool:
        """Whether a cell is a number."""
        try:
            return not math.isnan(self(cell, ""))
        except ValueError:
            return False


def _lines(path: Filename, reader: Any, encoding: str) -> Iterator[list[str]]:
    """The rows that are not empty, with the reader's errors as ValueErrors."""
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: no CSV ({error})") from None
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise ValueError(
            f"{path} is no {name} text, somewhere after line {reader.line_num} ({error.reason}); "
            'say what it is written in, such as encoding="latin-1"'
        ) from None


def _header(
    path: Filename, names: list[str] | None, columns: Sequence[Any] | None, number: _Number
) -> tuple[list[str], list[int]]:
    """The names in the first line, and where the columns asked for stand."""
    if names is None:
        raise ValueError(f"{path} is empty: expected a first line that names the columns")
    names = [name.strip() for name in names]
    if columns is None and all(map(number.reads, names)):
        raise ValueError(
            f"{path}: expected a first line that names the columns; got {names!s:.400}: with "
            "header=False it is read as numbers"
        )
    wanted = names if columns is None else list(columns)
    if not wanted:
        raise ValueError("columns names none: give at least one, or None for all")
    for name in wanted:
        if names.count(name) != 1:
            count = names.count(name) or "none"
            raise ValueError(
                f"{path} has {count} of the column {str(name)[:60]!r} in its first line; it has "
                f"{names!s:.400} with {number.delimiter!r} between them"
            )
    return names, [names.index(name) for name in wanted]


def _numbered(
    path: Filename, first: list[str] | None, columns: Sequence[Any] | None
) -> tuple[list[str], list[int]]:
    """Numbers as names for as many columns as the first line has."""
    count = len(first or ())
    places = list(range(count)) if columns is None else list(columns)
    if first and not (places and all(isinstance(p, int) and 0 <= p < count for p in places)):
        raise ValueError(
            f"{path} has columns 0 to {count - 1} and no line that names them; got columns {places}"
        )
    return [str(place) for place in range(count)], places
