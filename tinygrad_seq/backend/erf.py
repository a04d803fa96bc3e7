"""The error function, which NumPy lacks.

Rational minimax approximations on three intervals, with the coefficients of W. J. Cody,
"Rational Chebyshev approximation for the error function", Math. Comp. 23 (1969), 631-637.
"""

from __future__ import annotations

from typing import Any

# Numerator and denominator coefficients, highest power first.
_SMALL = (  # erf(x) / x in x², |x| ≤ 0.46875
    (
        1.85777706184603153e-1,
        3.16112374387056560e0,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (
        1.0,
        2.36012909523441209e1,
        2.44024637934444173e2,
        1.28261652607737228e3,
        2.84423683343917062e3,
    ),
)
_MIDDLE = (  # erfc(x) e^(x²) in x, 0.46875 ≤ x ≤ 4
    (
        2.15311535474403846e-8,
        5.64188496988670089e-1,
        8.88314979438837594e0,
        6.61191906371416295e1,
        2.98635138197400131e2,
        8.81952221241769090e2,
        1.71204761263407058e3,
        2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0,
        1.57449261107098347e1,
        1.17693950891312499e2,
        5.37181101862009858e2,
        1.62138957456669019e3,
        3.29079923573345963e3,
        4.36261909014324716e3,
        3.43936767414372164e3,
        1.23033935480374942e3,
    ),
)
_BEYOND = 6.0  # erfc(6) < 2e-17: erf is ±1 to the last bit of float64


def _ratio(x: Any, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Any:
    """p(x) / q(x) by Horner's rule."""
    numerator, denominator = coefficients
    p, q = numerator[0], denominator[0]
    for a, b in zip(numerator[1:], denominator[1:], strict=True):
        p, q = p * x + a, q * x + b
    return p / q


def erf(np: Any, x: Any) -> Any:
    """erf(x) element by element, in the precision of ``x``, with the namespace ``np``."""
    size = np.minimum(np.abs(x), _BEYOND)
    small = np.minimum(size, 0.46875)
    near = x * _ratio(small * small, _SMALL)
    far = np.copysign(1 - np.exp(-size * size) * _ratio(size, _MIDDLE), x)
    return np.where(size <= 0.46875, near, far)
