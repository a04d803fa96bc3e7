"""The functions of float32 numbers that compiled loops call.

A short loop over consecutive numbers becomes vector instructions; one that reads all gates at once
does not. The functions hold no lock while they run.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import njit

from .cache import FAST

compiled = functools.partial(njit, error_model="numpy", fastmath=FAST)  # for inner functions

F = np.float32
ONE, HALF, ZERO, TOP = F(1), F(0.5), F(0), F(9)

# tanh x = x P(x²) / Q(x²), fitted on |x| <= 9, past which tanh is ±1 in float32
P0, P1, P2, P3, P4 = map(
    F, (9.99999979e-01, 1.33810396e-01, 3.49560429e-03, 2.06093324e-05, 1.33549761e-08)
)
Q0, Q1, Q2, Q3, Q4 = map(F, (1.0, 4.67143552e-01, 2.58770446e-02, 3.28566057e-04, 7.77669391e-07))


@compiled
def tanh(x: Any) -> Any:
    """tanh x with a relative error below 4e-7; NaN stays NaN."""
    x = TOP if x > TOP else -TOP if x < -TOP else x
    u = x * x
    p = P0 + u * (P1 + u * (P2 + u * (P3 + u * P4)))
    q = Q0 + u * (Q1 + u * (Q2 + u * (Q3 + u * Q4)))
    y = x * p / q
    return ONE if y > ONE else -ONE if y < -ONE else y


@compiled
def larger(a: Any, b: Any) -> Any:
    """The larger of two; NaN stays NaN."""
    return a if a > b or a != a else b


@compiled
def smaller(a: Any, b: Any) -> Any:
    """The smaller of two; NaN stays NaN."""
    return a if a < b or a != a else b


@compiled
def quotient(a: Any, b: Any) -> Any:
    """a / b, and 0 where a is 0."""
    return ZERO if a == ZERO else a / b


@compiled
def selected(a: Any, b: Any) -> Any:
    """a b, and 0 if a is 0, or if b is 0 and a is not NaN: ``ops.arithmetic.product``."""
    return ZERO if a == ZERO or (b == ZERO and a == a) else a * b


@compiled
def square(a: Any) -> Any:
    """a²."""
    return a * a


@compiled
def sign(a: Any) -> Any:
    """-1, 0 or 1."""
    return ONE if a > ZERO else -ONE if a < ZERO else a


@compiled
def softplus(a: Any) -> Any:
    """ln(1 + eᵃ)."""
    return larger(a, ZERO) + np.log1p(np.exp(-abs(a)))


@compiled
def empty(n: int) -> Any:
    """Uninitialised memory for this many numbers."""
    return np.empty(n, np.float32)


@compiled
def empty3(i: int, j: int, k: int) -> Any:
    """Uninitialised memory ``(i, j, k)``."""
    return np.empty((i, j, k), np.float32)


exp, expm1, log, log1p, sin, cos, sqrt = (
    np.exp, np.expm1, np.log, np.log1p, np.sin, np.cos, np.sqrt,
)  # fmt: skip

__all__ = [
    "HALF", "ONE", "ZERO", "F", "cos", "empty", "empty3", "exp", "expm1", "larger", "log", "log1p",
    "quotient", "selected", "sign", "sin", "smaller", "softplus", "sqrt", "square", "tanh",
]  # fmt: skip
