"""Generation: a model writes a sequence one token at a time and reads each token back.

The model is any *step function* ``step(tokens (N,), state) -> (scores (N, V), state)``: it reads
one token of each of N sequences and returns a score (a logit or a log-probability) for each of the
V tokens that may follow. Functions also choose a token from the scores and decide when to stop:

    stream = seq.generate(step, start, state, length=200,
                          choose=seq.sample(seq.temperature(0.8), seq.top_p(0.9)),
                          stop=seq.end_symbol(vocabulary["<end>"]))
    for tokens in stream: ...          # (N,) as they come; -1 for a sequence that has ended
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..autograd import no_grad
from ..autograd.operands import on_host
from ..backend import generator
from ..nn.checks import integers, positive
from .constraints import Constraint, listed

Array: TypeAlias = np.ndarray[Any, Any]

Step: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]
"""(tokens ``(N,)``, state) -> (scores of the next token ``(N, V)``, state)."""

Choose: TypeAlias = Callable[[Array], Array]
"""scores ``(N, V)`` -> tokens ``(N,)``."""

Filter: TypeAlias = Callable[[Array], Array]
"""scores ``(N, V)`` -> scores ``(N, V)``, -∞ for a token that must not come."""

Stop: TypeAlias = Callable[[Array, Any, int], Any]
"""(tokens just read ``(N,)``, state after them, how many were written) -> ended ``(N,)``."""

NOTHING = -1
"""Stands in the stream for a sequence that has ended."""


# -- choosing a token ------------------------------------------------------------------------------


def greedy(scores: Array) -> Array:
    """The token with the highest score, of equal ones the lowest id.  y = argmax s"""
    best: Array = scores.argmax(axis=-1)
    return best


def sample(*filters: Filter) -> Choose:
    """Draw tokens from softmax(scores), after the filters, in their order.

    One uniform number is drawn for each sequence and step, from the library's generator; the token
    is where the cumulated probabilities pass it.

    Args:
        filters: For example :func:`temperature`, :func:`top_k`, :func:`top_p`, or your own.
    """

    def choose(scores: Array) -> Array:
        scores = scores.astype(np.float64)
        for function in filters:
            scores = function(scores)
        best = scores.max(axis=-1, keepdims=True)
        if not np.isfinite(best).all():
            raise ValueError(f"the filters leave no token to choose: scores of at most {best.T}")
        sums = np.exp(scores - best).cumsum(axis=-1)
        sums /= sums[:, -1:]  # the last is 1 exactly, and a uniform number is below it
        drawn: Array = (sums > generator().random((len(sums), 1))).argmax(axis=-1)
        return drawn

    return choose


def temperature(t: float) -> Filter:
    """s / t: t below 1 makes likely tokens more likely, t above 1 makes all more equal.

    Towards 0 this is :func:`greedy`.
    """
    if not t > 0 or t == np.inf:
        raise ValueError(f"a temperature is a number above 0; got {t} (its limit 0 is seq.greedy)")

    def divide(scores: Array) -> Array:
        with np.errstate(over="ignore"):  # to -∞, which is the limit
            divided: Array = (scores - scores.max(axis=-1, keepdims=True)) / t
        return divided

    return divide


def top_k(k: int) -> Filter:
    """Keep exactly the k best tokens; of equal ones those with lower ids.

    Source: Fan et al. 2018.
    """
    k = positive("top_k", "k", k)
    return lambda scores: np.where(largest(scores, k), scores, -np.inf)


def top_p(p: float) -> Filter:
    """Keep the nucleus: the smallest set of most likely tokens with probability p.

    Of equal tokens those with lower ids come first. With p = 1 every token stays.

    Source: Holtzman et al. 2020, eq. 2.
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p expects a probability above 0 and at most 1; got {p}")

    def keep(scores: Array) -> Array:
        if p == 1:
            return scores
        order = np.argsort(-scores, axis=-1, kind="stable")
        ranked = np.take_along_axis(scores, order, axis=-1)
        probabilities = np.exp(ranked - ranked[:, :1])
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
        before = np.zeros_like(ranked)
        before[:, 1:] = probabilities.cumsum(axis=-1)[:, :-1]
        kept = np.full_like(scores, -np.inf)
        np.put_along_axis(kept, order, np.where(before < p, ranked, -np.inf), axis=-1)
        return kept

    return keep


