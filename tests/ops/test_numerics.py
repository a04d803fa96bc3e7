"""Values and gradients where numbers are large, small or short: offsets, underflow, float16."""

from __future__ import annotations

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn, ops, optim
from tinygrad_seq.autograd import PRIMITIVES
from tinygrad_seq.distributions import Categorical
from tinygrad_seq.messages import is_ours

pytestmark = pytest.mark.usefixtures("backend")


def gradient_of(f, *values, dtype="f8"):
    leaves = [ts.tensor(v, dtype=dtype, requires_grad=True) for v in values]
    with np.errstate(all="ignore"):  # the fake device computes with NumPy
        y = f(*leaves)
        found = ts.autograd.grad(y, leaves, ts.ones_like(y))
    return [host(g) for g in found]


@pytest.mark.parametrize("offset", [0.0, 1e6, -1e6, 1e7])
@pytest.mark.parametrize("axis", [None, 1, (0, 1)])
def test_shares_of_logsumexp_sum_to_one(offset, axis):
    x = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 1.0]]) + offset
    (shares,) = gradient_of(lambda x: ops.logsumexp(x, axis=axis), x, dtype="f4")
    np.testing.assert_allclose(shares.sum(axis=axis), 1, rtol=1e-6)
    near = np.exp(x - x.max(axis=axis, keepdims=True))
    np.testing.assert_allclose(shares, near / near.sum(axis=axis, keepdims=True), rtol=1e-5)
    nothing = np.full((2, 3), -np.inf)
    np.testing.assert_array_equal(gradient_of(ops.logsumexp, nothing)[0], 0)


@pytest.mark.parametrize(("a", "b"), [(1e6, 1e6), (1e6, 1e6 + 1), (-1e7, -1e7), (0.0, 500.0)])
def test_shares_of_logaddexp_sum_to_one(a, b):
    for f in (ops.logaddexp, ops.logaddexp2):
        ga, gb = gradient_of(f, a, b, dtype="f4")
        np.testing.assert_allclose(ga + gb, 1, rtol=1e-6)
    np.testing.assert_allclose(ga, 1 / (1 + 2.0 ** (b - a)), rtol=1e-6, atol=1e-30)
    ga, gb = gradient_of(ops.logaddexp, a, b, dtype="f4")
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(ga, 1 / (1 + np.exp(b - a)), rtol=1e-5, atol=1e-30)
    nothing = gradient_of(ops.logaddexp, -np.inf, -np.inf)
    assert [g.item() for g in nothing] == [0, 0]


@pytest.mark.parametrize("x", [-80.0, -20.0, -1.0, 0.0, 1.0, 20.0, 80.0])
@pytest.mark.parametrize("target", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("pos_weight", [None, 3.0])
def test_binary_cross_entropy_is_exact_where_it_is_small(x, target, pos_weight):
    p = 1.0 if pos_weight is None else pos_weight
    loss = nn.bce_with_logits(ts.tensor([x]), ts.tensor([target]), pos_weight=pos_weight)
    expected = p * target * np.logaddexp(0, -x) + (1 - target) * np.logaddexp(0, x)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-6)
    (g,) = gradient_of(
        lambda x: nn.bce_with_logits(x, ts.tensor([target]), pos_weight=pos_weight), [x], dtype="f4"
    )
    slope = -p * target / (1 + np.exp(x)) + (1 - target) / (1 + np.exp(-x))
    np.testing.assert_allclose(g, [slope], rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1.0, 1e200])
def test_deviations_of_any_size(scale):
    x = np.array([1.0, 0.0, 3.0]) * scale
    np.testing.assert_allclose(ops.std(ts.tensor(x)).item(), np.std([1, 0, 3]) * scale, rtol=1e-14)
    (g,) = gradient_of(ops.std, x)
    np.testing.assert_allclose(g, gradient_of(ops.std, [1.0, 0.0, 3.0])[0], rtol=1e-12)
    (g,) = gradient_of(lambda x: ops.std(x, ddof=1), [scale, 0.0])
    np.testing.assert_allclose(g, [0.5**0.5, -(0.5**0.5)], rtol=1e-12)


