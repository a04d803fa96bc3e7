"""A chain of hidden values: joint probability, posteriors, missing symbols, the best path.

Shapes: T steps, N sequences, k hidden values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import ops
from ...autograd.operands import on_host
from ...nn.checks import as_tensor, beside, indices, integers, valid_steps, zeros_beside
from ...tensor import Tensor
from .messages import messages


class Chain:
    """Hidden values h_1 .. h_T; each determines only the next one and its own observation.

        P(x, h) = P(h_1) Π_t P(h_{t+1} | h_t) Π_t P(x_t | h_t)

    All results are logs and cost O(k² T); all except the best path are differentiable, to any
    order. -∞ marks impossible values and has the gradient 0. The tables need not be normalised:
    with scores instead of log-probabilities this is a linear-chain conditional random field, and
    :meth:`log_prob` its log-partition function.

    To mark a missing observation, set all its log-likelihoods to 0.
    The recursions are fused; differentiating twice runs them step by step, in O(k² T N) memory.

    Args:
        log_initial: log P(h_1) ``(k,)``.
        log_transition: log P(h_{t+1} | h_t) ``(k, k)``, a row for each h_t.
        log_likelihood: log P(x_t | h_t) ``(T, N, k)``, of any kind of observation: symbols,
            densities, the scores of a net.
        lengths: Length of each sequence ``(N,)``, 1 to T; padding has no effect and no gradient,
            and its answers are 0.

    Raises:
        ValueError: shapes or lengths do not fit, or a number is NaN or +∞.
        TypeError: dtypes do not fit.

    Example:
        >>> rain = np.array([[0.7, 0.3], [0.3, 0.7]])  # tomorrow's weather, given today's
        >>> umbrella = np.array([[0.9, 0.2], [0.9, 0.2], [0.1, 0.8]])  # seen, seen, not seen
        >>> chain = Chain(np.log([0.5, 0.5]), np.log(rain), np.log(umbrella)[:, None])
        >>> chain.posterior().numpy()[:, 0].round(3)
        array([[0.862, 0.138],
               [0.799, 0.201],
               [0.191, 0.809]])

    Source: Rabiner, "A tutorial on hidden Markov models", 1989, §III; in the notation of Zhang et
    al., "Dive into Deep Learning", §9.4.1 before its edition 1.0: π forwards, ρ backwards.
    """

    def __init__(
        self, log_initial: Any, log_transition: Any, log_likelihood: Any, lengths: Any = None
    ) -> None:
        ll = as_tensor(log_likelihood)
        if ll.ndim != 3 or ll.shape[0] == 0 or ll.shape[2] == 0:
            raise ValueError(
                "Chain expects log_likelihood (T, N, k) with T and k of at least 1; got shape "
                f"{ll.shape}" + (": for one sequence give it as [:, None]" if ll.ndim == 2 else "")
            )
        self.steps, self.batch, self.states = steps, batch, k = ll.shape
        self._valid = None
        last = np.full(batch, steps - 1)
        if lengths is not None:
            last = integers("Chain", "lengths", lengths).astype(int) - 1
            self._valid = valid_steps(lengths, None, ll.shape, "Chain")
        if self._valid is not None:
            ll = ops.where(beside(self._valid[..., None], ll), ll, 0)
        # A sequence turned round ends where it began: padding stays behind it.
        times = np.arange(steps)[:, None]
        self._turn = np.where(times <= last, last - times, times)[..., None]
        self._last = last
        self.log_likelihood = _checked("log_likelihood", ll, ll.shape, ll.dtype)
        self.log_initial = _checked("log_initial", log_initial, (k,), ll.dtype)
        self.log_transition = _checked("log_transition", log_transition, (k, k), ll.dtype)

    # -- messages -------------------------------------------------------------------------------

    def _before(self) -> tuple[Tensor, Tensor]:
        """log π in two parts, see :func:`messages`."""
        first = ops.broadcast_to(self.log_initial, (self.batch, self.states))
        return messages(first, self.log_transition, self.log_likelihood)

    def _after(self) -> tuple[Tensor, Tensor]:
        """log ρ in two parts, see :func:`messages`."""
        turned = ops.take_along_axis(self.log_likelihood, self._turn, axis=0)
        nothing = zeros_beside(turned, (self.batch, self.states))
        u, levels = messages(nothing, ops.swapaxes(self.log_transition, 0, 1), turned)
        levels = ops.take_along_axis(levels, self._turn[..., 0], axis=0)
        return ops.take_along_axis(u, self._turn, axis=0), levels

    def forward(self) -> Tensor:
        """log π_t(h) = log P(x_1 .. x_{t-1}, h_t = h) ``(T, N, k)``.

        π_1(h) = P(h_1 = h),  π_{t+1}(h') = Σ_h π_t(h) P(x_t | h) P(h' | h)
        """
        u, levels = self._before()
        return self.without_padding(u + levels[..., None])

    def backward(self) -> Tensor:
        """log ρ_t(h) = log P(x_{t+1} .. x_T | h_t = h) ``(T, N, k)``.

        ρ_T(h) = 1,  ρ_{t-1}(h) = Σ_h' P(h' | h) P(x_t | h') ρ_t(h')
        """
        u, levels = self._after()
        return self.without_padding(u + levels[..., None])

    # -- probabilities --------------------------------------------------------------------------

    def log_prob(self) -> Tensor:
        """log P(x) ``(N,)``.  P(x) = Σ_h π_j(h) P(x_j | h) ρ_j(h), the same at every j; here at T.

        Its gradient with respect to log P(x_t | h_t) is the posterior, and with respect to the
        tables the expected counts: reverse mode is the backward recursion.
        """
        u, levels = self._before()
        at = (self._last, np.arange(self.batch))
        return ops.logsumexp((u + self.log_likelihood)[at], axis=-1) + levels[at]

    def posterior(self) -> Tensor:
        """P(h_t | x) ``(T, N, k)``, proportional to π_t(h) P(x_t | h) ρ_t(h).

        Probabilities, not logs; zeros where x itself is impossible.
        """
        (before, _), (after, _) = self._before(), self._after()
        return self.without_padding(_normalised(before + self.log_likelihood + after, -1))

    def pairwise(self) -> Tensor:
        """P(h_t, h_{t+1} | x) ``(T-1, N, k, k)``, rows for h_t.

        Proportional to π_t(h) P(x_t | h) P(h' | h) P(x_{t+1} | h') ρ_{t+1}(h').
        """
        (before, _), (after, _) = self._before(), self._after()
        left = (before + self.log_likelihood)[:-1]
        right = (self.log_likelihood + after)[1:]
        joint = ops.expand_dims(left, -1) + self.log_transition + ops.expand_dims(right, -2)
        pairs = _normalised(joint, (-2, -1))
        if self._valid is not None:
            pairs = ops.where(beside(self._valid[1:, :, None, None], pairs), pairs, 0)
        return pairs

    def leave_one_out(self) -> Tensor:
        """log P(h_j | x_{-j}) ``(T, N, k)`` for every j: as if observation j were missing.

        Proportional to π_j(h) ρ_j(h). With P(x_j | h_j) it gives the missing observation:
        P(x_j | x_{-j}) = Σ_h P(x_j | h) P(h_j = h | x_{-j}). Where several are missing at once,
        give 0 as their log-likelihoods.
        """
        (before, _), (after, _) = self._before(), self._after()
        joint = before + after
        total = ops.logsumexp(joint, axis=-1, keepdims=True)
        return self.without_padding(joint - ops.where(total == -math.inf, 0, total))

    # -- paths ----------------------------------------------------------------------------------

    def viterbi(self) -> tuple[np.ndarray[Any, Any], Tensor]:
        """The most probable path.  argmax_h P(x, h), by v_{t+1}(h') = max_h v_t(h) P(x_t|h) P(h'|h)

        Returns:
            (path ``(T, N)``, int64, 0 in padding; its log P(x, h) ``(N,)``, see :meth:`score`).
            Of equally probable paths it is one whose last value is the lowest.

        Source: Viterbi 1967.
        """
        ll, initial, transition = map(
            on_host, (self.log_likelihood, self.log_initial, self.log_transition)
        )
        back = np.zeros(ll.shape, np.int64)
        v = np.broadcast_to(initial, ll.shape[1:]) + ll[0]
        best = v.argmax(-1)
        for t in range(1, self.steps):
            top = v.max(-1, keepdims=True)
            v = v - np.where(top == -math.inf, 0, top)  # or long sums would lose their last digits
            through = v[:, :, None] + transition
            back[t] = through.argmax(1)
            v = through.max(1) + ll[t]
            best = np.where(t <= self._last, v.argmax(-1), best)
        path = np.zeros(ll.shape[:2], np.int64)
        sequences = np.arange(self.batch)
        for t in reversed(range(self.steps)):
            path[t] = np.where(t <= self._last, best, 0)
            best = np.where(t <= self._last, back[t, sequences, path[t]], best)
        return path, self.score(path)

    def score(self, path: Any) -> Tensor:
        """log P(x, h) ``(N,)`` of given paths.

        Args:
            path: h ``(T, N)``, integers in 0..k-1; in padding it is not read.

        Raises:
            ValueError: it has another shape.
            IndexError: there is no such hidden value.
        """
        h = integers("Chain", "path", path)
        if h.shape != (self.steps, self.batch):
            raise ValueError(
                f"a path has a hidden value for each step, of shape {(self.steps, self.batch)}; "
                f"got shape {h.shape}"
            )
        valid = np.arange(self.steps)[:, None] <= self._last
        h = indices("Chain", "path", np.where(valid, h, 0), self.states)
        emission = ops.take_along_axis(self.log_likelihood, h[..., None], axis=-1)[..., 0]
        moved = self.log_transition[h[:-1], h[1:]]
        moved = ops.where(beside(valid[1:], moved), moved, 0)
        return self.log_initial[h[0]] + ops.sum(emission, axis=0) + ops.sum(moved, axis=0)

    def without_padding(self, x: Tensor) -> Tensor:
        """Zeros in padding."""
        if self._valid is None:
            return x
        return ops.where(beside(self._valid[..., None], x), x, 0)


def _normalised(logs: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    """exp(x) / Σ exp(x), and 0 where every x is -∞."""
    total = ops.logsumexp(logs, axis=axis, keepdims=True)
    return ops.exp(logs - ops.where(total == -math.inf, 0, total))


def _checked(name: str, values: Any, shape: tuple[int, ...], dtype: Any) -> Tensor:
    """A table of logs, of a shape and dtype, finite or -∞."""
    table = as_tensor(values, dtype)
    if table.shape != shape:
        raise ValueError(f"Chain expects {name} of shape {shape}; got {table.shape}")
    if table.dtype.kind != "f" or table.dtype != dtype:
        raise TypeError(
            f"Chain expects floating tables of one dtype; log_likelihood is {dtype} and "
            f"{name} is {table.dtype}"
        )
    if not (table.data < math.inf).all():
        raise ValueError(
            f"Chain expects {name} finite, or -inf for what is impossible; got NaN or +inf"
        )
    return table
