"""The recursion along a chain, in either direction, as one operation.

    m_{t+1}(h') = ln Σ_h exp(m_t(h) + l_t(h) + A(h, h')),    m_1 given

With A(h, h') = ln P(h' | h) these are the forward messages; along the reversed chain with Aᵀ, the
backward ones. Its derivative is a recursion of the same kind, the other way:

    w_t(h, h') = exp(m_t(h) + l_t(h) + A(h, h') - m_{t+1}(h'))    the share of h in m_{t+1}(h')
    l̄_t(h) = Σ_h' w_t(h, h') m̄_{t+1}(h'),    m̄_t(h) += l̄_t(h),    Ā(h, h') = Σ_t w_t m̄_{t+1}(h')

The sum over h is a product of matrices of exponentials, each scaled by its largest: k² products for
a step and k exponentials. Sums so small that scaling may have lost digits are computed again in
logs.

Shapes: T steps, N sequences, k hidden values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ... import ops
from ...autograd.fused import Fused
from ...backend import Array, backend_of, xp
from ...nn.checks import zeros_beside
from ...tensor import Tensor


def messages(
    first: Tensor, log_transition: Tensor, log_likelihood: Tensor
) -> tuple[Tensor, Tensor]:
    """The messages of all steps, as a sum of two parts so that long chains lose no digits.

    Args:
        first: m_1 ``(N, k)``.
        log_transition: A ``(k, k)``.
        log_likelihood: l ``(T, N, k)``; the last step's is not read.

    Returns:
        (u ``(T, N, k)``, levels ``(T, N)``, off the graph): m_t = u_t + level_t. The level is as
        good as constant: gradients pass through u alone.
    """
    if log_likelihood.shape[0] == 1:
        return ops.expand_dims(first, 0), zeros_beside(first, (1, first.shape[0]))
    args = (first, log_transition, log_likelihood)
    if backend_of(first.data).flat:  # to see what to take again would wait, at every step
        return step_by_step(*args)
    u, levels = _fused(args, lambda: step_by_step(*args))
    return u, levels.detach()


def step_by_step(
    first: Tensor, log_transition: Tensor, log_likelihood: Tensor
) -> tuple[Tensor, Tensor]:
    """The same, operation by operation: the specification."""
    u, level = [first], Tensor(xp(first.data).zeros(first.shape[0]))
    levels = [level]
    for l_t in ops.unstack(log_likelihood)[:-1]:
        a = u[-1] + l_t
        top = _top(xp(a.data), a.data)
        u.append(ops.logsumexp(ops.expand_dims(a - top, -1) + log_transition, axis=-2))
        level = level + top[:, 0]
        levels.append(level)
    return ops.stack(u), Tensor.astype(ops.stack(levels), first.dtype)


class _Saved(NamedTuple):
    """What the backward reads.

    Attributes:
        p: exp(m_t + l_t), scaled ``(T-1, N, k)``.
        q: p_t E, the scaled exp(m_{t+1}) ``(T-1, N, k)``; ∞ for what was taken again.
        E: exp(A), scaled ``(k, k)``.
        again: For a step t, what was taken again: n, h' and the shares w ``(M, k)``.
    """

    p: Array
    q: Array
    E: Array
    again: dict[int, tuple[Array, Array, Array]]


def _top(np: Any, x: Array) -> Array:
    """The largest of the last axis ``(..., 1)``, 0 where all are -∞."""
    top = np.max(x, axis=-1, keepdims=True)
    return np.where(top == -np.inf, 0, top)


def _forward(first: Array, A: Array, ll: Array, keep: bool) -> tuple[Any, _Saved | None]:
    backend, np = backend_of(ll), xp(ll)
    steps, batch, _ = ll.shape
    doubtful = np.finfo(ll.dtype).tiny ** 0.5
    shift = _top(np, A.T)[:, 0]
    E = np.exp(A - shift)
    u, p, q = np.empty_like(ll), np.empty_like(ll[1:]), np.empty_like(ll[1:])
    levels = np.zeros((steps, batch))
    u[0] = first
    again = {}
    with backend.quiet():
        for t in range(steps - 1):
            a = u[t] + ll[t]
            top = _top(np, a)
            a -= top
            np.exp(a, out=p[t])
            np.matmul(p[t], E, out=q[t])
            np.log(q[t], out=u[t + 1])
            u[t + 1] += shift
            levels[t + 1] = levels[t] + top[:, 0]
            if batch and q[t].min() < doubtful:
                n, h = np.nonzero(q[t] < doubtful)
                terms = a[n] + A[:, h].T
                largest = _top(np, terms)
                shares = np.exp(terms - largest)
                total = shares.sum(axis=-1, keepdims=True)
                u[t + 1, n, h] = (np.log(total) + largest)[:, 0]
                q[t, n, h] = np.inf
                again[t] = n, h, shares / np.where(total == 0, 1, total)
    return (u, levels.astype(ll.dtype)), _Saved(p, q, E, again) if keep else None


def _backward(g: Array, _: Array, saved: _Saved, wanted: set[str]) -> dict[str, Array]:
    backend, np = backend_of(g), xp(g)
    p, q, E, again = saved
    k = E.shape[0]
    g_ll, r, g_A = np.zeros_like(g), np.empty_like(p), np.zeros_like(E)
    g_m = g[-1]
    for t in reversed(range(len(p))):
        np.divide(g_m, q[t], out=r[t])
        np.multiply(p[t], r[t] @ E.T, out=g_ll[t])
        if t in again:
            n, h, shares = again[t]
            part = shares * g_m[n, h][:, None]
            backend.scatter_add(g_ll[t], n, part)
            backend.scatter_add(g_A.T, h, part)
        g_m = g[t] + g_ll[t]
    g_A += E * (p.reshape(-1, k).T @ r.reshape(-1, k))
    return {"first": g_m, "log_transition": g_A, "log_likelihood": g_ll}


_fused = Fused("messages", ("first", "log_transition", "log_likelihood"), _forward, _backward)