def test_singular_points_have_their_conventions():
    for f in (ops.std, ops.norm, lambda x: ops.norm(x, 3), lambda x: ts.sqrt(ops.norm(x, 1))):
        np.testing.assert_array_equal(gradient_of(f, [0.0, 0.0])[0], 0)
    for f in (ops.std, ops.norm):  # also for an infinite gradient from above
        (g,) = gradient_of(lambda x, f=f: ts.sqrt(f(x)), [0.0, 0.0])
        np.testing.assert_array_equal(g, 0)
    for p in (0.5, 0.25, 1.0, 1.5, 2.0, 3.0):
        (g,) = gradient_of(lambda x, p=p: ops.norm(x, p), [0.0, 2.0])
        np.testing.assert_allclose(g, [0, 1], rtol=1e-14)


@pytest.mark.parametrize("b", [2.0, 3.0, -1.0, 0.5])
@pytest.mark.parametrize("base", [-2.0, np.array([-2.0])])
def test_an_exponent_of_a_negative_base_has_no_gradient(base, b):
    with np.errstate(invalid="ignore"):
        (g,) = gradient_of(lambda b: ops.power(base, b), [b])
    assert np.isnan(g).all()
    np.testing.assert_array_equal(gradient_of(lambda b: 0.0**b, [0.0, 2.0])[0], 0)


HALF = np.array([-8.0, -3.5, -3.0, -1.0, 0.0, 1.0, 3.0, 3.5, 8.0, 300.0, -300.0])


@pytest.mark.host("the fake device has no float16")
@pytest.mark.parametrize(
    "f", [ops.erf, ops.gelu, ops.gelu_tanh, ops.silu, ops.softplus, ops.sigmoid, ops.softmax,
          ops.log_softmax, ops.logsumexp, ops.std, ops.norm, ops.mean, ops.max]
)  # fmt: skip
def test_half_precision_is_single_precision_rounded(f):
    with np.errstate(over="ignore"):
        half, single = f(ts.tensor(HALF, dtype="f2")), f(ts.tensor(HALF, dtype="f4"))
        (g,), (g32,) = gradient_of(f, HALF, dtype="f2"), gradient_of(f, HALF, dtype="f4")
    assert half.dtype == g.dtype == np.float16
    np.testing.assert_allclose(host(half), host(single), rtol=2e-3, atol=5e-4)
    np.testing.assert_allclose(g, g32, rtol=2e-2, atol=2e-3)


ALL = np.arange(2**16, dtype="u2").view("f2")
ALL = ALL[np.isfinite(ALL)]
OF_ONE = [
    op
    for op in PRIMITIVES.values()
    if op.rules and op.elementwise and len(op.arguments) == 1 and is_ours(op)
]


def halves(f, *values):
    """The value and gradients of float16, and of the same numbers in float32, rounded."""
    with np.errstate(all="ignore"):
        for dtype in ("f2", "f4"):
            leaves = [v.astype(dtype) for v in values]
            y = host(f(*map(ts.tensor, leaves)))
            assert y.dtype == dtype
            found = [y, *gradient_of(f, *leaves, dtype=dtype)] if y.dtype.kind == "f" else [y]
            yield [part.astype("f2").astype("f8") for part in found]


@pytest.mark.host("the fake device has no float16")
@pytest.mark.parametrize("f", [*OF_ONE, ops.gelu_tanh], ids=lambda f: f.__name__)
def test_every_half_precision_number(f):
    """Rules that use the result, such as that of tanh, know it to 0.0005."""
    half, right = halves(f, ALL)
    fits = np.isfinite(right[0])
    for found, expected in zip(half, right, strict=True):
        np.testing.assert_allclose(found[fits], expected[fits], rtol=4e-3, atol=6e-4)


