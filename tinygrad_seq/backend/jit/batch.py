"""How a batch is laid out for compiled steps: shares of threads, packed weights, plain arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import threads
from ..recurrence.common import Array
from .packing import pack_gates
from .thin import LANES, TILES, tiling

WORK = 12_000_000
"""Fewer multiplications in all steps are not worth a thread: a third of a millisecond."""

TOGETHER = 2048
"""The gates take up to so many numbers at a time: they stay in the first cache."""


class Layout(NamedTuple):
    """How products over gates are tiled, and how many numbers the gates take at a time.

    Attributes:
        apart: Whether each gate is a product of its own: its sums then come in one piece.
        rows, vectors: The tiling of the products.
        length: So many numbers at a time, those of some whole rows.
    """

    apart: bool
    rows: int
    vectors: int
    length: int

    def pack(self, A: Array, gates: int, halved: int = 0, turn: int = 0) -> Array:
        """The weights of gates ``(gates*H, K)``, turned and halved as by ``blocks_of``."""
        return pack_gates(plain(A), gates, halved, turn, self.vectors, self.apart)

    def tile(self, *biases: Array) -> Array:
        """Vectors ``(H,)``, each repeated for the rows taken at a time: ``(biases, length)``."""
        return np.stack([np.tile(b, self.length // len(b)) for b in biases])


def layout(N: int, share: int, gates: int, H: int, mask: Array | None) -> Layout:
    """Gates apart, where that needs no padding; side by side for few rows, whose tiles are wide."""
    rows, vectors = tiling(share, H)
    if H % (vectors * LANES) == 0 and share > min(TILES.values()):
        return Layout(True, rows, vectors, together(N, share, H, mask))
    return Layout(False, *tiling(share, gates * H), H)


def share_of(T: int, N: int, weights: int) -> int:
    """How many sequences a thread takes, at least 4, where a step multiplies so many weights."""
    return threads.share(N, max(4, WORK // (T * weights)))


def together(N: int, share: int, H: int, mask: Array | None) -> int:
    """How many numbers the gates take at a time: rows that divide each share; one if masked."""
    count = 1
    while mask is None and N % share == share % (2 * count) == 0 and 2 * count * H <= TOGETHER:
        count *= 2
    return count * H


def needed(mask: Array | None) -> Array | None:
    """The mask, or None if nothing is padding."""
    return None if mask is None or mask.all() else mask


def masking(mask: Array | None) -> tuple[Array, bool]:
    """The mask as the compiled functions take it, and whether there is one."""
    return (np.empty((1, 1), bool), False) if mask is None else (plain(mask), True)


def upstream(gy: Array | None) -> tuple[Array, bool]:
    """ȳ as the compiled functions take it, ``(T, N*H)``, and whether it is given."""
    return (np.empty((1, 1), np.float32), False) if gy is None else (flat(plain(gy)), True)


def plain(a: Array) -> Array:
    """The array, or a copy in the one form that is compiled for: C order, aligned, writeable."""
    return np.require(a, requirements=["C", "A", "W"])


def flat(a: Any) -> Any:
    """States ``(..., N, H)`` as ``(..., N*H)``, a view."""
    return a.reshape(*a.shape[:-2], -1)
