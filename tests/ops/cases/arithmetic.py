"""Arithmetic whose arguments depend on one another, or that has parameters."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tinygrad_seq.autograd import Interval
from tinygrad_seq.testing import arrays, broadcastable_shapes

from .base import AWAY_FROM_0, CASES, POSITIVE, case, small


@case
def power(draw):
    """Arrays, or a number as the exponent, or as the base."""
    a, b = draw(broadcastable_shapes(2, max_dims=2))
    bases = arrays(a, POSITIVE, layouts=True)
    exponents = arrays(b, Interval(-2.0, 3.0, kinks=(0.0,)), layouts=True)
    numbers = st.sampled_from([-1, 0, 0.5, 1, 2, 3.0])
    pairs = [
        st.tuples(bases, exponents),
        st.tuples(bases, numbers),
        st.tuples(st.sampled_from([0.5, 1, 2.0]), exponents),
    ]
    return draw(st.one_of(pairs)), {}


@case
def remainder(draw):
    """Several periods on either side, away from the jumps at whole quotients."""
    a, b = draw(broadcastable_shapes(2, max_dims=2))
    divisor = draw(arrays(b, POSITIVE, layouts=True)) * draw(st.sampled_from([-1.0, 1.0]))
    quotient = draw(arrays(np.broadcast_shapes(a, b), Interval(0.0, 1.0)))
    whole = draw(arrays(np.broadcast_shapes(a, b))).round()
    return (np.asarray((whole + quotient) * divisor), divisor), {}


@case
def maximum(draw):
    """Two arrays without ties."""
    a, b = draw(broadcastable_shapes(2))
    a, b = draw(arrays(a, layouts=True)), draw(arrays(b, layouts=True))
    while (np.abs(np.subtract(a, b)) < 0.05).any():  # move b until no entry of it meets one of a
        b = np.asarray(b + 0.11)
    return (a, b), {}


for _name in ("minimum", "fmax", "fmin"):
    CASES[_name] = CASES["maximum"]


@case
def where(draw):
    """A mask and two arrays, all three broadcast together."""
    condition, a, b = draw(broadcastable_shapes(3))
    mask = draw(arrays(condition)) > 0
    return (mask, draw(arrays(a, layouts=True)), draw(arrays(b, layouts=True))), {}


@case
def limit(draw):
    """Bounds that are arrays, numbers or missing."""
    x, low, high = draw(broadcastable_shapes(3, max_dims=2))
    bounds = [
        draw(st.one_of(st.sampled_from([None, number]), arrays(shape, interval)))
        for shape, number, interval in [
            (low, -1.0, Interval(-1.1, -0.9)),
            (high, 1.0, Interval(0.9, 1.1)),
        ]
    ]
    if all(bound is None for bound in bounds):
        bounds = [-1.0, None]
    return (draw(arrays(x, Interval(-3.0, 3.0, kinks=(-1.0, 1.0)), layouts=True)), *bounds), {}


@case
def clamp(draw):
    """Bounds at either end, or one of them."""
    low, high = draw(st.sampled_from([(-1.0, 1.0), (-1.0, None), (None, 1.0), (1.0, 1.0)]))
    x = draw(arrays(draw(small()), Interval(-3.0, 3.0, kinks=(-1.0, 1.0)), layouts=True))
    return (x,), {"min": low, "max": high}


CASES["clip"] = CASES["clamp"]


CASES["gelu_tanh"] = arrays(small(), layouts=True).map(lambda x: ((x,), {}))


@case
def leaky_relu(draw):
    """Slopes on either side of 1, and a falling one."""
    slope = draw(st.sampled_from([0.01, 0.3, 2.0, -0.5]))
    return (draw(arrays(small(), AWAY_FROM_0, layouts=True)),), {"slope": slope}


@case
def elu(draw):
    """With a factor."""
    alpha = draw(st.sampled_from([1.0, 0.5, 2.0]))
    return (draw(arrays(small(), AWAY_FROM_0, layouts=True)),), {"alpha": alpha}


@case
def sinc(draw):
    """Near 0, where the rule is a series, and away from it."""
    x = draw(arrays(small(), layouts=True))
    return (np.asarray(x * draw(st.sampled_from([1.0, 0.02]))),), {}


@case
def reciprocal(draw):
    """Away from 0."""
    return (draw(arrays(small(), AWAY_FROM_0, layouts=True)),), {}


@case
def trunc(draw):
    """Between whole numbers, on either side of 0."""
    x = draw(arrays(small(), Interval(0.1, 0.9)))
    return (np.asarray(x + draw(st.integers(-3, 2))),), {}


for _name in ("deg2rad", "rad2deg", "degrees", "radians"):
    CASES[_name] = arrays(small(), layouts=True).map(lambda x: ((x,), {}))
CASES["fabs"] = CASES["reciprocal"]
