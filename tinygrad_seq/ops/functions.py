"""Elementary functions of one variable: y = f(x) and x̄ = ȳ f'(x)."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Interval, composite, elementwise
from ..backend import Array, narrowed, wider, xp
from .arithmetic import (
    AWAY_FROM_0,
    POSITIVE,
    REALS,
    product,
    quotient,
    slope_at_origin,
    sqrt,
    square,
    where,
)

LN2 = 0.6931471805599453
LN10 = 2.302585092994046
WITHIN_1 = Interval(-0.9, 0.9)


@elementwise
def exp(x: Array, /) -> Array:
    """Exponential.  y = eˣ,  x̄ = ȳ y."""
    return xp(x).exp(x)


exp.defvjp(x=lambda g, y: product(g, y))
exp.domain(x=REALS)


@elementwise
def exp2(x: Array, /) -> Array:
    """Power of two.  y = 2ˣ,  x̄ = ȳ y ln 2."""
    return xp(x).exp2(x)


exp2.defvjp(x=lambda g, y: product(g, y * LN2))
exp2.domain(x=REALS)


@elementwise
def expm1(x: Array, /) -> Array:
    """y = eˣ - 1, exact near 0,  x̄ = ȳ (y + 1)."""
    return xp(x).expm1(x)


expm1.defvjp(x=lambda g, y: product(g, y + 1))
expm1.domain(x=REALS)


@elementwise
def log2(x: Array, /) -> Array:
    """Logarithm to base 2.  x̄ = ȳ / (x ln 2)."""
    return xp(x).log2(x)


log2.defvjp(x=lambda g, x: quotient(g / LN2, x))
log2.domain(x=POSITIVE)


@elementwise
def log10(x: Array, /) -> Array:
    """Logarithm to base 10.  x̄ = ȳ / (x ln 10)."""
    return xp(x).log10(x)


log10.defvjp(x=lambda g, x: quotient(g / LN10, x))
log10.domain(x=POSITIVE)


@elementwise
def log1p(x: Array, /) -> Array:
    """y = ln(1 + x), exact near 0,  x̄ = ȳ / (1 + x)."""
    return xp(x).log1p(x)


log1p.defvjp(x=lambda g, x: quotient(g, 1 + x))
log1p.domain(x=Interval(-0.8, 3.0))


@elementwise
def sin(x: Array, /) -> Array:
    """Sine.  x̄ = ȳ cos x."""
    return xp(x).sin(x)


sin.domain(x=REALS)


@elementwise
def cos(x: Array, /) -> Array:
    """Cosine.  x̄ = -ȳ sin x."""
    return xp(x).cos(x)


sin.defvjp(x=lambda g, x: g * cos(x))
cos.defvjp(x=lambda g, x: -g * sin(x))
cos.domain(x=REALS)


@elementwise
def tan(x: Array, /) -> Array:
    """Tangent.  x̄ = ȳ (1 + y²)."""
    return xp(x).tan(x)


tan.defvjp(x=lambda g, y: g * (1 + y * y))
tan.domain(x=Interval(-1.2, 1.2))


@elementwise
def arcsin(x: Array, /) -> Array:
    """Inverse sine.  x̄ = ȳ / √(1 - x²)."""
    return xp(x).arcsin(x)


arcsin.defvjp(x=lambda g, x: quotient(g, sqrt(1 - x * x)))
arcsin.domain(x=WITHIN_1)


@elementwise
def arccos(x: Array, /) -> Array:
    """Inverse cosine.  x̄ = -ȳ / √(1 - x²)."""
    return xp(x).arccos(x)


arccos.defvjp(x=lambda g, x: -quotient(g, sqrt(1 - x * x)))
arccos.domain(x=WITHIN_1)


@elementwise
def arctan(x: Array, /) -> Array:
    """Inverse tangent.  x̄ = ȳ / (1 + x²)."""
    return xp(x).arctan(x)


arctan.defvjp(x=lambda g, x: g / (1 + x * x))
arctan.domain(x=REALS)


@elementwise
def logaddexp(a: Array, b: Array, /) -> Array:
    """y = ln(eᵃ + eᵇ),  ā = ȳ σ(a - b),  b̄ = ȳ σ(b - a).  Two of -∞ give -∞, with gradient 0."""
    return xp(a, b).logaddexp(a, b)


def _share(g: Any, y: Any, a: Any, b: Any, raised: Any) -> Any:
    """ȳ / (1 + e^(b - a)), the gradient of a: e^(a - y) would suffer from the rounding of y."""
    nothing = y == -math.inf
    return where(nothing, 0.0, g / (1 + raised(where(nothing, 0.0, b - a))))


logaddexp.defvjp(
    a=lambda g, y, a, b: _share(g, y, a, b, exp), b=lambda g, y, a, b: _share(g, y, b, a, exp)
)
logaddexp.domain(a=REALS, b=REALS, analytic=False)


@elementwise
def arctan2(a: Array, b: Array, /) -> Array:
    """Angle of the point (b, a).  ā = ȳ b / (a² + b²),  b̄ = -ȳ a / (a² + b²), 0 at the origin."""
    return xp(a, b).arctan2(a, b)


arctan2.defvjp(
    a=lambda g, a, b: quotient(g * b, square(a) + square(b)),
    b=lambda g, a, b: -quotient(g * a, square(a) + square(b)),
)
arctan2.domain(a=POSITIVE, b=POSITIVE, analytic=False)


@elementwise
def sinh(x: Array, /) -> Array:
    """Hyperbolic sine.  x̄ = ȳ cosh x."""
    return xp(x).sinh(x)


sinh.domain(x=REALS)


@elementwise
def cosh(x: Array, /) -> Array:
    """Hyperbolic cosine.  x̄ = ȳ sinh x."""
    return xp(x).cosh(x)


sinh.defvjp(x=lambda g, x: product(g, cosh(x)))
cosh.defvjp(x=lambda g, x: product(g, sinh(x)))
cosh.domain(x=REALS)


@elementwise
def tanh(x: Array, /) -> Array:
    """Hyperbolic tangent.  y = tanh x,  x̄ = ȳ (1 - y²)."""
    return xp(x).tanh(x)


tanh.defvjp(x=lambda g, y: g * (1 - y * y))
tanh.domain(x=REALS)


@elementwise
def arcsinh(x: Array, /) -> Array:
    """Inverse hyperbolic sine.  x̄ = ȳ / √(1 + x²)."""
    return xp(x).arcsinh(x)


arcsinh.defvjp(x=lambda g, x: g / sqrt(1 + x * x))
arcsinh.domain(x=REALS)


@elementwise
def arccosh(x: Array, /) -> Array:
    """Inverse hyperbolic cosine.  x̄ = ȳ / √(x² - 1)."""
    return xp(x).arccosh(x)


arccosh.defvjp(x=lambda g, x: quotient(g, sqrt(x * x - 1)))
arccosh.domain(x=Interval(1.2, 4.0))


@elementwise
def arctanh(x: Array, /) -> Array:
    """Inverse hyperbolic tangent.  x̄ = ȳ / (1 - x²)."""
    return xp(x).arctanh(x)


arctanh.defvjp(x=lambda g, x: quotient(g, 1 - x * x))
arctanh.domain(x=WITHIN_1)


@elementwise
def cbrt(x: Array, /) -> Array:
    """Cube root.  y = ∛x,  x̄ = ȳ / 3y²; at 0, x̄ = 0 where ȳ = 0 and ∞ elsewhere."""
    return xp(x).cbrt(x)


cbrt.defvjp(x=lambda g, y: quotient(g, 3 * square(y)))
cbrt.domain(x=AWAY_FROM_0, analytic=False)


@elementwise
def hypot(a: Array, b: Array, /) -> Array:
    """Length of (a, b).  y = √(a² + b²),  ā = ȳ a / y,  b̄ = ȳ b / y, 0 at the origin."""
    return xp(a, b).hypot(a, b)


def _hypot_rule(g: Any, y: Any, a: Any) -> Any:
    slope = slope_at_origin(g, y)
    return g * quotient(a, y) + (0.0 if slope is None else a * slope)


hypot.defvjp(a=_hypot_rule, b=lambda g, y, b: _hypot_rule(g, y, b))
hypot.domain(a=POSITIVE, b=REALS, analytic=False)


@elementwise
def logaddexp2(a: Array, b: Array, /) -> Array:
    """y = log₂(2ᵃ + 2ᵇ),  ā = ȳ / (1 + 2^(b - a)).  Two of -∞ give -∞, with gradient 0."""
    return xp(a, b).logaddexp2(a, b)


logaddexp2.defvjp(
    a=lambda g, y, a, b: _share(g, y, a, b, exp2), b=lambda g, y, a, b: _share(g, y, b, a, exp2)
)
logaddexp2.domain(a=REALS, b=REALS, analytic=False)


@elementwise
def sinc(x: Array, /) -> Array:
    """y = sin(πx) / πx, 1 at 0,  x̄ = ȳ (cos πx - y) / x, 0 at 0."""
    return narrowed(xp(x).sinc(wider(x)), x)


def _sinc_slope(x: Any) -> Any:
    """The derivative of sinc; by its series near 0, where the difference above cancels."""
    t = math.pi * x
    t2 = square(t)
    near = t2 < 0.01
    series = t * (-1 / 3 + t2 * (1 / 30 + t2 * (-1 / 840 + t2 / 45360)))
    away = where(near, 1.0, t)
    return math.pi * where(near, series, (cos(away) - sin(away) / away) / away)


sinc.defvjp(x=lambda g, x: g * _sinc_slope(x))
sinc.domain(x=REALS, analytic=False)


@composite
def deg2rad(x: Array) -> Array:
    """Degrees as radians.  y = x π / 180."""
    return x * (math.pi / 180)


@composite
def rad2deg(x: Array) -> Array:
    """Radians as degrees.  y = x 180 / π."""
    return x * (180 / math.pi)
