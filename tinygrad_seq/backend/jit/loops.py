"""The functions of float32 numbers that compiled loops call.

A short loop over consecutive numbers becomes vector instructions; one that reads all gates at once
does not. The functions hold no lock while they run.
"""

from __future__ import annotations

import functools
import math
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
def empty(n: int) -> Any:
    """Uninitialised memory for this many numbers."""
    return np.empty(n, np.float32)


@compiled
def empty3(i: int, j: int, k: int) -> Any:
    """Uninitialised memory ``(i, j, k)``."""
    return np.empty((i, j, k), np.float32)


exp, exp2, expm1, log, log2, log10, log1p, sqrt = (
    np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sqrt,
)  # fmt: skip
sin, cos, tan, sinh, cosh, arcsin, arccos, arctan, arcsinh, arccosh, arctanh, arctan2 = (
    np.sin, np.cos, np.tan, np.sinh, np.cosh, np.arcsin, np.arccos, np.arctan, np.arcsinh,
    np.arccosh, np.arctanh, np.arctan2,
)  # fmt: skip
floor, ceil, rint, fmod, hypot, erf = np.floor, np.ceil, np.rint, np.fmod, np.hypot, math.erf

__all__ = [
    "HALF", "ONE", "ZERO", "F", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2",
    "arctanh", "ceil", "cos", "cosh", "empty", "empty3", "erf", "exp", "exp2", "expm1", "floor",
    "fmod", "hypot", "log", "log1p", "log2", "log10", "rint", "sin", "sinh", "sqrt", "tan", "tanh",
]  # fmt: skip
