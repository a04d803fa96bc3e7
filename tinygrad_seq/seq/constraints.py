"""Constraints of generation and beam search: exclude tokens, given the tokens written so far.

A constraint is a function ``(scores (R, V), written (R, t)) -> scores (R, V)`` that returns -∞ for
an excluded token; ``written`` are the tokens so far. It must not change its arguments.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..nn.checks import positive

Array: TypeAlias = np.ndarray[Any, Any]
Constraint: TypeAlias = Callable[[Array, Array], Array]


def listed(owner: str, constrain: Any) -> tuple[Constraint, ...]:
    """The constraints given to a function.

    Raises:
        TypeError: they are no list of functions.
    """
    parts = constrain if isinstance(constrain, list | tuple) else [None]
    if not all(map(callable, parts)):
        raise TypeError(
            f"{owner} expects constrain as a list of functions, such as [seq.no_repeats(2)]; got "
            f"{constrain!r:.80}"
        )
    return tuple(parts)


def at_least(length: int, end: int) -> Constraint:
    """Exclude the end symbol before ``length`` other tokens.

    Args:
        length: The minimal number of tokens, at least 1.
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
    """Exclude repeats of any n consecutive tokens; with n = 1, of any token.

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
