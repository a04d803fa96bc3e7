"""dtypes: arrays keep theirs, Python numbers are weak, no float64 appears unasked (point 10)."""

import numpy as np
import pytest

import tinygrad_seq as ts

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def x():
    return ts.tensor([1.0, 2.0], requires_grad=True)


def test_where_dtypes_come_from():
    assert ts.tensor(1.5).dtype == np.float32
    assert ts.tensor([1.5, 2]).dtype == np.float32
    assert ts.tensor([1, 2]).dtype == np.int64
    assert ts.tensor([True]).dtype == np.bool_
    assert ts.tensor(np.ones(2)).dtype == np.float64
    assert ts.tensor(np.ones(2, "f2")).dtype == np.float16
    assert ts.tensor([np.ones(2), np.ones(2)]).dtype == np.float64
    assert ts.tensor(0.1, dtype="f8").item() == 0.1


def test_default_dtype_can_be_set():
    ts.set_default_dtype("f8")
    try:
        assert ts.tensor(1.5).dtype == np.float64
        assert ts.zeros(2).dtype == np.float64
    finally:
        ts.set_default_dtype("f4")
    with pytest.raises(TypeError, match="floating"):
        ts.set_default_dtype("i4")


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * 2 + 1.5,
        lambda x: 3 / x - 2.0**x,
        lambda x: x * np.float64(2.0),
        lambda x: x * np.sqrt(2.0),
        lambda x: ts.add(x, [1.0, 2.0]),
        lambda x: x * ts.tensor([1, 2]),
        lambda x: x * np.array([1, 2]),
        lambda x: x * np.array([True, False]),
        lambda x: x.mean() + x.var() + x.std() + x.norm(),
        lambda x: ts.where(x > 1.5, x, 0.0),
        lambda x: ts.where([True, False], 1.0, x),
        lambda x: ts.maximum(x, 0.5),
        lambda x: ts.clamp(x, 0.0, 1.5),
        lambda x: ts.pad(x, 2, constant_values=0.5),
        lambda x: ts.stack([x, x]),
        lambda x: x.prod() + x.cumsum(0) + x.cumprod(0),
        lambda x: ts.softmax(x) + ts.log_softmax(x) + ts.logsumexp(x),
        lambda x: ts.gelu(x) + ts.elu(x) + ts.softplus(x) + ts.silu(x) + ts.leaky_relu(x),
        lambda x: x**2 + x**0.5 + x**-1,
        lambda x: x / len(x),
        lambda x: ts.one_hot([0, 1], 2) @ x,
        lambda x: ts.tril(ts.outer(x, x)),
    ],
)
def test_float32_stays_float32_forward_and_backward(x, f):
    y = f(x)
    assert y.dtype == np.float32
    y.sum().backward(create_graph=True)
    assert x.grad.dtype == np.float32


def test_integers_alone_divide_into_the_default_float():
    assert (ts.tensor([1, 2]) / 2).dtype == np.float32
    assert ts.tensor([1, 2]).mean().dtype == np.float32
    assert (ts.tensor([1, 2]) + 1).dtype == np.int64


def test_float64_where_an_input_is_float64(x):
    assert (x * np.ones(2)).dtype == np.float64
    assert x.astype("f8").dtype == np.float64


def test_gradients_keep_the_dtype_of_each_argument(x):
    w = ts.tensor([1.0, 2.0], dtype="f8", requires_grad=True)
    (x * w).sum().backward()
    assert x.grad.dtype == np.float32
    assert w.grad.dtype == np.float64


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x**0.5,
        lambda x: x**-1,
        lambda x: 2.0**x,
        lambda x: x.max(),
        lambda x: x.min(axis=(0,)),
        lambda x: np.int64(2) * x,
        lambda x: np.dot(2.0, x),
    ],
)
def test_rules_compute_in_float32_too(x, f, monkeypatch):
    from tinygrad_seq.autograd import sums

    dtypes, fit = set(), sums.fit

    def seen(value, source, node, sums):
        dtypes.add(value.dtype)
        return fit(value, source, node, sums)

    monkeypatch.setattr("tinygrad_seq.autograd.sums.fit", seen)
    f(x).sum().backward(create_graph=True)
    assert dtypes == {np.dtype("f4")}


def test_what_is_not_a_real_number_is_refused(x):
    with pytest.raises(TypeError, match="complex"):
        x * np.array([1j, 1j])
    with pytest.raises(TypeError, match="astype"):
        x.astype(complex)
    with pytest.raises(TypeError, match="real numbers"):
        ts.tensor([1.0], dtype=object)
    with pytest.raises(TypeError, match="add takes"):
        x + np.array([None, 1.0])
    with pytest.raises(TypeError, match="stack"):
        ts.tensor([[x], [x]])
    with pytest.raises(TypeError, match="real numbers"):
        ts.tensor(["a"])
    with pytest.raises(TypeError, match="real numbers"):
        ts.tensor([1j])
    with pytest.raises(TypeError, match="real numbers"):
        ts.tensor(None)
    with pytest.raises(ValueError, match="equal lengths"):
        ts.tensor([[1.0], [1.0, 2.0]])
    with pytest.raises(TypeError, match="add takes"):
        x + "a"
    with pytest.raises(TypeError, match="stack"):
        ts.tensor([x, x])
