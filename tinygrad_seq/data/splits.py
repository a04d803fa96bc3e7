"""Splits data into parts for training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from ..nn.checks import seed_of

S = TypeVar("S", bound="Sliceable")
T = TypeVar("T")


class Sliceable(Protocol):
    """A text, a list or an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Any: ...


def split(sequence: S, validation: float = 0.1) -> tuple[S, S]:
    """Split a text (or its ids) by position: its end is for validation.

    Args:
        sequence: Anything that can be sliced.
        validation: The share of the end, between 0 and 1.

    Returns:
        The beginning, for training, and the end.

    Raises:
        ValueError: One of the two would be empty.
    """
    at = len(sequence) - round(validation * len(sequence)) if 0 < validation < 1 else 0
    if not 0 < at < len(sequence):
        raise ValueError(
            f"split expects a share that leaves both parts something; got validation={validation} "
            f"of {len(sequence)} items"
        )
    return sequence[:at], sequence[at:]


def random_split(
    items: Sequence[T], shares: Sequence[float], seed: int | None = None
) -> list[list[T]]:
    """Split a list at random, each item into one part; a part keeps the order of the list.

    Args:
        items: Sequences, names of files, or pairs ``list(zip(sequences, targets))``.
        shares: The share of each part, which sum to 1: ``(0.8, 0.1, 0.1)``.
        seed: A non-negative number from which the parts are drawn; None takes one from the
            library's generator.

    Returns:
        A list for each share.

    Raises:
        ValueError: The shares do not sum to 1, or a part would be empty.

    Example:
        >>> train, valid = random_split(["a", "b", "c", "d", "e"], (0.6, 0.4), seed=0)
        >>> sorted(train + valid)
        ['a', 'b', 'c', 'd', 'e']
    """
    if not all(0 < share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"random_split expects shares above 0 that sum to 1; got {shares}")
    ends = np.rint(np.cumsum(shares) * len(items)).astype(int)
    counts = np.diff(ends, prepend=0)
    if not (counts > 0).all():
        raise ValueError(
            f"random_split of {len(items)} items would give parts of {counts.tolist()}: each part "
            "needs at least one"
        )
    order = np.random.default_rng(seed_of("random_split", seed)).permutation(len(items))
    return [[items[k] for k in np.sort(part)] for part in np.split(order, ends[:-1])]
