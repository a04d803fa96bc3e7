"""0 · ∞ in backward: what masks a gradient selects, and what is masked has no NaN."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import nn, ops

pytestmark = pytest.mark.usefixtures("backend")

INF = np.inf
MASKS = {  # f with f'(x) = 0 at x, where √ or arccos, with its infinite derivative, follows
    "relu": (lambda x: ts.sqrt(ops.relu(x)), -2.0),
    "relu at the kink": (lambda x: ts.sqrt(ops.relu(x)), 0.0),
    "leaky_relu": (lambda x: ts.sqrt(ops.leaky_relu(x, 0.0)), -2.0),
    "elu": (lambda x: ts.sqrt(ops.elu(x, 0.0)), -2.0),
    "clip below": (lambda x: ts.sqrt(ts.clip(x, 0.0, None)), -2.0),
    "clip on both sides": (lambda x: ts.arccos(ts.clip(x, -1, 1)), 2.0),
    "clip to arctanh": (lambda x: ops.arctanh(ts.clip(x, -1, 1)), -3.0),
    "maximum": (lambda x: ts.sqrt(ts.maximum(x, 0.0)), -2.0),
    "minimum": (lambda x: ts.log(1 - ts.minimum(x, 1.0)), 2.0),
    "floor": (lambda x: ts.sqrt(ops.floor(x)), 0.5),
    "ceil": (lambda x: ts.log(ops.ceil(x)), -0.5),
    "round": (lambda x: ts.sqrt(ops.round(x)), 0.25),
    "sign": (lambda x: ts.arcsin(ops.sign(x)), 2.0),
    "power 0": (lambda x: ts.arccos(x**0), 2.0),
    "power of a tensor 0": (lambda x: ts.arccos(x ** ts.zeros(3, dtype=x.dtype)), 2.0),
    "abs at 0": (lambda x: ts.sqrt(ops.absolute(x)), 0.0),
    "remainder": (lambda x: ts.sqrt(ops.remainder(ts.zeros(3, dtype=x.dtype), x)), 2.0),
    "where": (lambda x: ts.sqrt(ts.where(x > 0, x, 0.0)), -2.0),
    "tril": (lambda x: ts.sqrt(ts.tril(x * ts.ones((3, 3), dtype=x.dtype), -3)), 2.0),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MASKS)
def test_a_mask_selects(name, dtype):
    f, at = MASKS[name]
    x = ts.Tensor(np.full(3, at, dtype), requires_grad=True)
    with np.errstate(all="ignore"):
        y = f(x)
        (gradient,) = ts.autograd.grad(y, x, ts.ones_like(y))
    np.testing.assert_array_equal(gradient.numpy(), np.zeros(3))
    assert gradient.dtype == dtype


@pytest.mark.parametrize(("bound", "at"), [("low", -2.0), ("high", 2.0)])
def test_a_bound_that_does_not_hold_gets_nothing(bound, at):
    """The bound on the other side: arccos' is infinite at the one that holds."""
    low, high = (ts.Tensor(np.array(v), requires_grad=True) for v in (-1.0, 1.0))
    y = ts.arccos(ts.clip(ts.Tensor(np.array(at)), low, high))
    y.backward()
    assert float((high if bound == "low" else low).grad) == 0
    assert float((low if bound == "low" else high).grad) == -INF


def test_dropout_selects():
    x = ts.Tensor(np.full(100, 2.0), requires_grad=True)
    y = nn.Dropout(0.5)(x)
    ts.sqrt(y).sum().backward()
    dropped = y.detach().numpy() == 0
    assert dropped.any()
    assert not dropped.all()
    np.testing.assert_array_equal(x.grad.numpy()[dropped], 0)
    np.testing.assert_allclose(x.grad.numpy()[~dropped], 1 / np.sqrt(4.0))
    np.testing.assert_array_equal(nn.Dropout(1.0)(ts.tensor([INF, 1.0])).numpy(), 0)


GUARDED = {  # where(safe(x), f(x), 0) at points of which some are not safe
    "sqrt": (lambda x: x > 0, ts.sqrt, [-1.0, 0.0, 4.0], 0.25),
    "x ** 0.5": (lambda x: x > 0, lambda x: x**0.5, [-1.0, 0.0, 4.0], 0.25),
    "x ** 1.5": (lambda x: x > 0, lambda x: x**1.5, [-1.0, 0.0, 4.0], 3.0),
    "x ** -1": (lambda x: x > 0, lambda x: x**-1, [0.0, 0.0, 2.0], -0.25),
    "x ** tensor": (
        lambda x: x > 0,
        lambda x: x ** ts.full((3,), 0.5, dtype=x.dtype),
        [-1.0, 0.0, 4.0],
        0.25,
    ),
    "log": (lambda x: x > 0, ts.log, [-1.0, 0.0, 4.0], 0.25),
    "log1p": (lambda x: x > -1, ops.log1p, [-2.0, -1.0, 3.0], 0.25),
    "log2": (lambda x: x > 0, ops.log2, [-2.0, 0.0, 2.0], 0.5 / np.log(2)),
    "arcsin": (lambda x: abs(x) < 1, ops.arcsin, [-2.0, 1.0, 0.0], 1.0),
    "arccos": (lambda x: abs(x) < 1, ops.arccos, [-2.0, 1.0, 0.0], -1.0),
    "arctanh": (lambda x: abs(x) < 1, ops.arctanh, [-2.0, 1.0, 0.0], 1.0),
    "arccosh": (lambda x: x > 1, ops.arccosh, [-2.0, 1.0, np.sqrt(2.0)], 1.0),
    "1 / x": (lambda x: x != 0, lambda x: 1 / x, [0.0, 0.0, 2.0], -0.25),
    "sin x / x": (lambda x: x != 0, lambda x: ts.sin(x) / x, [0.0, 0.0, np.pi], -1 / np.pi),
    "exp": (lambda x: x < 9, ts.exp, [1e4, 1e5, 0.0], 1.0),
    "exp2": (lambda x: x < 9, ops.exp2, [1e4, 1e5, 0.0], np.log(2)),
    "expm1": (lambda x: x < 9, ops.expm1, [1e4, 1e5, 0.0], 1.0),
    "sinh": (lambda x: x < 9, ops.sinh, [1e4, 1e5, 0.0], 1.0),
    "cosh": (lambda x: x < 9, ops.cosh, [1e4, 1e5, 0.0], 0.0),
    "softplus by hand": (lambda x: x < 9, lambda x: ops.log1p(ts.exp(x)), [1e4, 1e5, 0.0], 0.5),
    "x ** 400": (lambda x: x < 9, lambda x: x**400, [1e4, 1e5, 1.0], 400.0),
    "2.0 ** x": (lambda x: x < 9, lambda x: 2.0**x, [1e4, 1e5, 0.0], np.log(2)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", GUARDED)
def test_what_where_leaves_out_gets_nothing(name, dtype):
    safe, f, points, slope = GUARDED[name]
    x = ts.Tensor(np.array(points, dtype), requires_grad=True)
    with np.errstate(all="ignore"):
        y = ts.where(safe(x), f(x), 0.0)
        (gradient,) = ts.autograd.grad(y, x, ts.ones_like(y), create_graph=True)
        (second,) = ts.autograd.grad(gradient, x, ts.ones_like(gradient), allow_unused=True)
    np.testing.assert_array_equal(gradient.detach().numpy()[:2], 0)
    np.testing.assert_allclose(gradient.detach().numpy()[2], slope, rtol=1e-5, atol=1e-6)
    assert second is None or not np.isnan(second.numpy()[:2]).any()
