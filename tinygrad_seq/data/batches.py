"""Sequences of unequal lengths, with their targets, as padded batches."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..nn.checks import flag, positive, seed_of
from .epochs import Epochs
from .padding import as_sequences, holds, laid

Arrays: TypeAlias = list[NDArray[Any]]


class Batch(NamedTuple):
    """A batch of :class:`Batches`: ``x, lengths, y, y_lengths = batch``."""

    inputs: NDArray[Any]
    """``(T, N, ...)``, padded to the longest of the batch."""
    lengths: NDArray[np.int64]
    """Of each sequence ``(N,)``: ``lengths=`` of a recurrent layer."""
    targets: NDArray[Any] | None
    """One for each sequence ``(N, ...)``, or sequences ``(S, N, ...)``, padded; None if none."""
    target_lengths: NDArray[np.int64] | None
    """Of each target that is a sequence ``(N,)``."""


class Batches(Epochs[Batch]):
    """Sequences of unequal lengths in batches, each sequence once in an epoch.

        batches = data.Batches(sequences, 32, labels, bucket=50)
        for x, lengths, y, _ in batches:
            h, _ = lstm(x, lengths=lengths)

    ``state_dict()`` holds the position; after ``load_state_dict()`` the next loop yields the rest
    of that epoch, bit for bit. The last batch may be smaller.

    Args:
        sequences: L arrays or lists (T_n, ...), T_n ≥ 1, with equal trailing axes and one dtype;
            integers come as int64.
        batch_size: N, sequences in a batch.
        targets: One for each sequence, or None: an array (L, ...), whose rows are stacked; or a
            list, of numbers, or of sequences (S_n, ...), S_n ≥ 0, which are padded: a target for
            each step, or labels for :func:`~tinygrad_seq.nn.ctc_loss` (which takes ``y.T``).
        shuffle: Whether each epoch has a new random order.
        bucket: How many batches of sequences are sorted by length together, so that sequences of a
            batch have similar lengths and little padding; 1 to switch this off. A larger bucket
            makes the order less random.
        pad: The padding of inputs.
        target_pad: The padding of targets that are sequences; if None, -100 (which losses of
            classes ignore) for integers and 0 for floats.
        part: (rank, size) of a process in a team: it gets the sequences rank, rank + size, ... of
            every batch, maybe none of a small one, padded as the whole batch is.
        seed: A non-negative seed of the orders; None draws one from the library's generator, so
            that ``manual_seed`` determines it.

    Raises:
        ValueError: No sequences, an empty one, shapes or numbers that do not fit.
        TypeError: Different dtypes, texts, or a dtype that cannot hold the padding.
    """

    def __init__(
        self,
        sequences: Iterable[Any],
        batch_size: int,
        targets: Any = None,
        *,
        shuffle: bool = True,
        bucket: int = 1,
        pad: float = 0,
        target_pad: float | None = None,
        part: tuple[int, int] = (0, 1),
        seed: int | None = None,
    ) -> None:
        self.batch_size = positive("Batches", "batch_size", batch_size)
        self.bucket = positive("Batches", "bucket", bucket)
        self.shuffle = flag("Batches", "shuffle", shuffle)
        rank, size = part
        if not 0 <= rank < size:
            raise ValueError(f"Batches expects part=(rank, size), 0 ≤ rank < size; got {part}")
        self.part = (rank, size)
        self.sequences = _wide(as_sequences("Batches", sequences))
        self.pad = _fitting(self.sequences, pad)
        self.lengths = np.array([len(sequence) for sequence in self.sequences])
        self.targets, self._padded = _targets(targets, len(self.sequences))
        if target_pad is None and self._padded:
            target_pad = -100 if self.targets[0].dtype.kind == "i" else 0
        self.target_pad = _fitting(self.targets, target_pad) if self._padded else 0
        checksum = 0
        for array in (*self.sequences, *(() if self.targets is None else self.targets)):
            checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
        super().__init__(
            seed_of("Batches", seed) if shuffle else None,
            batch_size=self.batch_size,
            bucket=self.bucket,
            sequences=len(self.sequences),
            checksum=checksum,
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.sequences) // self.batch_size)

    def _batches(self, start: int) -> Iterator[Batch]:
        count = len(self.sequences)
        firsts = np.arange(0, count, self.batch_size)
        order = np.arange(count)
        rng = self._drawn()
        if self.shuffle:
            order = rng.permutation(count)
        if self.bucket > 1:
            reach = self.bucket * self.batch_size
            for k in range(0, count, reach):
                pool = order[k : k + reach]
                order[k : k + reach] = pool[np.argsort(self.lengths[pool], kind="stable")]
            if self.shuffle:
                rng.shuffle(firsts)
        for first in firsts[start:]:
            yield self._batch(order[first : first + self.batch_size])

    def _batch(self, rows: NDArray[Any]) -> Batch:
        rank, size = self.part
        mine = rows[rank::size]
        inputs, lengths = _side_by_side(self.sequences, rows, mine, self.pad)
        if self.targets is None:
            return Batch(inputs, lengths, None, None)
        if self._padded:
            targets, target_lengths = _side_by_side(self.targets, rows, mine, self.target_pad)
            return Batch(inputs, lengths, targets, target_lengths)
        return Batch(inputs, lengths, self.targets[mine], None)


def _side_by_side(
    arrays: Arrays, rows: NDArray[Any], mine: NDArray[Any], value: float
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Some of the sequences of a batch, padded as all of them are."""
    steps = max(len(arrays[k]) for k in rows)
    if mine.size:
        return laid("Batches", [arrays[k] for k in mine], value, steps)
    nothing = np.empty((steps, 0, *arrays[0].shape[1:]), arrays[0].dtype)
    return nothing, np.empty(0, np.int64)


def _targets(targets: Any, count: int) -> tuple[Any, bool]:
    """Targets as an array of rows, or as a list of sequences; and whether they are the latter."""
    if targets is None:
        return None, False
    if not isinstance(targets, np.ndarray):
        targets = list(targets)
        if targets and np.ndim(targets[0]):
            targets = _wide(as_sequences("Batches (targets)", targets, least=0))
    padded = isinstance(targets, list) and bool(targets) and np.ndim(targets[0]) > 0
    if not padded:
        (targets,) = _wide([np.asarray(targets)])
        if targets.dtype.kind not in "fib":
            raise TypeError(f"Batches expects targets that are numbers; got {targets.dtype}")
    if len(targets) != count:
        raise ValueError(f"Batches got {len(targets)} targets for {count} sequences")
    return targets, padded


def _wide(arrays: Arrays) -> Arrays:
    """Integers as int64, which indices are and paddings fit."""
    if arrays[0].dtype.kind not in "iu":
        return arrays
    return [array.astype(np.int64, copy=False) for array in arrays]


def _fitting(arrays: Arrays, value: Any) -> Any:
    """The padding, if the dtype of the sequences can hold it."""
    if not holds(arrays[0].dtype, value):
        raise TypeError(f"a padding of {value!r} does not fit sequences of {arrays[0].dtype}")
    return value
