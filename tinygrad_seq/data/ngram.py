"""The n-gram model, a baseline for recurrent nets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..messages import Hinted
from ..nn.checks import positive


class NGram(Hinted):
    """A language model that looks back at ``order - 1`` tokens, with modified Kneser–Ney smoothing.

        P_k(w | h) = (c(h w) - D(c(h w))) / c(h) + γ(h) P_{k-1}(w | h'),    P_0(w) = 1 / V
        γ(h) = Σ_w D(c(h w)) / c(h)

    with h' the context h without its first token, and c(h) = Σ_w c(h w). At the highest order c
    counts how often a k-gram occurs in the training text; below, how many *different* tokens stand
    before it: "Francisco" is frequent, but follows one word only. The discount D(c) is 0 for c = 0,
    and D_1, D_2, D_3 for c = 1, c = 2, c ≥ 3, each order's own, from the numbers n_c of k-grams
    whose count is c:

        D_c = c - (c + 1) Y n_{c+1} / n_c,    Y = n_1 / (n_1 + 2 n_2)

    What is taken away goes to the shorter context, so the probabilities of all tokens sum to 1
    after any context, and each is positive. After a context that was never seen, P_k = P_{k-1}.
    Where these estimates do not exist or leave 0 < D_c < c (a short text, or a small vocabulary
    whose every token is frequent), the order takes 1/2, 1, 3/2.

    Args:
        order: n: 1 for unigrams, 2 for bigrams, 3 for trigrams.
        size: V, the number of tokens in the vocabulary.

    Raises:
        ValueError: ``order`` or ``size`` is below 1, or Vⁿ does not fit 63 bits.

    Source: Kneser & Ney, "Improved backing-off for m-gram language modeling" (1995); modified and
    interpolated as in Chen & Goodman, "An empirical study of smoothing techniques for language
    modeling" (1998), eq. 26-27; the last resort is KenLM's (Heafield et al. 2013).
    """

    def __init__(self, order: int, size: int) -> None:
        order, size = positive("NGram", "order", order), positive("NGram", "size", size)
        if size**order >= 2**63:
            raise ValueError(f"{order}-grams of {size} tokens are too many to be numbered")
        self.order = order
        self.size = size
        self._tables: list[_Counts] = []

    def fit(self, ids: Any) -> NGram:
        """Count the n-grams of a text.

        Args:
            ids: The ids of the text, shape (L,), each in ``range(size)``, L ≥ order.

        Returns:
            Itself.
        """
        ids = self._checked(ids, self.order)
        self._tables = []
        for k in range(1, self.order):
            different = np.unique(_numbers(ids, k + 1, self.size))
            self._tables.append(
                _Counts(different % self.size**k, self.size)
            )  # the first one dropped
        self._tables.append(_Counts(_numbers(ids, self.order, self.size), self.size))
        return self

    @property
    def seen(self) -> list[int]:
        """Entries in the table of each order, from unigrams up; of Vᵏ that could be there."""
        return [len(table.grams) for table in self._tables]

    def probabilities(self, ids: Any) -> NDArray[np.float64]:
        """P(ids[t] | the ids before it) for every t; the first ones have shorter contexts.

        Args:
            ids: The ids of a text, shape (L,).

        Returns:
            Shape (L,), float64, all positive.

        Raises:
            RuntimeError: The model has not been fitted.
        """
        if not self._tables:
            raise RuntimeError("NGram has counted nothing yet: call fit(ids) first")
        ids = self._checked(ids, 1)
        p = np.full(len(ids), 1 / self.size)
        for k, table in enumerate(self._tables, start=1):
            share, passed_on = table.of(_numbers(ids, k, self.size))
            p[k - 1 :] = share + passed_on * p[k - 1 :]
        return p

    def cross_entropy(self, ids: Any) -> float:
        """Mean of -ln P over ``ids[1:]`` in nats: the positions that a recurrent net predicts.

        Args:
            ids: The ids of a text, shape (L,), L ≥ 2.
        """
        return float(-np.log(self.probabilities(self._checked(ids, 2))[1:]).mean())

    def _checked(self, ids: Any, shortest: int) -> NDArray[np.int64]:
        array = np.asarray(ids)
        if array.ndim != 1 or len(array) < shortest:
            raise ValueError(
                f"NGram(order={self.order}) expects ids of shape (L,) with L of at least "
                f"{shortest}; got shape {array.shape}"
            )
        if array.dtype.kind not in "iu":
            raise TypeError(f"ids are integers; got dtype {array.dtype}")
        if array.min() < 0 or array.max() >= self.size:
            raise IndexError(
                f"ids must be in range({self.size}); got {array.min()} to {array.max()}"
            )
        return array.astype(np.int64, copy=False)


class _Counts:
    """The k-grams of one order with what is left of their counts, and what their contexts gave up.

    Args:
        numbers: The k-grams, each as often as it counts.
        size: V.
    """

    def __init__(self, numbers: NDArray[np.int64], size: int) -> None:
        self.size = size
        self.grams, counts = np.unique(numbers, return_counts=True)
        self.contexts, first = np.unique(self.grams // size, return_index=True)
        taken = _discounts(counts)[np.minimum(counts, 3) - 1]
        total = np.add.reduceat(counts, first)
        self.shares = (counts - taken) / np.repeat(total, np.diff(first, append=len(self.grams)))
        self.passed_on = np.add.reduceat(taken, first) / total

    def of(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(c(h w) - D) / c(h) and γ(h) of each k-gram; 0 and 1 after a context never seen."""
        gram, known_gram = _find(self.grams, numbers)
        context, known_context = _find(self.contexts, numbers // self.size)
        share = np.where(known_gram, self.shares[gram], 0.0)
        return share, np.where(known_context, self.passed_on[context], 1.0)


def _discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """D_1, D_2, D_3, estimated from the counts of one order."""
    n = np.bincount(np.minimum(counts, 5), minlength=5).astype(float)
    c = np.arange(1, 4)
    if n[1:].all():
        y = n[1] / (n[1] + 2 * n[2])
        estimate: NDArray[np.float64] = c - (c + 1) * y * n[2:5] / n[1:4]
        if (estimate > 0).all():
            return estimate
    return c / 2


def _numbers(ids: NDArray[np.int64], k: int, size: int) -> NDArray[np.int64]:
    """Each k-gram of a text as one number, its last token the lowest digit in base V."""
    numbers = np.zeros(max(len(ids) - k + 1, 0), dtype=np.int64)
    for i in range(k):
        numbers = numbers * size + ids[i : i + len(numbers)]
    return numbers


def _find(
    table: NDArray[np.int64], values: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The place of each value in a sorted table, and whether the table has it."""
    place = np.minimum(np.searchsorted(table, values), len(table) - 1)
    return place, table[place] == values