SERIES = np.array([300.0, 0.0, 0.0, 1e-3])
WIDE = {
    "mse": (lambda x: nn.mse_loss(x, ts.zeros_like(x)), SERIES),
    "mse by keyword": (lambda x: nn.mse_loss(predictions=x, targets=ts.zeros_like(x)), SERIES),
    "mse of each": (lambda x: nn.mse_loss(x, ts.zeros_like(x), "none"), SERIES / 2),
    "huber": (lambda x: nn.huber_loss(x, ts.zeros_like(x), 300.0), SERIES),
    "gaussian": (lambda x: nn.gaussian_nll_loss(x, ts.zeros_like(x), ts.ones_like(x)), SERIES),
    "gaussian, var": (
        lambda v: nn.gaussian_nll_loss(ts.zeros_like(v), v * 0 + 30.0, v),
        np.array([300, 0.1, 1, 2]),
    ),
    "poisson": (lambda x: nn.poisson_nll_loss(x, ts.ones_like(x)), np.array([12.0, 0, 0, 0])),
    "bce": (lambda x: nn.bce_with_logits(x, ts.zeros_like(x)), np.full(70_000, -9.0)),
    "var": (ops.var, np.linspace(-2, 2, 70_000)),
    "std": (ops.std, np.linspace(-2, 2, 70_000)),
    "average": (lambda x: ops.average(x, weights=x), np.linspace(1, 2, 70_000)),
    "nanmean": (ops.nanmean, np.linspace(1, 2, 70_000)),
    "median": (ops.median, np.array([-6e4, -6e4, 6e4, 6e4])),
    "trapezoid": (lambda x: ops.trapezoid(x, dx=1e-3), np.full(9, 6e4)),
    "cross": (lambda x: ops.cross(x, x + 1.0)[0], np.array([300.0, 290.0, 280.0])),
    "prod": (ops.prod, np.array([3e3, 3e3, 1e-3, 1e-3])),
    "linear_scan": (lambda b: ops.linear_scan(0.999, b)[-1], np.full(3000, 1e-3)),
    "linear_scan, a": (lambda a: ops.linear_scan(a, a * 0 + 1e-3)[-1], np.full(3000, 0.999)),
    "arctan2": (lambda x: ops.sum(ops.arctan2(x, x * 2)), np.array([1e-4, 1e-3, 300.0])),
}


@pytest.mark.host("the fake device has no float16")
@pytest.mark.parametrize("name", WIDE)
def test_sums_and_squares_of_half_precision(name):
    """What float16 can hold at the end is right, also if it could not hold what is between."""
    f, values = WIDE[name]
    for found, expected in zip(*halves(f, values.astype("f2")), strict=True):
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(found, expected, rtol=5e-3, atol=1e-6)


@pytest.mark.host("the fake device has no float16")
def test_second_derivatives_in_half_precision():
    x = np.array([-300.0, -3.0, 0.5, 300.0])
    found = [
        host(
            ts.grad(lambda x: ts.grad(lambda x: ops.sum(ops.arcsinh(x)))(x).sum())(
                ts.tensor(x, dtype=d)
            )
        )
        for d in ("f2", "f4")
    ]
    assert found[0].dtype == np.float16
    np.testing.assert_allclose(*found, rtol=2e-2, atol=1e-6)


@pytest.mark.host("the fake device has no float16")
@pytest.mark.parametrize("axis", [0, 1])
def test_long_running_sums_in_half_precision(axis):
    x = ts.full((2, 3000) if axis else (3000, 2), 0.1, dtype="f2", requires_grad=True)
    y = ts.cumsum(x, axis=axis)
    (y * 1e-3).sum().backward()
    assert y.dtype == x.grad.dtype == np.float16
    np.testing.assert_allclose(host(y.max()), 300, rtol=2e-3)
    np.testing.assert_allclose(host(x.grad.max()), 3, rtol=2e-3)


@pytest.mark.host("the fake device has no float16")
@pytest.mark.parametrize("scale", [1.0, 300.0, 3e4])
def test_layers_in_half_precision(scale):
    norm = nn.LayerNorm(4, dtype="f2")
    x = np.array([[1.0, -1.0, 1.0, -1.0]]) * scale
    np.testing.assert_allclose(host(norm(ts.tensor(x, dtype="f2"))), x / scale, rtol=2e-3)


