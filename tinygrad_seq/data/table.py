"""Tables of numbers (CSV), read in pieces, and their normalisation."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import default_dtype
from .text import Filename

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
"""What an absent value is written as, in lower case."""


def csv_chunks(
    path: Filename,
    columns: Sequence[str] | None = None,
    missing: str = "error",
    *,
    delimiter: str = ",",
    rows: int = 2**16,
) -> Iterator[NDArray[np.float64]]:
    """Numbers from a CSV file whose first line names the columns, piece by piece.

    Empty lines are passed over, as in other readers; nothing else is. Numbers have a decimal point.

    Args:
        path: A UTF-8 file.
        columns: The columns to read, in this order; all if None. Others may hold anything.
        missing: What to do where a value is absent (empty, or NA, NaN, null, None):
            ``"error"``, give ``"nan"``, or ``"drop"`` the row.
        delimiter: What stands between the cells, such as ``";"`` or a tab.
        rows: Rows in a piece.

    Returns:
        Arrays (R, F), R ≤ rows, one column for each of ``columns``.

    Raises:
        ValueError: The file is empty or not UTF-8; a column is not there, or twice; a row has more
            or fewer cells than the first; a cell is no finite number. The message names line and
            column.
    """
    if missing not in ("error", "nan", "drop"):
        raise ValueError(f'missing must be "error", "nan" or "drop"; got {missing!r}')
    if rows < 1:
        raise ValueError(f"csv_chunks expects rows of at least 1; got {rows}")
    if isinstance(columns, str):
        raise TypeError(f"columns are a list of names; got the string {columns!r}")
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        lines = _lines(path, reader)
        names, places = _header(path, next(lines, None), columns, delimiter)

        def values() -> Iterator[list[float]]:
            for cells in lines:
                where = f"{path}, line {reader.line_num}"
                if len(cells) != len(names):
                    raise ValueError(
                        f"{where}: expected {len(names)} cells, as the first line has; "
                        f"got {len(cells)}"
                    )
                row = [_number(cells[at], f"{where}, column {names[at]!r}") for at in places]
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
    columns: Sequence[str] | None = None,
    missing: str = "error",
    *,
    delimiter: str = ",",
) -> NDArray[np.float64]:
    """Numbers from a CSV file as one array (L, F); see :func:`csv_chunks`.

    Raises:
        ValueError: There are no rows; or as :func:`csv_chunks`.
    """
    chunks = list(csv_chunks(path, columns, missing, delimiter=delimiter))
    if not chunks:
        raise ValueError(f"{path} has no rows of numbers below its first line")
    return np.concatenate(chunks)


class Standardizer:
    """Numbers as the net reads them: z = (x - mean) / std, with the statistics of training data.

    Args:
        train: The training data, finite, shape (L,) or (..., F): each feature on the last axis has
            its own mean and standard deviation; of (L,) all are one feature.

    Attributes:
        mean, std: (F,), or numbers; std is 1 for a feature that is constant.

    Raises:
        ValueError: No data, or not finite: nothing may come from a gap, or from the test data; of
            the methods, other features.
    """

    def __init__(self, train: Any) -> None:
        x = np.asarray(train, dtype=np.float64)
        if not x.size or not np.isfinite(x).all():
            raise ValueError(
                f"Standardizer expects finite training data; got shape {x.shape} with "
                f"{np.count_nonzero(~np.isfinite(x))} values that are not finite"
            )
        axes = tuple(range(x.ndim - 1)) if x.ndim > 1 else None
        self.mean = x.mean(axis=axes)
        std = x.std(axis=axes)
        self.std = np.where((np.ptp(x, axis=axes) > 0) & (std > 0), std, 1.0)

    def encode(self, x: Any) -> NDArray[Any]:
        """(x - mean) / std, in the default float."""
        z: NDArray[Any] = (self._checked(x) - self.mean) / self.std
        return z.astype(default_dtype())

    def decode(self, z: Any) -> NDArray[np.float64]:
        """What :meth:`encode` read: z · std + mean."""
        x: NDArray[np.float64] = self._checked(z).astype(np.float64) * self.std + self.mean
        return x

    def _checked(self, x: Any) -> NDArray[Any]:
        """Numbers with the features of the training data: nothing is broadcast."""
        array = np.asarray(x)
        count = self.mean.size
        if count > 1 and array.shape[-1:] != (count,):
            raise ValueError(
                f"Standardizer expects {count} features on the last axis, as its training data "
                f"have; got shape {array.shape}"
            )
        return array


def _lines(path: Filename, reader: Any) -> Iterator[list[str]]:
    """The rows that are not empty, with the reader's complaints as sentences."""
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: no CSV ({error})") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no UTF-8 text, somewhere after line {reader.line_num} ({error.reason}); "
            "convert the file to UTF-8 first"
        ) from None


def _header(
    path: Filename, names: list[str] | None, columns: Sequence[str] | None, delimiter: str
) -> tuple[list[str], list[int]]:
    """The names in the first line, and where the columns asked for stand."""
    if names is None:
        raise ValueError(f"{path} is empty: expected a first line that names the columns")
    names = [name.strip() for name in names]
    if columns is None and all(map(_is_number, names)):
        raise ValueError(f"{path}: expected a first line that names the columns; got {names}")
    wanted = names if columns is None else list(columns)
    if not wanted:
        raise ValueError("columns names none: give at least one, or None for all")
    for name in wanted:
        if names.count(name) != 1:
            count = names.count(name) or "none"
            raise ValueError(
                f"{path} has {count} of the column {name!r} in its first line; it has {names} "
                f"with {delimiter!r} between them"
            )
    return names, [names.index(name) for name in wanted]


def _is_number(cell: str) -> bool:
    try:
        return not math.isnan(_number(cell, ""))
    except ValueError:
        return False


def _number(cell: str, where: str) -> float:
    """A finite number, or NaN for one that is missing."""
    text = cell.strip()
    if text.lower() in MISSING:
        return math.nan
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: expected a finite number; got {cell!r}")
    return value
