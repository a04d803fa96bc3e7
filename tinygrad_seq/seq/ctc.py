"""Decodes the outputs of a net that was trained with :func:`tinygrad_seq.nn.ctc_loss`.

A path has a class for each step. Its labels are what remains after merging repeats and removing
blanks. Many paths have the same labels, so the best path need not give the most likely labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.operands import on_host
from ..nn.checks import indices, positive, valid_steps
from .beam import Hypothesis
from .generation import Array


def ctc_greedy(log_probs: Any, lengths: Any = None, blank: int = 0) -> list[Array]:
    """The labels of the most likely path.

    Args:
        log_probs: ``(T, N, C)``, floating; any scores, because only their order matters.
        lengths: Steps of each sequence ``(N,)``, 1 to T; all T if None.
        blank: The class that says nothing.

    Returns:
        For each sequence its labels, int64.

    Raises:
        ValueError: shapes or lengths do not fit, or a score is NaN.
        IndexError: the blank is out of range.

    Example:
        >>> scores = np.eye(3)[[1, 1, 0, 1, 2]][:, None]
        >>> ctc_greedy(scores)
        [array([1, 1, 2])]

    Source: Graves et al., "Connectionist temporal classification" (2006), 3.2.
    """
    scores, blank, steps = _checked("ctc_greedy", log_probs, lengths, blank)
    best = scores.argmax(axis=-1)
    changes = np.concatenate([np.ones((1, best.shape[1]), bool), best[1:] != best[:-1]])
    said = changes & (best != blank)
    return [best[:t, n][said[:t, n]] for n, t in enumerate(steps)]


def ctc_beam_search(
    log_probs: Any, width: int, lengths: Any = None, blank: int = 0
) -> list[list[Hypothesis]]:
    """Approximately the most likely labels, summed over their paths: prefix beam search.

    For each prefix there are two sums over its paths of t steps: b over those that end in a blank,
    and n over the others. Each step keeps only the best prefixes. With l the last label of a prefix
    y, and y⁻ the prefix without it,

        b_t(y) = (b_{t-1}(y) + n_{t-1}(y)) p_t(blank)
        n_t(y) = (n_{t-1}(y) + b_{t-1}(y⁻) + [y⁻ does not end in l] n_{t-1}(y⁻)) p_t(l)

    Args:
        log_probs: Log-probabilities ``(T, N, C)``, floating.
        width: The number of prefixes kept. With all prefixes it finds the most likely labels.
        lengths: Steps of each sequence ``(N,)``, 1 to T; all T if None.
        blank: The class that says nothing.

    Returns:
        For each sequence at most ``width`` hypotheses, the most likely first. ``log_prob`` is
        ln P(labels), without the paths of prefixes that were dropped; ``score`` is the same.

    Raises:
        ValueError: shapes or lengths do not fit, or a log-probability is NaN.
        IndexError: the blank is out of range.

    Source: Hannun et al., "First-pass large vocabulary continuous speech recognition using
    bi-directional recurrent DNNs" (2014), algorithm 1, without its language model.
    """
    width = positive("ctc_beam_search", "width", width)
    scores, blank, steps = _checked("ctc_beam_search", log_probs, lengths, blank)
    return [_search(scores[:t, n], width, blank) for n, t in enumerate(steps)]


def _search(log_probs: Array, width: int, blank: int) -> list[Hypothesis]:
    """The best labels of one sequence ``(T, C)``. A prefix is a number: its parent and last label
    are in a list, and its extensions in a dict."""
    tree: list[tuple[int, int]] = [(-1, blank)]
    number: dict[tuple[int, int], int] = {}
    prefixes = [0]
    b, n = np.zeros(1), np.full(1, -np.inf)
    for p in log_probs:
        place = {prefix: k for k, prefix in enumerate(prefixes)}
        last = np.array([tree[prefix][1] for prefix in prefixes])
        every = np.arange(len(prefixes))
        both = np.logaddexp(b, n)
        longer = both[:, None] + p
        longer[every, last] = b + p[last]  # a repeat needs a blank between; the blank itself: below
        longer[:, blank] = -np.inf
        b, n = both + p[blank], np.where(last == blank, -np.inf, n + p[last])
        for k, prefix in enumerate(prefixes):
            parent, label = tree[prefix]
            if parent in place:
                n[k] = np.logaddexp(n[k], longer[place[parent], label])
                longer[place[parent], label] = -np.inf
        found = np.concatenate([np.logaddexp(b, n), longer.reshape(-1)])
        best = np.argsort(-found, kind="stable")[:width]
        best = best[found[best] > -np.inf]
        stay, grow = best[best < len(every)], best[best >= len(every)] - len(every)
        kept = [prefixes[k] for k in stay]
        for k, label in zip(*np.divmod(grow, len(p)), strict=True):
            edge = prefixes[k], int(label)
            if edge not in number:
                number[edge] = len(tree)
                tree.append(edge)
            kept.append(number[edge])
        b = np.concatenate([b[stay], np.full(len(grow), -np.inf)])
        n = np.concatenate([n[stay], longer.reshape(-1)[grow]])
        prefixes = kept
    total = np.logaddexp(b, n)
    order = np.argsort(-total, kind="stable")
    return [Hypothesis(_labels(tree, prefixes[k]), *[float(total[k])] * 2) for k in order]


def _labels(tree: list[tuple[int, int]], prefix: int) -> Array:
    labels = []
    while prefix:
        prefix, label = tree[prefix]
        labels.append(label)
    return np.array(labels[::-1], np.int64)


def _checked(owner: str, log_probs: Any, lengths: Any, blank: int) -> tuple[Array, int, Any]:
    """Scores on the host in float64, the blank, and the steps of each sequence."""
    scores = on_host(log_probs)
    if scores.ndim != 3 or not scores.shape[0] or not scores.shape[2] or scores.dtype.kind != "f":
        raise ValueError(
            f"{owner} expects floating log_probs (T, N, C), with T and C of at least 1; got "
            f"{scores.dtype} of shape {scores.shape}"
        )
    blank = int(indices(owner, "blank", blank, scores.shape[2]))
    valid = valid_steps(lengths, None, scores.shape, owner)
    steps = np.full(scores.shape[1], len(scores)) if valid is None else valid.sum(axis=0)
    wrong = np.isnan(scores) & (np.arange(len(scores))[:, None] < steps)[..., None]
    if wrong.any():
        t, n, c = np.argwhere(wrong)[0]
        raise ValueError(f"{owner} got NaN for class {c} at step {t} of sequence {n}")
    return scores.astype(np.float64), blank, steps