def largest(scores: Array, k: int) -> Array:
    """A mask of the k largest of each row, of equal ones the first: booleans ``(N, V)``."""
    size = scores.shape[-1]
    if k >= size:
        return np.ones(scores.shape, bool)
    least = np.partition(scores, size - k, axis=-1)[:, size - k, None]
    above, equal = scores > least, scores == least
    left = k - above.sum(axis=-1, keepdims=True)
    kept: Array = above | (equal & (equal.cumsum(axis=-1) <= left))
    return kept


# -- when to stop (Deep Learning, 10.2.3) ----------------------------------------------------------


def end_symbol(token: int) -> Stop:
    """Stop after the end symbol, which is the last token of its sequence."""
    token = operator.index(token)
    return lambda tokens, state, written: (tokens == token) & (written > 0)


def coin(go_on: Callable[[Any], Any]) -> Stop:
    """Stop by a Bernoulli output of the model.  P(go on) = σ(go_on(state))

    Args:
        go_on: Returns the logits ``(N,)`` from the state after the tokens written so far.
    """

    def stop(tokens: Array, state: Any, written: int) -> Array:
        logits = on_host(go_on(state))
        if logits.shape != tokens.shape:
            raise ValueError(
                f"go_on(state) must give one logit for each of {len(tokens)} sequences, of shape "
                f"{tokens.shape}; got shape {logits.shape}"
            )
        missing = np.flatnonzero(np.isnan(logits))
        if missing.size:
            raise ValueError(f"go_on(state) must give a logit; it is NaN for sequence {missing[0]}")
        # u < σ(z) where z > ln u - ln(1-u): a logistic number, which nothing can overflow
        logits = logits.astype(np.float64)
        u = generator().random(len(tokens))
        with np.errstate(divide="ignore"):
            return ~(logits > np.log(u) - np.log1p(-u))

    return stop


def after(lengths: Any) -> Stop:
    """Stop after a number of tokens, for example a predicted length of each sequence.

    Args:
        lengths: Integers ``(N,)`` of at least 0.
    """
    counts = integers("after", "lengths", lengths)
    if counts.ndim != 1 or (counts < 0).any():
        raise ValueError(f"after expects lengths (N,) of at least 0; got {counts.tolist()}")

    def stop(tokens: Array, state: Any, written: int) -> Any:
        if counts.shape != tokens.shape:
            raise ValueError(f"after has {len(counts)} lengths for {len(tokens)} sequences")
        return written >= counts

    return stop


# -- writing ---------------------------------------------------------------------------------------


def generate(
    step: Step,
    tokens: Any,
    state: Any = None,
    *,
    length: int | None,
    choose: Choose = greedy,
    stop: Stop | None = None,
    constrain: Sequence[Constraint] = (),
) -> Iterator[Array]:
    """Write N sequences in parallel, and yield each token as soon as it is chosen.

        s_t, h_t = step(y_{t-1}, h_{t-1}),    y_t = choose(s_t),    until stop

    Nothing is recorded for gradients.

    Args:
        step: ``(tokens (N,), state) -> (scores (N, V), state)``; a score of -∞ excludes a
            token.
        tokens: The first tokens to read ``(N,)``: the start symbol, or the last token of a text
            whose other tokens the state has read.
        state: The first state.
        length: The maximal number of tokens; None for no limit.
        choose: :func:`greedy`, :func:`sample` with its filters, or your own.
        stop: :func:`end_symbol`, :func:`coin`, :func:`after`, or your own; called after each step,
            before a token is chosen.
        constrain: :func:`at_least`, :func:`no_repeats`, or your own: excludes next tokens, given
            the tokens written so far.

    Returns:
        An iterator over tokens ``(N,)``, int64: -1 for sequences that have ended. It ends when all
        have ended. :func:`written` turns it into N arrays.

    Raises:
        TypeError: tokens are not integers, or the step does not return a pair.
        ValueError: a shape does not fit; scores are NaN or +∞, or all of a sequence are -∞.
        IndexError: ``choose`` gives a token that has no score.

    Example:
        >>> from tinygrad_seq import seq
        >>> def count(tokens, state):  # after 3 comes 4: the score of one more is highest
        ...     return np.eye(10)[(tokens + 1) % 10], state
        >>> [int(token) for (token,) in seq.generate(count, [3], length=4)]
        [4, 5, 6, 7]

    Source: Deep Learning, 10.2.3.
    """
    tokens = starting(tokens)
    if length is not None and operator.index(length) < 0:
        raise ValueError(f"generate expects a length of at least 0, or None; got {length}")
    constrain = listed("generate", constrain)
    stream: Iterator[Array] = _stream(step, tokens, state, length, choose, stop, constrain)
    return stream