@pytest.mark.host("the fake device has no float16")
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_of_many_rows_in_half_precision(weighted):
    scores = ts.zeros((20_000, 1_000), dtype="f2")[:, :1000]
    weight = ts.full((1_000,), 4.0, dtype="f2") if weighted else None
    loss = nn.cross_entropy(scores, np.zeros(20_000, int), weight)
    assert loss.dtype == np.float16
    np.testing.assert_allclose(loss.item(), np.log(1000), rtol=2e-3)


@pytest.mark.host("the fake device has no float16")
@pytest.mark.parametrize("make", [optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.SGD])
@pytest.mark.parametrize("g", [1e-7, 1e-4, 1.0, 1e3])
def test_optimizers_in_half_precision(make, g):
    """Steps are those of float32, to the rounding of the parameter."""
    found = {}
    for dtype in ("f2", "f4"):
        p = nn.Parameter(ts.tensor([1.0, 1.0], dtype=dtype))
        optimizer = make([p], lr=0.1)
        for _ in range(3):
            p.grad = ts.tensor([np.float16(g), 0.0], dtype=dtype)
            optimizer.step()
        found[dtype] = host(p).astype("f8")
    np.testing.assert_allclose(found["f2"], found["f4"], rtol=3e-3)
    np.testing.assert_allclose(found["f2"][1], found["f4"][1], rtol=3e-3)


def test_probabilities_in_half_precision_sum_to_one():
    probs = np.full(1000, 1e-3, "f2")
    assert Categorical(probs=ts.tensor(probs)).batch_shape == ()
    with pytest.raises(ValueError, match="sum of 1"):
        Categorical(probs=ts.tensor(probs[:900]))


MEET = {
    "x[i]": lambda x, i: x[i],
    "x[i, j]": lambda x, i: x[i, i * 0],
    "take": lambda x, i: ts.take(x, i, 0),
    "take_along_axis": lambda x, i: ts.take_along_axis(x, i[:, None], 0),
    "repeat": lambda x, i: ts.repeat(x, i.size, 0),
    "index_add": lambda x, i: ts.index_add(ts.zeros(2, dtype=x.dtype), i * 0, x[i, 0]),
}


@pytest.mark.host("the fake device has no float16")
@pytest.mark.parametrize("name", MEET)
def test_gradients_that_meet_at_one_place_are_added_up_in_float32(name):
    """1.6 in steps of 1e-4: float16 alone stops at 0.25."""
    found = []
    for dtype in ("f2", "f8"):
        x, i = ts.ones(2, 3, dtype=dtype, requires_grad=True), np.zeros(16_000, int)
        y = MEET[name](x, i)
        g = ts.full(y.shape, 1e-4, dtype="f2").astype(dtype)
        found.append(ts.autograd.grad(y, x, g)[0].numpy().astype("f8"))
    np.testing.assert_allclose(*found, rtol=1e-3)


@pytest.mark.host("NumPy adds row after row")
@pytest.mark.parametrize("f", [ts.softmax, ts.log_softmax, ts.logsumexp])
def test_exponentials_along_a_long_first_axis_are_added_up_in_parts(f):
    """Row after row, as NumPy adds them, a float32 sum of a million is wrong in the third digit."""
    x = np.random.default_rng(0).random((1_000_000, 2))
    found = f(ts.Tensor(x.astype("f4")), axis=0).numpy()
    np.testing.assert_allclose(found, f(x.astype("f4").astype("f8"), axis=0), rtol=2e-6)


def test_integers_and_booleans_where_floats_are_usual():
    big = ts.tensor([2**40 + 1, 1])
    assert ts.nansum(big).item() == 2**40 + 2
    assert ts.fabs(ts.tensor(np.array([-128], np.int8))).item() == 128
    flags = ts.tensor([True, False, True, True])
    assert ts.median(flags).item() == 1
    assert ts.quantile(flags, 0.1).item() == pytest.approx(0.3)
