"""The n-gram model: the yardstick that a recurrent net must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class NGram:
    """A language model that looks back at ``order - 1`` tokens, smoothed by Witten and Bell's rule.

        P_k(w | h) = (c(h w) + d(h) P_{k-1}(w | h')) / (c(h) + d(h)),   P_0(w) = 1 / V

    with c the counts in the training text, d(h) how many different tokens followed the context h,
    and h' the context h without its first token. Where h was never seen, P_k = P_{k-1}; so every
    token has a positive probability, and there is nothing to tune.

    Args:
        order: n: 1 for unigrams, 2 for bigrams, 3 for trigrams.
        size: V, the number of tokens in the vocabulary.

    Raises:
        ValueError: ``order`` or ``size`` is below 1, or Vⁿ does not fit 63 bits.

    Source: Witten & Bell, "The zero-frequency problem" (1991), interpolated as in Chen & Goodman,
    "An empirical study of smoothing techniques for language modeling" (1998), §2.6.
    """

    def __init__(self, order: int, size: int) -> None:
        if order < 1 or size < 1:
            raise ValueError(f"NGram expects order and size of at least 1; got {order} and {size}")
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
        self._tables = [_Counts(ids, k, self.size) for k in range(1, self.order + 1)]
        return self

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
        for k, counts in enumerate(self._tables, start=1):
            seen, context, kinds = counts.of(ids)
            total = context + kinds
            lower = p[k - 1 :]
            p[k - 1 :] = np.where(total > 0, (seen + kinds * lower) / np.maximum(total, 1), lower)
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
    """How often each k-gram of a text occurs, and what is known of its context."""

    def __init__(self, ids: NDArray[np.int64], k: int, size: int) -> None:
        self.k, self.size = k, size
        self.grams, self.gram_counts = np.unique(self._number(ids), return_counts=True)
        contexts, first = np.unique(self.grams // size, return_index=True)
        self.contexts = contexts
        self.context_counts = np.add.reduceat(self.gram_counts, first)
        self.kinds = np.diff(first, append=len(self.grams))

    def of(
        self, ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """c(h w), c(h) and d(h) of each k-gram of ``ids``, shape (L - k + 1,)."""
        numbers = self._number(ids)
        gram, known_gram = _find(self.grams, numbers)
        context, known_context = _find(self.contexts, numbers // self.size)
        return (
            np.where(known_gram, self.gram_counts[gram], 0),
            np.where(known_context, self.context_counts[context], 0),
            np.where(known_context, self.kinds[context], 0),
        )

    def _number(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Each k-gram as one number, its last token the lowest digit in base V."""
        numbers = np.zeros(max(len(ids) - self.k + 1, 0), dtype=np.int64)
        for i in range(self.k):
            numbers = numbers * self.size + ids[i : i + len(numbers)]
        return numbers


def _find(
    table: NDArray[np.int64], values: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each value stands in a sorted table, and whether it is there at all."""
    place = np.minimum(np.searchsorted(table, values), len(table) - 1)
    return place, table[place] == values
