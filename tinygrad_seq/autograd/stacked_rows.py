"""Gradients that sum over rows, formed once for all the calls that share an argument.

A weight U that every step of a sequence multiplies gets Ū = Σₜ hₜᵀ ȳₜ: a thin product and a sum of
the whole weight at each step. Stacked, it is one product, [h₁; …; h_T]ᵀ [ȳ₁; …; ȳ_T], the same but
for rounding. The rows wait in :class:`StackedRows` until the gradient is asked for, or until there
are enough of them for a product to be at its full speed.

Without it, an LSTM that a user writes as ``x[t] @ w + h @ u`` in a loop takes 1.05, 1.07 and 1.21
times as long (forward and backward of 100 steps of 32 rows, 64, 128 and 256 units
by ``benchmarks/stacked_rows.py``, on one thread of a busy machine).
"""

from __future__ import annotations

from typing import Any

from ..backend import is_array, xp
from .graph import Node, Source, Use

ENOUGH = 1024  # rows: a longer product is no faster, and they are kept alive until it is formed


class StackedRows:
    """The gradient of one argument of a node, as rows of g and of what the rule multiplies."""

    __slots__ = ("count", "g", "node", "rows", "saved", "use")

    def __init__(self, node: Node, use: Use, g: Any) -> None:
        assert use.rows is not None
        self.node = node
        self.use = use
        self.saved = node.kept()
        self.g = [_matrix(g)]
        self.rows = [_matrix(self.saved[use.rows])]
        self.count = len(self.g[0])

    def takes(self, other: StackedRows) -> bool:
        """Take the rows of another gradient of the same argument, unless there are enough.

        The other values of the rule must be the same: a parameter, a shape, the same array.
        """
        if self.count >= ENOUGH or other.use.rule is not self.use.rule:
            return False
        for j, k in zip(self.use.takes, other.use.takes, strict=True):
            mine, theirs = self.saved[j], other.saved[k]
            if j != self.use.rows and mine is not theirs and (is_array(mine) or mine != theirs):
                return False
        self.g += other.g
        self.rows += other.rows
        self.count += other.count
        return True

    def formed(self) -> Any:
        """The gradient itself: the rule applied once, to all rows."""
        saved = list(self.saved)
        g, rows = self.g[0], self.rows[0]
        if len(self.g) > 1:
            np = xp(g)
            g, rows = np.concatenate(self.g), np.concatenate(self.rows)
        assert self.use.rows is not None
        saved[self.use.rows] = rows
        return self.use.rule(g, *[saved[k] for k in self.use.takes])


def few_rows(g: Any, rows: Any, source: Source) -> bool:
    """Whether the gradient of ``source`` is a product of a few rows, worth waiting for more."""
    if not g.ndim == rows.ndim <= 2 == len(source.shape):
        return False
    return bool(g.ndim == 1 or len(g) < ENOUGH // 2)


def _matrix(rows: Any) -> Any:
    return rows if rows.ndim == 2 else rows[None]
