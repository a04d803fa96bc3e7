"""Arithmetic, element by element: y = f(a, b) and its two partial derivatives.

x̄ stands for the gradient of the result with respect to x, as in the rest of the table. NumPy's
broadcasting applies; the engine undoes it in the backward pass.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Interval, Variable, composite, elementwise
from ..autograd.engine import pull
from ..autograd.graph import source_of
from ..autograd.observe import symbolic
from ..backend import Array, backend_of, is_array, xp
from .compare import isfinite, isnan

REALS = Interval(-3.0, 3.0)
POSITIVE = Interval(0.2, 4.0)
AWAY_FROM_0 = Interval(-3.0, 3.0, kinks=(0.0,))


@elementwise
def add(a: Array, b: Array, /) -> Array:
    """Sum.  y = a + b,  ā = ȳ,  b̄ = ȳ."""
    return xp(a, b).add(a, b)


add.defvjp(a=lambda g: g, b=lambda g: g)
add.domain(a=REALS, b=REALS)


@elementwise
def subtract(a: Array, b: Array, /) -> Array:
    """Difference.  y = a - b,  ā = ȳ,  b̄ = -ȳ."""
    return xp(a, b).subtract(a, b)


subtract.defvjp(a=lambda g: g, b=lambda g: -g)
subtract.domain(a=REALS, b=REALS)


@elementwise
def multiply(a: Array, b: Array, /) -> Array:
    """Hadamard product.  y = a ⊙ b,  ā = ȳ ⊙ b,  b̄ = ȳ ⊙ a."""
    return xp(a, b).multiply(a, b)


multiply.defvjp(a=lambda g, b: g * b, b=lambda g, a: g * a)
multiply.domain(a=REALS, b=REALS)


@elementwise
def product(a: Array, b: Array, /) -> Array:
    """Product with 0 · ∞ = 0, and 0 · NaN = 0 where a is 0: for rules in which a is a gradient.

    y = a b,  ā = ȳ b,  b̄ = ȳ a.
    """
    return backend_of(a, b).product(a, b)


product.defvjp(a=lambda g, b: product(g, b), b=lambda g, a: product(g, a))
product.domain(a=REALS, b=REALS)


@elementwise
def quotient(a: Array, b: Array, /) -> Array:
    """Quotient with 0 / b = 0 even where b is 0 or NaN: for rules in which a is a gradient.

    y = a / b,  ā = ȳ / b,  b̄ = -ȳ y / b, and 0 where a = 0.
    """
    return backend_of(a, b).quotient(a, b)


quotient.defvjp(a=lambda g, b: quotient(g, b), b=lambda g, y, b: -quotient(product(g, y), b))
quotient.domain(a=REALS, b=AWAY_FROM_0)


def slope_at_origin(g: Any, y: Any) -> Any:
    """The limit of ȳ / y where both are 0, which is dȳ/dy (L'Hôpital), 0 elsewhere; None for 0.

    The rule of a length y of x is ȳ x / y, and 0 at the origin. Its derivative there is this limit:
    2 for y², so that the Hessian of ‖x‖² is 2 at the origin too. It is needed only where the
    backward pass is recorded, and is a constant.
    """
    if not (isinstance(g, Variable) and g._requires_grad) or symbolic():
        return None
    np = xp(g._data)
    both = (g._data == 0) & (y._data == 0)
    if not np.any(both):
        return None
    ones = g._wrap(np.ones_like(g._data))
    found = pull([g], [ones], [source_of(y)], False, retain_graph=True).get(source_of(y))
    return None if found is None else np.where(both, found._data, 0)


@elementwise
def divide(a: Array, b: Array, /) -> Array:
    """Quotient.  y = a / b,  ā = ȳ / b,  b̄ = -ȳ a / b².

    Where ȳ = 0 the gradients are 0, also at b = 0: ``where(b != 0, a / b, 0)`` has no NaN.
    """
    return xp(a, b).true_divide(a, b)


divide.defvjp(
    a=lambda g, b: quotient(g, b), b=lambda g, a, b: -quotient(product(quotient(g, b), a), b)
)
divide.domain(a=REALS, b=AWAY_FROM_0)


@elementwise
def negative(x: Array, /) -> Array:
    """Negation.  y = -x,  x̄ = -ȳ."""
    return xp(x).negative(x)


negative.defvjp(x=lambda g: -g)
negative.domain(x=REALS)


@elementwise
def where(condition: Array, a: Array, b: Array, /) -> Array:
    """a where the condition holds, b elsewhere.  The gradient of the other is exactly 0."""
    return backend_of(condition, a, b).where(condition, a, b)


where.defvjp(
    a=lambda g, condition: where(condition, g, 0.0), b=lambda g, condition: where(condition, 0.0, g)
)
where.domain(a=REALS, b=REALS)


def _nothing(g: Any) -> Any:
    """0, also for an infinite ȳ: the rule of a step function."""
    return where(False, g, 0.0)


@elementwise
def log(x: Array, /) -> Array:
    """Natural logarithm.  y = ln x,  x̄ = ȳ / x."""
    return xp(x).log(x)


log.defvjp(x=lambda g, x: quotient(g, x))
log.domain(x=POSITIVE)


@elementwise
def power(a: Array, b: Array, /) -> Array:
    """Power.  y = aᵇ,  ā = ȳ b aᵇ⁻¹,  b̄ = ȳ y ln a.

    As in PyTorch, ā = 0 where b = 0, and b̄ = 0 where a = 0 and b ≥ 0; b̄ is NaN where a < 0.
    """
    return a**b if is_array(a) else xp(a, b).power(a, b)  # ** is quick for squares and roots


def _power_base(g: Any, a: Any, b: Any) -> Any:
    if isinstance(b, (int, float)):
        return product(g, b * power(a, b - 1)) if b else _nothing(g)
    zero = b == 0
    return where(zero, 0.0, product(g, b * power(a, where(zero, 1.0, b - 1))))


def _power_exponent(g: Any, y: Any, a: Any, b: Any) -> Any:
    zero = (a == 0) & (b >= 0)
    if isinstance(a, (int, float)):
        log_a = math.log(a) if a > 0 else -math.inf if a == 0 else math.nan
    else:
        log_a = log(where(zero, 1.0, a))
    return where(zero, 0.0, product(g, y * log_a))


power.defvjp(a=_power_base, b=_power_exponent)
power.domain(a=POSITIVE, b=REALS)


@elementwise
def square(x: Array, /) -> Array:
    """Square.  y = x²,  x̄ = 2 ȳ x."""
    return xp(x).square(x)


square.defvjp(x=lambda g, x: g * (2 * x))
square.domain(x=REALS)


@elementwise
def sqrt(x: Array, /) -> Array:
    """Square root.  y = √x,  x̄ = ȳ / 2y; at 0, x̄ = 0 where ȳ = 0 and ∞ elsewhere."""
    return xp(x).sqrt(x)


sqrt.defvjp(x=lambda g, y: quotient(g * 0.5, y))
sqrt.domain(x=POSITIVE)


@elementwise
def sign(x: Array, /) -> Array:
    """-1, 0 or 1.  Its derivative is 0."""
    return xp(x).sign(x)


sign.defvjp(x=_nothing)
sign.domain(x=AWAY_FROM_0, analytic=False)


@elementwise
def absolute(x: Array, /) -> Array:
    """Absolute value.  y = |x|,  x̄ = ȳ sign x, 0 at 0."""
    return xp(x).abs(x)


absolute.defvjp(x=lambda g, x: where(x == 0, 0.0, g * sign(x)))
absolute.domain(x=AWAY_FROM_0, analytic=False)


@composite
def fabs(x: Array) -> Array:
    """Absolute value; of integers as floats, since the smallest integer has none."""
    return absolute(x * 1.0)


@elementwise
def maximum(a: Array, b: Array, /) -> Array:
    """Larger of two.  ȳ goes to the larger one; equal ones share it evenly."""
    return xp(a, b).maximum(a, b)


maximum.defvjp(
    a=lambda g, a, b: where(a > b, g, where(a == b, 0.5 * g, 0.0)),
    b=lambda g, a, b: where(b > a, g, where(a == b, 0.5 * g, 0.0)),
)
maximum.domain(a=REALS, b=REALS, analytic=False)


@elementwise
def minimum(a: Array, b: Array, /) -> Array:
    """Smaller of two.  ȳ goes to the smaller one; equal ones share it evenly."""
    return xp(a, b).minimum(a, b)


minimum.defvjp(
    a=lambda g, a, b: where(a < b, g, where(a == b, 0.5 * g, 0.0)),
    b=lambda g, a, b: where(b < a, g, where(a == b, 0.5 * g, 0.0)),
)
minimum.domain(a=REALS, b=REALS, analytic=False)


@elementwise
def limit(x: Array, low: Any = None, high: Any = None, /) -> Array:
    """x kept within [low, high]; either may be None.  ȳ goes to x where low ≤ x ≤ high, else to
    the bound that applies."""
    return xp(x, low, high).clip(x, low, high)


def _inside(x: Any, low: Any, high: Any) -> Any:
    return (True if low is None else x >= low) & (True if high is None else x <= high)


limit.defvjp(
    x=lambda g, x, low, high: where(_inside(x, low, high), g, 0.0),
    low=lambda g, x, low, high: where((x < low) & (True if high is None else low < high), g, 0.0),
    high=lambda g, x, low, high: where((x > high) | (False if low is None else low > high), g, 0.0),
)
limit.domain(
    x=Interval(-3.0, 3.0, kinks=(-1.0, 1.0)),
    low=Interval(-1.1, -0.9),
    high=Interval(0.9, 1.1),
    analytic=False,
)


@composite
def clamp(x: Array, min: Any = None, max: Any = None) -> Array:
    """x kept within [min, max], numbers or arrays; either may be None.  ȳ passes at the bounds."""
    if min is None and max is None:
        raise ValueError("clamp needs min, max or both")
    return limit(x, min, max)


@elementwise
def floor(x: Array, /) -> Array:
    """Largest integer not above x.  Its derivative is 0."""
    return xp(x).floor(x)


floor.defvjp(x=_nothing)
floor.domain(x=Interval(0.1, 0.9), analytic=False)


@elementwise
def remainder(a: Array, b: Array, /) -> Array:
    """a modulo b, with b's sign.  y = a - b ⌊a / b⌋,  ā = ȳ,  b̄ = -ȳ ⌊a / b⌋."""
    return xp(a, b).remainder(a, b)


def _remainder_divisor(g: Any, a: Any, b: Any) -> Any:
    k = floor(a / b)
    return -product(g, k)


remainder.defvjp(a=lambda g: g, b=_remainder_divisor)
remainder.domain(a=Interval(0.1, 0.9), b=Interval(1.0, 2.0), analytic=False)


@elementwise
def ceil(x: Array, /) -> Array:
    """Smallest integer not below x.  Its derivative is 0."""
    return xp(x).ceil(x)


ceil.defvjp(x=_nothing)
ceil.domain(x=Interval(0.1, 0.9), analytic=False)


@elementwise
def round(x: Array, /, decimals: int = 0) -> Array:
    """Round to the given number of decimals, halves to even.  Its derivative is 0."""
    return xp(x).round(x, decimals)


round.defvjp(x=_nothing)
round.domain(x=Interval(0.6, 1.4), analytic=False)


@elementwise
def nan_to_num(
    x: Array, /, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Array:
    """x with NaN and ±∞ replaced (by 0 and the largest numbers).  ȳ passes where x is finite."""
    return xp(x).nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


nan_to_num.defvjp(x=lambda g, x: where(isfinite(x), g, 0.0))
nan_to_num.domain(x=REALS, analytic=False)


@composite
def reciprocal(x: Array) -> Array:
    """1 / x; of integers as floats."""
    return divide(1.0, x)


@composite
def trunc(x: Array) -> Array:
    """x rounded towards 0.  Its derivative is 0."""
    return where(x < 0, ceil(x), floor(x))


@composite
def fmax(a: Array, b: Any) -> Array:
    """Larger of two, ignoring a NaN; equal ones share ȳ evenly."""
    return where(isnan(a), b, where(isnan(b), a, maximum(a, b)))


@composite
def fmin(a: Array, b: Any) -> Array:
    """Smaller of two, ignoring a NaN; equal ones share ȳ evenly."""
    return where(isnan(a), b, where(isnan(b), a, minimum(a, b)))
