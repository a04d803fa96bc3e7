"""dtypes: arrays keep theirs, Python numbers are weak, no float64 appears unasked (point 10)."""

import numpy as np
import pytest
from device import host

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


def test_numbers_of_numpy_keep_their_dtype_in_tensors():
    value = np.float64(0.1)
    assert ts.tensor(value).dtype == np.float64
    assert ts.tensor([value, 2.0]).dtype == np.float64
    assert ts.tensor([np.float32(0.1), 2.0]).dtype == np.float32
    assert ts.tensor([np.float16(0.1), 2]).dtype == np.float16
    gradient = ts.grad(ts.sin)(value)
    assert gradient.dtype == np.float64
    assert gradient.item() == np.cos(0.1)
    assert (ts.ones(2) * value).dtype == np.float32  # beside tensors they are weak


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_lists_of_tensors_keep_their_dtype(dtype):
    parts = [ts.tensor(2.0, dtype=dtype), ts.tensor(3.0, dtype=dtype)]
    for given in (parts, [parts, parts], [tuple(parts)], [parts[0], 1.0], [parts[0], 1]):
        assert ts.tensor(given).dtype == dtype
    assert ts.ops.prod(parts).dtype == dtype
    assert ts.ops.prod(parts).item() == 6


SMALL = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "?"]


@pytest.mark.parametrize("dtype", SMALL)
def test_products_of_integers_are_wide(dtype):
    x = np.full(3, 1 if dtype == "?" else 100, dtype)
    for f, reference in ((ts.ops.prod, np.prod), (ts.ops.cumprod, np.cumprod)):
        y, expected = f(ts.tensor(x)), reference(x)
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(host(y), expected)


@pytest.mark.parametrize("dtype", [*SMALL, "f2", "f4", "f8"])
def test_topk_of_every_dtype(dtype):
    kind = np.dtype(dtype).kind
    low, high = (
        (False, True)
        if kind == "b"
        else (-np.inf, np.nan)
        if kind == "f"
        else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    )
    x = np.array([low, 1, high, low, high, 0], dtype)
    values, positions = ts.ops.topk(ts.tensor(x), 3)
    assert values.dtype == x.dtype
    assert host(positions).tolist() == ([1, 2, 4] if kind == "b" else [2, 4, 1])
    np.testing.assert_array_equal(host(values), x[host(positions)])


@pytest.mark.parametrize("dtype", [*SMALL, "f2", "f4", "f8"])
def test_triangles_keep_their_dtype(dtype):
    x = np.ones((3, 3), dtype)
    for f, reference in ((ts.tril, np.tril), (ts.triu, np.triu)):
        y = f(ts.tensor(x))
        assert y.dtype == dtype
        np.testing.assert_array_equal(host(y), reference(x))


@pytest.mark.parametrize("dtype", SMALL)
@pytest.mark.parametrize(
    "f", [ts.softplus, ts.softmax, ts.log_softmax, ts.logsumexp, ts.sigmoid, ts.ops.silu, ts.gelu]
)
def test_activations_of_integers_are_those_of_floats(f, dtype):
    x = np.array([1, 0, 1], dtype)
    y = f(ts.tensor(x))
    assert y.dtype == np.float32
    np.testing.assert_allclose(host(y), host(f(ts.tensor(x.astype("f8")))), rtol=1e-6)


@pytest.mark.parametrize("f", [ts.index_set, ts.index_add])
@pytest.mark.parametrize("value", [2.5, np.float32(2.5), np.array([2.5]), ts.tensor([2.5])])
def test_floats_are_not_cut_to_integers(f, value):
    for target in (ts.tensor([1, 2]), np.array([1, 2]), ts.tensor([True, False])):
        with pytest.raises(TypeError, match=r"cut them to integers.*astype"):
            f(target, slice(0, 1), value)
    assert host(f(ts.tensor([1, 2]), 0, 1)).dtype == np.int64


@pytest.mark.host("CuPy adds up in trees, the fake device as NumPy does")
@pytest.mark.parametrize("axis", [0, (0, 2), -3])
def test_long_sums_of_rows_keep_their_digits(axis):
    x = np.full((200_000, 2, 3), 0.1, "f4")
    y = x.astype("f8").mean(axis)
    np.testing.assert_allclose(host(ts.mean(ts.tensor(x), axis=axis)), y, rtol=5e-6)
    np.testing.assert_allclose(
        host(ts.sum(ts.tensor(x), axis=axis)) / x.size * y.size, y, rtol=5e-6
    )


@pytest.mark.host("CuPy adds up in trees, the fake device as NumPy does")
def test_half_precision_adds_up_in_single():
    x = ts.tensor(np.full((4096, 3), 4e-4, "f2"))
    bias = ts.zeros(3, dtype="f2", requires_grad=True)
    (bias * 1 + ts.zeros((4096, 3), dtype="f2")).backward(x)
    expected = 4096 * float(np.float16(4e-4))
    np.testing.assert_allclose(host(bias.grad), expected, rtol=1e-3)
    np.testing.assert_allclose(host(ts.sum(x, axis=0)), expected, rtol=1e-3)
    np.testing.assert_allclose(host(ts.mean(x, axis=0)), 4e-4, rtol=1e-3)


@pytest.mark.parametrize("f", [ts.max, ts.min, ts.mean])
def test_reductions_of_more_elements_than_half_precision_counts(f):
    x = ts.tensor(np.ones(70_000, "f2"), requires_grad=True)
    y = f(x)
    assert y.item() == 1
    y.backward()
    np.testing.assert_allclose(host(x.grad), 1 / 70_000, rtol=5e-3)
