"""Differences of smaller steps: their error is measured, and is not less than the true one."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_seq.testing.reference import extrapolate

EPSILON = 2.0**-52


def central(f, x):
    """Central differences of a function of one number, with their rounding."""

    def difference(step):
        above, below = f(x + step), f(x - step)
        return (above - below) / (2 * step), EPSILON * (abs(above) + abs(below)) / (2 * step)

    return difference


@pytest.mark.parametrize("steepness", [1.0, 1e3, 1e5, 1e7, 1e8])
@pytest.mark.parametrize("at", [0.0, 0.1, 0.5])
def test_the_error_is_within_what_was_measured(steepness, at):
    """tanh(s x), whose central difference is off by (s h)²/3."""
    x = at / steepness
    found = extrapolate(
        central(lambda z: np.tanh(steepness * z), x), 1e-5, lambda value: 1e-6 * abs(value)
    )
    true = steepness * (1 - np.tanh(steepness * x) ** 2)
    assert abs(found.value - true) <= found.error
    assert found.error <= 1e-4 * true


def test_it_stops_as_soon_as_it_may():
    found = extrapolate(central(np.sin, 0.3), 1e-5, lambda value: 1e-6)
    assert found.step == 1e-5 / 4


def test_it_stops_where_rounding_takes_over():
    found = extrapolate(central(lambda z: 1e6 + np.sin(z), 0.3), 1e-5, lambda value: 0.0)
    assert abs(found.value - np.cos(0.3)) <= found.error < 1e-2
