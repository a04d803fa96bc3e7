"""What must not be written, given what was: constraints of generation and of beam search.

A constraint is a function ``(scores (R, V), written (R, t)) -> scores (R, V)``, -∞ for a token that
must not come next; ``written`` are the tokens so far. Scores are not to be written into.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..nn.checks import positive

Array: TypeAlias = np.ndarray[Any, Any]
Constraint: TypeAlias = Callable[[Array, Array], Array]


def at_least(length: int, end: int) -> Constraint:
    """The end symbol does not come before so many other tokens.

    Args:
        length: How many, at least 1.
        end: The token that ends a sequence.
    """
    length, end = positive("at_least", "length", length), operator.index(end)

    def constrain(scores: Array, written: Array) -> Array:
        if written.shape[1] >= length:
            return scores
        kept = np.array(scores)
        kept[:, end] = -np.inf
        return kept

    return constrain


def no_repeats(n: int) -> Constraint:
    """No n tokens in a row come twice in a sequence; with n = 1 no token does.

    Source: Paulus et al., "A deep reinforced model for abstractive summarization" (2018), 2.5.
    """
    n = positive("no_repeats", "n", n)

    def constrain(scores: Array, written: Array) -> Array:
        if written.shape[1] < n:
            return scores
        kept = np.array(scores)
        past = np.lib.stride_tricks.sliding_window_view(written, n, axis=1)
        last = written[:, written.shape[1] - (n - 1) :]
        rows, places = np.nonzero((past[..., :-1] == last[:, None]).all(axis=-1))
        kept[rows, past[rows, places, -1]] = -np.inf
        return kept

    return constrain
