"""A weight that many calls share: its gradient is one product of all their rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn, ops
from tinygrad_seq.autograd import stacked_rows
from tinygrad_seq.testing import gradcheck


def leaf(rng, *shape):
    return ts.Tensor(rng.normal(size=shape), requires_grad=True)


@pytest.fixture
def products(monkeypatch):
    """How many rows each product for a shared weight had."""
    seen = []
    rule = ops.matmul.rules["b"]

    def counted(g, a, b_shape):
        seen.append(a.shape[0])
        return rule(g, a, b_shape)

    ops.matmul.defvjp(b=counted)
    yield seen
    ops.matmul.defvjp(b=rule)


@given(
    counts=st.lists(st.sampled_from([0, 1, 3, 400, 600]), min_size=1, max_size=8),
    seed=st.integers(0, 99),
)
def test_equals_the_products_formed_one_by_one(counts, seed):
    """Of very different numbers of rows; 0 stands for a single vector."""
    rng = np.random.default_rng(seed)
    u, scale = leaf(rng, 4, 3), leaf(rng)
    xs = [leaf(rng, *((n, 4) if n else (4,))) for n in counts]
    gs = [rng.normal(size=(*x.shape[:-1], 3)) for x in xs]
    w = u * scale  # a result, so that the sum goes on from there
    loss = sum(((x @ w) * g).sum() for x, g in zip(xs, gs, strict=True))
    loss.backward()
    expected = sum(np.atleast_2d(x.data).T @ np.atleast_2d(g) for x, g in zip(xs, gs, strict=True))
    np.testing.assert_allclose(u.grad.numpy(), expected * scale.item(), rtol=1e-10, atol=1e-10)
    for x, g in zip(xs, gs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), g @ w.data.T, rtol=1e-12)


def test_a_recurrent_weight_gets_one_product(rng, products):
    u, h = leaf(rng, 5, 5), leaf(rng, 2, 5)
    for _ in range(50):
        h = ts.tanh(h @ u)
    h.sum().backward()
    assert products == [100]


def test_a_linear_layer_of_every_step_gets_one_product(rng):
    layer, h = nn.Linear(5, 5, dtype="float64"), leaf(rng, 2, 5)
    rule, seen = ops.linear.affine.rules["weight"], []

    def counted(g, x):
        seen.append(len(x))
        return rule(g, x)

    ops.linear.affine.defvjp(weight=counted)
    try:
        for _ in range(50):
            h = ts.tanh(layer(h))
        h.sum().backward()
    finally:
        ops.linear.affine.defvjp(weight=rule)
    assert seen == [100]


def test_rows_do_not_pile_up(rng, products):
    """What waits is kept alive, so it is formed when a product of it is long enough."""
    u, h = leaf(rng, 2, 2), leaf(rng, 100, 2)
    for _ in range(40):
        h = ts.tanh(h @ u)
    h.sum().backward()
    assert sum(products) == 4000
    assert max(products) < stacked_rows.ENOUGH + 100


def test_long_products_do_not_wait(rng, products):
    u, x = leaf(rng, 2, 2), leaf(rng, stacked_rows.ENOUGH, 2)
    ((x @ u) @ u).sum().backward()
    assert products == [stacked_rows.ENOUGH] * 2


def test_hooks_retained_gradients_and_targets_see_the_whole_sum(rng):
    u, x = leaf(rng, 3, 3), leaf(rng, 2, 3)
    seen = []
    w = u * 1
    w.retain_grad()
    w.register_hook(lambda g: seen.append(g.numpy()))
    u.register_hook(lambda g: g * 2)
    loss = (ts.tanh(x @ w) @ w).sum()
    (asked,) = ts.autograd.grad(loss, w, retain_graph=True)
    loss.backward()
    np.testing.assert_array_equal(asked.numpy(), seen[0])
    np.testing.assert_array_equal(w.grad.numpy(), 2 * asked.numpy())
    np.testing.assert_array_equal(u.grad.numpy(), 2 * asked.numpy())


def test_the_sum_with_other_uses_of_the_weight(rng):
    def f(x, u):
        y = x @ u
        return y @ u + y.sum() * u.sum() + (u * u).sum()

    assert gradcheck(f, rng.normal(size=(2, 3)), rng.normal(size=(3, 3)))


def test_anomaly_mode_names_the_product(rng):
    u = ts.tensor([[1e-200]], dtype="f8", requires_grad=True)
    with ts.anomaly_mode():
        y = ts.tensor([[1e200]], dtype="f8") @ u
        with pytest.raises(FloatingPointError, match="matmul"):
            y.backward(ts.tensor([[1e200]], dtype="f8"))


def test_only_what_the_rule_takes_alike_is_stacked(rng):
    """A parameter that differs from call to call keeps their rows apart."""

    @ts.primitive
    def scaled_product(a, b, /, scale=1.0):
        return (a @ b) * scale

    scaled_product.defvjp(b=lambda g, a, scale: a.T @ g * scale)
    scaled_product.stack(b="a")
    b = leaf(rng, 4, 3)
    rows = rng.normal(size=(6, 2, 4))
    loss = sum(scaled_product(a, b, scale=k // 2).sum() for k, a in enumerate(rows))
    loss.backward()
    expected = sum((k // 2) * a.T @ np.ones((2, 3)) for k, a in enumerate(rows))
    np.testing.assert_allclose(b.grad.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_gradient_of_a_turned_weight_lies_in_memory_as_the_weight(rng, steps):
    """An optimizer walks through both together."""
    w = ts.tensor(rng.standard_normal((6, 4)), requires_grad=True)
    x = rng.standard_normal((5, 4))
    sum((ts.Tensor(x) @ w.T).sum() for _ in range(steps)).backward()
    assert w.grad.data.flags.c_contiguous
    np.testing.assert_allclose(w.grad.data, steps * np.tile(x.sum(0), (6, 1)))