@no_grad
def _stream(
    step: Step,
    tokens: Array,
    state: Any,
    length: int | None,
    choose: Choose,
    stop: Stop | None,
    constrain: tuple[Constraint, ...],
) -> Iterator[Array]:
    running, count = np.ones(len(tokens), bool), 0
    history = np.empty((len(tokens), 0), np.int64)
    while count != length:
        scores, state = scored(step, tokens, state)
        if stop is not None:
            running &= ~_one_each("stop", "b", stop(tokens, state, count), len(tokens))
            if not running.any():
                return
        for constraint in constrain:
            scores = constraint(scores, history)
        chosen = choose(possible(scores, running))
        tokens = _one_each("choose", "iu", chosen, len(tokens)).astype(np.int64, copy=False)
        wrong = np.flatnonzero((tokens < 0) | (tokens >= scores.shape[1]))
        if wrong.size:
            raise IndexError(
                f"choose gave token {tokens[wrong[0]]} for sequence {wrong[0]}, where scores are "
                f"for tokens 0 to {scores.shape[1] - 1}"
            )
        count += 1
        if constrain:
            history = np.column_stack([history, tokens])
        yield np.where(running, tokens, NOTHING)


def written(stream: Iterable[Array]) -> list[Array]:
    """The sequences of a stream, N arrays of the tokens before each ended.

    Example:
        >>> from tinygrad_seq import seq
        >>> seq.written([np.array([4, 7]), np.array([5, -1])])
        [array([4, 5]), array([7])]
    """
    steps = list(stream)
    if not steps:
        return []
    return [row[row != NOTHING] for row in np.stack(steps, axis=1)]


# -- checks of tokens and scores -------------------------------------------------------------------


def starting(tokens: Any) -> Array:
    """The first tokens, integers ``(N,)``."""
    array = integers("generation", "tokens", tokens)
    if array.ndim != 1 or not array.size:
        raise ValueError(
            "generation starts from one token for each sequence, of shape (N,); "
            f"got shape {array.shape}"
        )
    return array.astype(np.int64)


def scored(step: Step, tokens: Array, state: Any) -> tuple[Array, Any]:
    """The scores ``(N, V)`` and the state that a step function returns."""
    result = step(tokens, state)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"a step function must return the pair (scores, state); got a {type(result).__name__}"
        )
    scores = on_host(result[0])
    if scores.ndim != 2 or len(scores) != len(tokens) or not scores.shape[1]:
        raise ValueError(
            f"a step function must return scores of shape (N, V), N = {len(tokens)} sequences; "
            f"got {scores.shape}"
        )
    return scores, result[1]


def _one_each(owner: str, kinds: str, values: Any, count: int) -> Array:
    """Check that a user's function returned one value per sequence."""
    array = on_host(values)
    if array.shape != (count,) or array.dtype.kind not in kinds:
        kind = "boolean" if kinds == "b" else "integer"
        raise ValueError(
            f"{owner} must give one {kind} for each of {count} sequences; got {array.dtype} of "
            f"shape {array.shape}"
        )
    return array


def possible(scores: Array, running: Array) -> Array:
    """The scores, checked to allow a token for each running sequence; 0 for the others."""
    best = scores.max(axis=-1)  # NaN if any is NaN
    if np.isfinite(best).all():
        return scores
    wrong = np.flatnonzero(running & ~np.isfinite(best))
    if wrong.size:
        n = int(wrong[0])
        kind = {-np.inf: "all -inf: no token is possible", np.inf: "infinite"}
        raise ValueError(f"the scores of sequence {n} are {kind.get(float(best[n]), 'NaN')}")
    return np.where(running[:, None], scores, 0)
