"""Initialisers: the distribution, the dtype, the seed."""

import math

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq.nn import init

DRAWN = {
    "uniform": init.uniform,
    "normal": init.normal,
    "xavier_uniform": init.xavier_uniform,
    "xavier_normal": init.xavier_normal,
    "kaiming_uniform": init.kaiming_uniform,
    "kaiming_normal": init.kaiming_normal,
    "orthogonal": init.orthogonal,
}


def check_uniform(x, bound):
    assert np.abs(x).max() <= bound
    np.testing.assert_allclose(x.std(), bound / math.sqrt(3), rtol=0.02)
    np.testing.assert_allclose(x.mean(), 0, atol=0.02 * bound)
    np.testing.assert_allclose(np.quantile(x, 0.75), bound / 2, rtol=0.04)


def check_normal(x, std):
    np.testing.assert_allclose(x.std(), std, rtol=0.02)
    np.testing.assert_allclose(x.mean(), 0, atol=0.02 * std)
    np.testing.assert_allclose((np.abs(x) < std).mean(), 0.6827, atol=0.01)


SHAPE = (120, 300)  # out, in


def test_bounds_and_spreads():
    check_uniform(init.uniform(SHAPE, -0.3, 0.3), 0.3)
    assert init.uniform(1000, 2.0, 3.0).min() >= 2
    check_normal(init.normal(SHAPE, 0.0, 0.2), 0.2)
    np.testing.assert_allclose(init.normal(SHAPE, 5.0, 0.2).mean(), 5, atol=0.01)
    check_uniform(init.xavier_uniform(SHAPE), math.sqrt(6 / 420))
    check_uniform(init.xavier_uniform(SHAPE, gain=2.0), 2 * math.sqrt(6 / 420))
    check_normal(init.xavier_normal(SHAPE), math.sqrt(2 / 420))
    check_uniform(init.kaiming_uniform(SHAPE), math.sqrt(6 / 300))
    check_uniform(init.kaiming_uniform(SHAPE, mode="fan_out"), math.sqrt(6 / 120))
    check_normal(init.kaiming_normal(SHAPE), math.sqrt(2 / 300))
    check_normal(init.kaiming_normal(SHAPE, gain=1.0, mode="fan_out"), math.sqrt(1 / 120))
    # Axes after the first two multiply both fans.
    check_uniform(init.xavier_uniform((20, 30, 8, 8)), math.sqrt(6 / (50 * 64)))


def test_constants():
    np.testing.assert_array_equal(init.constant((2, 3), 1.5), np.full((2, 3), 1.5))
    np.testing.assert_array_equal(init.zeros(4), np.zeros(4))


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3), (2, 4, 3)])
def test_orthogonal(shape):
    drawn = init.orthogonal(shape, gain=2.0, dtype="float64")
    assert drawn.shape == shape
    matrix = drawn.reshape(shape[0], -1)
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), rtol=0, atol=1e-12)


def test_orthogonal_is_uniform_over_signs():
    """Without the sign correction QR gives the first entries one sign only."""
    first = [init.orthogonal((3, 3))[0, 0] for _ in range(200)]
    assert 60 < sum(value > 0 for value in first) < 140


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtype_and_seed(draw, dtype):
    ts.manual_seed(5)
    one = draw((4, 6), dtype=dtype)
    two = draw((4, 6), dtype=dtype)
    ts.manual_seed(5)
    again = draw((4, 6), dtype=dtype)
    own = draw((4, 6), dtype=dtype, rng=np.random.default_rng(5))
    assert one.dtype == dtype
    assert one.flags.c_contiguous
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(one, own)


def test_the_default_dtype_is_followed():
    assert init.normal(3).dtype == np.float32
    ts.set_default_dtype("float64")
    assert init.normal(3).dtype == np.float64
    assert init.zeros(3).dtype == np.float64


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match=r"at least two axes, none empty; got \(3,\)"):
        init.xavier_uniform((3,))
    with pytest.raises(ValueError, match="at least two axes"):
        init.orthogonal(3)
    with pytest.raises(ValueError, match=r"none empty; got \(0, 3\)"):
        init.kaiming_normal((0, 3))
    with pytest.raises(ValueError, match='"fan_in" or "fan_out"; got \'fan\''):
        init.kaiming_normal((2, 3), mode="fan")
    with pytest.raises(TypeError, match="floating dtype"):
        init.zeros(3, dtype=int)
