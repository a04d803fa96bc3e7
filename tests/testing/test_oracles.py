"""The oracles against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_seq.testing import central_differences, complex_step
from tinygrad_seq.testing.oracles import central_differences_with_noise

ORACLES = [(central_differences, 1e-6), (complex_step, 1e-9)]


@pytest.mark.parametrize(("oracle", "rtol"), ORACLES)
def test_product_with_a_matrix(oracle, rtol, rng):
    a, b, g = rng.normal(size=(3, 4)), rng.normal(size=(4, 2)), rng.normal(size=(3, 2))
    found = oracle(lambda a, b: a @ b, (a, b), g)
    np.testing.assert_allclose(found[0], g @ b.T, rtol=rtol)
    np.testing.assert_allclose(found[1], a.T @ g, rtol=rtol)


@pytest.mark.parametrize(("oracle", "rtol"), ORACLES)
@pytest.mark.parametrize(
    ("f", "derivative", "low", "high"),
    [
        (np.tanh, lambda x: 1 - np.tanh(x) ** 2, -3, 3),
        (np.exp, np.exp, -3, 3),
        (np.log, lambda x: 1 / x, 0.1, 5),
        (lambda x: x**3, lambda x: 3 * x**2, 0.1, 100),
        (lambda x: 1e6 * np.sin(x), lambda x: 1e6 * np.cos(x), -1, 1),
    ],
)
def test_closed_forms(oracle, rtol, f, derivative, low, high, rng):
    x, g = rng.uniform(low, high, (2, 3)), rng.normal(size=(2, 3))
    np.testing.assert_allclose(oracle(f, (x,), g)[0], g * derivative(x), rtol=rtol)


@pytest.mark.parametrize(("oracle", "rtol"), ORACLES)
def test_several_outputs_share_one_sum(oracle, rtol, rng):
    x, g, h = rng.normal(size=3), rng.normal(size=3), rng.normal()
    (found,) = oracle(lambda x: (x * x, np.sum(x)), (x,), (g, h))
    np.testing.assert_allclose(found, g * 2 * x + h, rtol=rtol)


@pytest.mark.parametrize(("oracle", "rtol"), ORACLES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1)])
def test_every_shape(oracle, rtol, shape, rng):
    x, g = rng.normal(size=shape), rng.normal(size=shape)
    (found,) = oracle(lambda x: 2 * x, (x,), g)
    assert found.shape == shape
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, 2 * np.asarray(g), rtol=rtol)


def test_complex_step_is_exact_where_a_difference_cancels():
    x = np.array([1e-8])
    (found,) = complex_step(np.expm1, (x,), np.ones(1))
    np.testing.assert_allclose(found, np.exp(x), rtol=1e-15)


@pytest.mark.parametrize(("oracle", "rtol"), ORACLES)
def test_inputs_are_left_alone(oracle, rtol, rng):
    x = rng.normal(size=(2, 2))
    kept = x.copy()
    oracle(lambda x: x * x, (x,), np.ones((2, 2)))
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize(("oracle", "rtol"), ORACLES)
def test_float32_is_refused(oracle, rtol):
    with pytest.raises(TypeError, match="input 1 is float32"):
        oracle(lambda a, b: a * b, (np.ones(2), np.ones(2, np.float32)), np.ones(2))


@pytest.mark.parametrize(("oracle", "rtol"), ORACLES)
def test_a_cotangent_of_another_shape_is_refused(oracle, rtol):
    with pytest.raises(ValueError, match=r"\(2,\).*\(1,\)"):
        oracle(lambda x: x, (np.ones(2),), np.ones(1))


def test_complex_step_refuses_what_drops_the_imaginary_part():
    with pytest.raises(TypeError, match="central differences"):
        complex_step(lambda x: x.real, (np.ones(2),), np.ones(2))


@pytest.mark.parametrize("x", [1.79768864e308, np.finfo(float).max, -np.finfo(float).max])
def test_differences_next_to_the_largest_float_are_numbers(x):
    """Their step would end beyond it."""
    ((slope, noise),) = central_differences_with_noise(np.tanh, [np.array([x])], np.ones(1))
    assert slope == 0
    assert not np.isnan(noise)
    ((slope, _),) = central_differences_with_noise(lambda x: x, [np.array([x])], np.ones(1))
    np.testing.assert_allclose(slope, 1)
