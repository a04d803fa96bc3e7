"""One long text, or series of numbers, as batches of windows, in the two classic ways.

:class:`RandomWindows` cuts it into windows and shuffles them; each is a separate sequence.
:class:`Streams` reads it as N parallel streams, so that batch k + 1 goes on where batch k stopped
and a recurrent net may carry its state across. (d2l 9.3; Mikolov et al. 2010.)

Both give pairs ``(inputs, targets)`` of arrays, shape (T, N), where the target of a position is
what follows it. Ids come as int64; a series (L,) or (L, F) of floats keeps its dtype and gives
(T, N) or (T, N, F). An array in a file (``np.memmap``) is read batch by batch. A loop over them is
one epoch:

    for inputs, targets in RandomWindows(ids, steps=35, batch_size=20):
        ...

``state_dict()`` holds the position; after ``load_state_dict()`` the next loop yields the rest of
that epoch, bit for bit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..nn.checks import positive, seed_of
from .epochs import Epochs

Values: TypeAlias = NDArray[Any]
Places: TypeAlias = NDArray[np.int64]
Pair: TypeAlias = tuple[NDArray[Any], NDArray[Any]]


class _Windows(Epochs[Pair]):
    """The shared part: checks, and cutting a batch from the text."""

    def __init__(self, ids: Any, steps: int, batch_size: int, seed: int | None = None) -> None:
        kind = type(self).__name__
        self.steps = positive(kind, "steps", steps)
        self.batch_size = positive(kind, "batch_size", batch_size)
        self.ids = _checked(ids)
        super().__init__(
            seed,
            steps=self.steps,
            batch_size=self.batch_size,
            length=len(self.ids),
            checksum=zlib.crc32(self.ids.data),
        )

    def _places(self, start: int) -> Iterator[Places]:
        """The positions in the text of each batch's inputs (T, N), from batch ``start`` on."""
        raise NotImplementedError

    def _batches(self, start: int) -> Iterator[Pair]:
        for places in self._places(start):
            yield self._at(places), self._at(places + 1)

    def _at(self, places: Places) -> Values:
        values = np.asarray(self.ids[places])
        return values.astype(np.int64, copy=False) if values.dtype.kind in "iu" else values


class RandomWindows(_Windows):
    """Windows of a text or series in random order, each once in an epoch.

    By default windows are adjacent, and each epoch starts them at another random offset. The grid
    is one window shorter than the text, so all epochs have the same length. With ``stride=1`` they
    start at every place, as in d2l. The last batch may have fewer than N sequences.

    Args:
        ids: The text, integers (L,), or series, floats (L, ...), with L > steps.
        steps: T, the length of a window.
        batch_size: N, the windows in a batch.
        seed: A non-negative number from which offsets and orders are drawn; None takes one from
            the library's generator, so that ``manual_seed`` determines it.
        stride: From the start of a window to that of the next; T if None.

    Raises:
        ValueError: The text is not longer than a window, has another shape, or is not finite; or
            a size is below 1.
        TypeError: It is not of integers or floats.
    """

    def __init__(
        self,
        ids: Any,
        steps: int,
        batch_size: int,
        seed: int | None = None,
        *,
        stride: int | None = None,
    ) -> None:
        super().__init__(ids, steps, batch_size, seed_of("RandomWindows", seed))
        length = len(self.ids)
        if length < steps + 1:
            raise ValueError(
                f"a window of {steps} steps and the target of its last need a text of at least "
                f"{steps + 1} ids; got {length}: give a longer text or fewer steps"
            )
        self.stride = positive("RandomWindows", "stride", steps if stride is None else stride)
        self.windows = max(1, (length - self.steps) // self.stride)
        self._cut["stride"] = self.stride

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.windows // self.batch_size)

    def _places(self, start: int) -> Iterator[Places]:
        rng = self._drawn()
        reach = self.steps + (self.windows - 1) * self.stride
        offset = rng.integers(len(self.ids) - reach)
        first = offset + self.stride * rng.permutation(self.windows)
        inside = np.arange(self.steps)[:, None]
        for k in range(start, len(self)):
            yield inside + first[k * self.batch_size : (k + 1) * self.batch_size]


class Streams(_Windows):
    """A text as N parallel streams, read T steps at a time.

    Column n of every batch belongs to stream n, and the next batch continues where this one ends:
    detach the state of the net between batches, and start an epoch with a new state. The last batch
    of an epoch may have fewer than T steps. Up to N - 1 ids at the end of the text, which do not
    divide into N streams, are left out.

    Args:
        ids: The text, integers (L,), or series, floats (L, ...), with L > steps · batch_size.
        steps: T, the steps of a batch.
        batch_size: N, the number of streams.

    Raises:
        ValueError: A stream would not fill one batch, or the text has another shape, or is not
            finite.
        TypeError: It is not of integers or floats.
    """

    def __init__(self, ids: Any, steps: int, batch_size: int) -> None:
        super().__init__(ids, steps, batch_size)
        length, needed = len(self.ids), steps * batch_size + 1
        if length < needed:
            raise ValueError(
                f"{batch_size} streams of {steps} steps and a target need a text of at least "
                f"{needed} ids; got {length}: give a longer text, fewer streams or fewer steps"
            )
        self.stream_length = (length - 1) // self.batch_size

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.stream_length // self.steps)

    def _places(self, start: int) -> Iterator[Places]:
        first = self.stream_length * np.arange(self.batch_size)
        for k in range(start, len(self)):
            end = min((k + 1) * self.steps, self.stream_length)
            yield np.arange(k * self.steps, end)[:, None] + first


def _checked(ids: Any) -> Values:
    """``ids`` as an array of integers of one axis, or of finite floats."""
    if isinstance(ids, str):
        raise TypeError("expected ids; got a text: encode it first (CharTokenizer)")
    array = np.asarray(ids)
    if not array.size:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"expected ids, or a series of floats; got dtype {array.dtype}")
    if array.ndim == 0 or (array.ndim > 1 and array.dtype.kind != "f"):
        raise ValueError(f"expected the ids of one text, shape (L,); got shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        at = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=1)))
        raise ValueError(f"a series must be finite; got {array[at]} at step {at}")
    return np.ascontiguousarray(array)
