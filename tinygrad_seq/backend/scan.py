"""The kernel of a linear recurrence, in NumPy: the loop that nothing can be made of but a loop.

    h_t = a_t ⊙ h_{t-1} + b_t                     forwards
    w_t = g_t + a*_{t+1} ⊙ w_{t+1}                its adjoint, which runs the other way

Both solve a triangular system: L h = b with ones on the diagonal and -a_t below it, and Lᴴ w = g.
A plain loop over time is the best there is on a processor: the closed form by cumulative products
overflows, and an associative scan does twice the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

Array: TypeAlias = Any


def linear_scan(
    np: Any, a: Array, b: Array, start: Array | None, reverse: bool, adjoint: bool, pairs: bool
) -> Array:
    """All h of one recurrence ``(T, ...)``; see the top of this file.

    Args:
        np: The namespace of the arrays.
        a: Factors, of a shape that broadcasts to that of ``b``, and its dtype.
        b: What comes in ``(T, ...)``.
        start: h before the first step ``(...)``; None for nothing.
        reverse: Whether it starts at the last step.
        adjoint: Solve Lᴴ w = b instead; there is no ``start`` then.
        pairs: Whether the last axis, of size 2, holds the parts of complex numbers.
    """
    y = np.empty(b.shape, b.dtype)
    out = y
    if pairs:
        a, b, out = (_complex(np, x) for x in (a, b, y))
        a = a.conj() if adjoint else a
        start = None if start is None else _complex(np, start)
    a = np.broadcast_to(a, b.shape)
    times, state, before = range(len(b)), start, None
    for t in reversed(times) if reverse != adjoint else times:
        if state is None:
            out[t] = b[t]
        else:
            np.multiply(a[t if before is None or not adjoint else before], state, out=out[t, ...])
            out[t] += b[t]
        state, before = out[t], t
    return y


def _complex(np: Any, x: Array) -> Array:
    """Pairs (real, imaginary) as complex numbers: a view, where the memory allows it."""
    kind = np.result_type(x.dtype, np.complex64)
    return np.ascontiguousarray(x).view(kind)[..., 0]


SCAN: dict[str, Callable[..., Any]] = {"linear_scan": linear_scan}
