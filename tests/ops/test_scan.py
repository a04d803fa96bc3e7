"""Linear recurrences: lengths, long sequences, and what is refused. (The table tests the rest.)"""

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts

pytestmark = pytest.mark.usefixtures("backend")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_a_padded_batch_is_each_sequence_alone(reverse, pairs, begun):
    last = (2,) if pairs else ()
    a, b, h0 = draw(6, 3, 4, *last), draw(6, 3, 4, *last, seed=1), draw(3, 4, *last, seed=2)
    lengths = np.array([6, 1, 4])
    mask = np.arange(6)[:, None] < lengths
    xs = [ts.Tensor(np.where(mask.reshape(6, 3, 1, *[1] * pairs), x, np.nan)) for x in (a, b)]
    xs.append(ts.Tensor(h0))
    for x in xs:
        x.requires_grad = True
    y = ts.linear_scan(xs[0], xs[1], xs[2] if begun else None, reverse, mask, pairs)
    y[0 if reverse else -1].sum().backward()
    counted = ts.linear_scan(xs[0], xs[1], xs[2] if begun else None, reverse, None, pairs, lengths)
    np.testing.assert_array_equal(host(counted), host(y))
    for n, length in enumerate(lengths):
        alone = [ts.Tensor(x[:length, n], requires_grad=True) for x in (a, b)]
        start = ts.Tensor(h0[n], requires_grad=True)
        z = ts.linear_scan(*alone, start if begun else None, reverse, pairs=pairs)
        z[0 if reverse else -1].sum().backward()
        np.testing.assert_allclose(host(y)[:length, n], host(z), rtol=0, atol=1e-14)
        if not reverse:
            assert (host(y)[length:, n] == host(y)[length - 1, n]).all()
        for x, part in zip(xs, alone, strict=False):
            np.testing.assert_allclose(host(x.grad)[:length, n], host(part.grad), atol=1e-14)
            assert not host(x.grad)[length:, n].any()
        if begun:
            np.testing.assert_allclose(host(xs[2].grad)[n], host(start.grad), atol=1e-14)


def test_it_neither_overflows_nor_underflows_over_many_steps():
    """Where the closed form by cumulative products has 0.5^-100000 in it."""
    a, b = np.full((100_000, 1), 0.5, "f4"), np.ones((100_000, 1), "f4")
    x = ts.Tensor(b, requires_grad=True)
    y = ts.linear_scan(a, x)
    assert host(y)[-1, 0] == 2
    y[-1].sum().backward()
    assert host(x.grad)[-1, 0] == 1
    assert host(x.grad)[0, 0] == 0
    assert y.dtype == x.grad.dtype == np.float32


def test_one_node_saves_no_sums():
    a, b = (ts.Tensor(draw(50, 2), requires_grad=True) for _ in range(2))
    y = ts.linear_scan(a, b)
    assert y.node.op.name == "scan"
    assert {e for e in y.node.edges if e is not None} == {a, b}


def test_numbers_lists_and_dtypes():
    assert ts.linear_scan(0.5, [2.0, 4.0], 2).tolist() == [3.0, 5.5]
    y = ts.linear_scan(np.float64(0.5), ts.Tensor(np.ones((2, 1), "f4")), mask=[True, False])
    assert y.dtype == np.float32
    assert host(y).tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda b: ts.linear_scan(0.5, b[:0]), ValueError, r"at least one step; got shape \(0, 2"),
        (lambda b: ts.linear_scan(0.5, b[0, 0, 0]), ValueError, r"b \(T, ...\)"),
        (lambda b: ts.linear_scan(np.ones((5, 3)), b), ValueError, r"expects a .*\(5, 3\)"),
        (lambda b: ts.linear_scan(np.ones((2, 4, 2, 3)), b), ValueError, "expects a that broad"),
        (lambda b: ts.linear_scan(0.5, b, np.ones(4)), ValueError, r"expects h0 .* \(2, 3\); got"),
        (lambda b: ts.linear_scan(0.5, b, pairs=True), ValueError, r"b \(..., 2\)"),
        (lambda b: ts.linear_scan(0.5, b, mask=[1, 0, 1, 1]), TypeError, "booleans; got int64"),
        (lambda b: ts.linear_scan(0.5, b, lengths=[0, 4]), ValueError, r"1 to 4 .* got \[0, 4\]"),
        (lambda b: ts.linear_scan(0.5, b, lengths=[4]), ValueError, r"of shape \(2,\); got \[4\]"),
        (lambda b: ts.linear_scan(0.5, b, lengths=[4.0, 1.0]), TypeError, "integers; got float64"),
        (
            lambda b: ts.linear_scan(0.5, b, lengths=[4, 1], mask=[True] * 4),
            ValueError,
            "or a mask, not both",
        ),
        (lambda b: ts.linear_scan(b, b * 1j), TypeError, "complex numbers as pairs"),
        (lambda b: ts.linear_scan(b, b, b[0] * 1j), TypeError, "complex numbers as pairs"),
        (lambda b: ts.linear_scan(0.5, b, mask=[True]), ValueError, r"first axes .* got \(1,\)"),
    ],
)
def test_what_does_not_fit_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((4, 2, 3)))
