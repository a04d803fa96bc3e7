"""Beam search: the sequences of highest probability that a model can write, or nearly."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Number
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..nn.checks import positive
from ..recurrence import each
from .constraints import Constraint, listed
from .generation import NOTHING, Array, Step, largest, possible, scored, starting


class Hypothesis(NamedTuple):
    """A sequence that beam search found."""

    tokens: Array
    """Its tokens ``(T,)``, int64; the last is the end symbol, unless the length ran out."""
    log_prob: float
    """Σ log p(y_t | y_1 … y_{t-1})."""
    score: float
    """log_prob / T^α."""


def beam_search(
    step: Step,
    tokens: Any,
    state: Any = None,
    *,
    width: int,
    length: int,
    end: int | None = None,
    alpha: float = 0.0,
    constrain: Sequence[Constraint] = (),
) -> list[list[Hypothesis]]:
    """Keep only the best sequences of each length, and extend these.

        score(y_1 … y_T) = Σ_t log p(y_t | y_1 … y_{t-1}) / T^α

    At each step every sequence in the beam is extended by every token, and the best by log p are
    kept. A sequence that ends is stored, and the beam becomes narrower by one. A beam of width 1 is
    the greedy choice; a beam as wide as the number of sequences finds the best.

    Args:
        step: ``(tokens (R,), state) -> (scores (R, V), state)``, as for :func:`generate`, of any
            number R of sequences; log p is the log-softmax of its scores.
        tokens: The first tokens to read ``(N,)``, for N separate searches.
        state: The first state: None, an array, or tuples or dicts of them. **The batch is the axis
            before the last of every part**, as in ``(N, H)``, ``(L*D, N, H)`` and ``(S, N, K)``, or
            its only axis; a part without axes, such as a number, is shared by all
            sequences.
        width: B, the number of sequences kept.
        length: The maximal number of tokens.
        end: The token that ends a sequence; None if there is none.
        alpha: α, the normalisation by length: 0 compares log p, 1 the mean per token.
        constrain: :func:`at_least`, :func:`no_repeats`, or your own: excludes next tokens, given
            the tokens written so far. log p stays that of the model.

    Returns:
        For each of the N searches, at most B hypotheses, the best score first.

    Raises:
        TypeError: tokens are not integers, or the step does not return a pair.
        ValueError: a shape does not fit; scores are NaN or +∞, or all of a sequence are -∞; or the
            constraints exclude every token.

    Source: Sutskever et al. 2014, 3.2; length normalisation: Wu et al. 2016, 7, who have
    (5 + T) / 6 in the place of T.
    """
    tokens = starting(tokens)
    width = positive("beam_search", "width", width)
    length = positive("beam_search", "length", length)
    if not 0 <= alpha < math.inf:
        raise ValueError(f"beam_search expects alpha of at least 0; got {alpha}")
    constrain = listed("beam_search", constrain)
    end = NOTHING if end is None else operator.index(end)

    finished: list[list[Hypothesis]] = [[] for _ in tokens]
    search = np.arange(len(tokens))  # the search that each row of the beam belongs to
    log_p = np.zeros(len(tokens))
    history = np.empty((len(tokens), 0), np.int64)
    with no_grad():
        for t in range(length):
            scores, state = scored(step, tokens, state)
            scores = possible(scores, np.ones(len(tokens), bool)).astype(np.float64)
            following = log_p[:, None] + ops.log_softmax(scores)
            for constraint in constrain:
                following = constraint(following, history)
            free = [width - len(found) for found in finished]
            rows, tokens, log_p = _followers(following, search, free)
            for n in set(search) - set(search[rows]):
                if not finished[n]:
                    raise ValueError(f"the constraints leave search {n} no token after {t}")
            search, history = search[rows], np.column_stack([history[rows], tokens])
            done = (tokens == end) | (t + 1 == length)
            for row in np.flatnonzero(done):
                score = float(log_p[row]) / (t + 1) ** alpha
                finished[search[row]].append(Hypothesis(history[row], float(log_p[row]), score))
            if done.all():
                break
            state = select(state, rows[~done], len(scores))
            search, history, tokens, log_p = (a[~done] for a in (search, history, tokens, log_p))
    return [sorted(found, key=lambda h: -h.score) for found in finished]


def _followers(log_p: Array, search: Array, free: list[int]) -> tuple[Array, Array, Array]:
    """The best continuations of each search.

    Args:
        log_p: log p of each row in the beam followed by each token ``(R, V)``.
        search: The search that each row belongs to ``(R,)``, ascending.
        free: The number of continuations to keep per search.

    Returns:
        (row, token, log p) of the continuations, by search, the best first.
    """
    parts = []
    for n in np.unique(search):
        first, beyond = np.searchsorted(search, [n, n + 1])
        flat = log_p[first:beyond].reshape(1, -1)
        best = np.flatnonzero(largest(flat, free[n]) & (flat > -np.inf))
        best = best[np.argsort(-flat[0, best], kind="stable")]
        row, token = np.divmod(best, log_p.shape[1])
        parts.append((row + first, token, flat[0, best]))
    rows, tokens, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rows, tokens, values


def select(state: Any, rows: Any, batch: int) -> Any:
    """Select sequences of a batched state, in any order, with repeats.

    Args:
        state: None, an array, or tuples or dicts of them. The batch is the axis before the last of
            every part, or its only axis; a part without axes belongs to all sequences.
        rows: The indices of the sequences.
        batch: N, the size of that axis.

    Raises:
        ValueError: that axis of a part has another size.
        TypeError: a part is something else, such as a set.
    """

    def of(part: Any) -> Any:
        shared = part is None or isinstance(part, Number)
        shape = () if shared else getattr(part, "shape", None)
        if shape is None:
            raise TypeError(
                "sequences can be chosen from a state of arrays, numbers, None, or tuples or dicts "
                f"of them; got a {type(part).__name__} in it"
            )
        if not shape:
            return part
        axis = max(len(shape) - 2, 0)
        if shape[axis] != batch:
            raise ValueError(
                f"the batch of {batch} sequences is the axis before the last of every part of a "
                f"state, as in (N, H) and (L*D, N, H), or its only axis; got a part of shape "
                f"{shape}"
            )
        return ops.take(part, rows, axis=axis)

    return each(of, state)
