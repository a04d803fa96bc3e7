"""The fake device refuses what CuPy refuses, and counts what is asked of it."""

from __future__ import annotations

import numpy as np
import pytest
from device import counts, fake


@pytest.fixture
def cupy():
    with fake():
        import cupy

        yield cupy


REFUSED = {
    "a host array in an elementwise function": (lambda cp, x: cp.add(x, np.ones(3)), TypeError),
    "a host array in an operator": (lambda cp, x: np.ones(3) * x, TypeError),
    "a list in an elementwise function": (lambda cp, x: cp.add(x, [1, 2, 3]), TypeError),
    "a host array in a product": (lambda cp, x: cp.matmul(x, np.ones(3)), TypeError),
    "np.asarray": (lambda cp, x: np.asarray(x), TypeError),
    "a function of NumPy": (lambda cp, x: np.sum(x), TypeError),
    "a host array as index": (lambda cp, x: x[np.array([0, 1])], IndexError),
    "a host array written": (lambda cp, x: x.__setitem__(0, np.ones(1)), TypeError),
    "an array as Python int": (lambda cp, x: range(cp.argmax(x)), TypeError),
    "a slice by an array": (lambda cp, x: x[: cp.argmax(x)], TypeError),
    "a repeated position written": (
        lambda cp, x: x.__setitem__(cp.asarray([0, 0]), 1.0),
        AssertionError,
    ),
    "a write where other threads read": (lambda cp, x: cp.divide(x, x[-1:], out=x), AssertionError),
    "a product written into its argument": (
        lambda cp, x: cp.matmul(x, cp.eye(3), out=x),
        AssertionError,
    ),
    "a kernel that reads what it writes": (
        lambda cp, x: cp.ElementwiseKernel("T x", "T y", "y = x;")(x[1:], x[:-1]),
        AssertionError,
    ),
    "a name that CuPy lacks": (
        lambda cp, x: cp.errstate(all="ignore"),
        (AttributeError, TypeError),
    ),
    "a keyword that CuPy lacks": (lambda cp, x: cp.max(x, initial=0), TypeError),
    "a keyword that a method lacks": (lambda cp, x: x.max(initial=0), TypeError),
    "a kernel on a host array": (
        lambda cp, x: cp.ElementwiseKernel("T x", "T y", "y = x")(np.ones(3)),
        TypeError,
    ),
    "a kernel on two dtypes": (
        lambda cp, x: cp.ElementwiseKernel("T x, T z", "T y", "y = x + z;")(x, x.astype("f4")),
        TypeError,
    ),
    "a name that kernels reserve": (
        lambda cp, x: cp.ElementwiseKernel("T n", "T y", "y = n;"),
        ValueError,
    ),
    "matmul into a third argument": (
        lambda cp, x: cp.matmul(x[:, None], x[None], cp.empty((3, 3))),
        ValueError,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(cupy, what):
    attempt, error = REFUSED[what]
    with pytest.raises(error):
        attempt(cupy, cupy.asarray(np.arange(3.0)))


def test_accepted(cupy):
    x = cupy.asarray(np.arange(6.0).reshape(2, 3))
    y = cupy.where(x > 2, x, 0.0).sum(axis=0) + np.float64(1)
    np.testing.assert_array_equal(cupy.asnumpy(y), [4, 5, 6])
    np.testing.assert_array_equal(cupy.asnumpy(x[:, cupy.asarray([0, 4])]), [[0, 1], [3, 4]])
    assert x.T.base is x
    assert np.isnan(cupy.empty(2).get()).all()


def test_counts(cupy):
    counts.reset()
    x = cupy.asarray(np.ones((2, 3)))
    assert vars(counts) == {"launches": 0, "uploads": 1, "downloads": 0, "waits": 0}
    x.T.reshape(6)  # not contiguous: a copy
    x[0].reshape(3, 1)
    x += 1
    assert counts.launches == 2
    bool(x[0, 0] > 1)
    x[x > 5]
    assert (counts.downloads, counts.waits) == (1, 2)
    cupy.cuda.get_current_stream().synchronize()
    assert counts.waits == 3
