"""The kernel of a linear recurrence: a loop over time.

    h_t = a_t ⊙ h_{t-1} + b_t                     forwards
    w_t = g_t + a*_{t+1} ⊙ w_{t+1}                its adjoint, in reverse

Both solve a triangular system: L h = b with ones on the diagonal and -a_t below it, and Lᴴ w = g.
On a processor a plain loop over time is best: the closed form by cumulative products overflows, and
an associative scan does twice the work. With the extra ``jit`` the loop is compiled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy

from . import jit

Array: TypeAlias = Any

FEW = 4
"""Fewer steps are left to NumPy."""

WIDE = 2048
"""More complex numbers of a step are, too: its products of them are vector instructions."""


def linear_scan(
    np: Any, a: Array, b: Array, start: Array | None, reverse: bool, adjoint: bool, pairs: bool
) -> Array:
    """All h of one recurrence ``(T, ...)``; see the top of this file.

    Args:
        np: The namespace of the arrays.
        a: Factors, of a shape that broadcasts to that of ``b``, and its dtype.
        b: What comes in ``(T, ...)``.
        start: h before the first step ``(...)``; None for zero.
        reverse: Whether it starts at the last step.
        adjoint: Solve Lᴴ w = b instead; there is no ``start`` then.
        pairs: Whether the last axis, of size 2, holds the parts of complex numbers.
    """
    y = np.empty(b.shape, b.dtype)
    out, backwards = y, reverse != adjoint
    if pairs:
        a, b, out = (_complex(np, x) for x in (a, b, y))
        a = a.conj() if adjoint else a
        start = None if start is None else _complex(np, start)
    wide = pairs and b[0].size > WIDE
    left = len(b) < FEW or not b.size or wide or b.dtype.char not in "fdFD"
    loop = None if left or np is not numpy or not jit.usable() else _compiled()
    if loop is not None:
        loop(a, b, start, backwards, adjoint, out)
        return y
    a = np.broadcast_to(a, b.shape)
    times, state, before = range(len(b)), start, None
    for t in reversed(times) if backwards else times:
        if state is None:
            out[t] = b[t]
        else:
            np.multiply(a[t if before is None or not adjoint else before], state, out=out[t, ...])
            out[t] += b[t]
        state, before = out[t], t
    return y


@functools.cache
def _compiled() -> Callable[..., None] | None:
    """The compiled loop, if it can be compiled here."""
    a, b, y = numpy.ones(1), numpy.ones((2, 1)), numpy.empty((2, 1))
    return jit.tried("scan", "linear_scan", a, b, None, False, False, y)


def _complex(np: Any, x: Array) -> Array:
    """Pairs (real, imaginary) as complex numbers: a view if the memory layout allows it."""
    kind = np.result_type(x.dtype, np.complex64)
    return np.ascontiguousarray(x).view(kind)[..., 0]


SCAN: dict[str, Callable[..., Any]] = {"linear_scan": linear_scan}
