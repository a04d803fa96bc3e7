"""Functional forms, against closed forms and one another (design point 9)."""

from collections import namedtuple

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts

pytestmark = pytest.mark.usefixtures("backend")

W = np.random.default_rng(5).normal(size=(4, 3))
X = np.array([0.3, -0.7, 1.1])
V = np.array([1.0, 0.5, -2.0])


def f(x):
    return ts.tanh(ts.tensor(W) @ x)


def jacobian_of_f(x):
    return (1 - np.tanh(W @ x) ** 2)[:, None] * W


def scalar(x):
    return (f(x) * f(x)).sum()


def hessian_of_scalar(x):
    t = np.tanh(W @ x)
    s = 1 - t * t
    return W.T @ np.diag(2 * s * s - 4 * t * t * s) @ W


def test_grad_and_value():
    value, g = ts.value_and_grad(scalar)(X)
    t = np.tanh(W @ X)
    assert value.item() == pytest.approx((t * t).sum(), rel=1e-12)
    np.testing.assert_allclose(g.numpy(), jacobian_of_f(X).T @ (2 * t), rtol=1e-12)
    np.testing.assert_allclose(ts.grad(scalar)(X).numpy(), g.numpy())


def test_grad_nests_to_any_order():
    third = ts.grad(ts.grad(ts.grad(lambda x: x**4)))
    assert third(ts.tensor(2.0, dtype="f8")).item() == pytest.approx(48.0)


def test_argnums():
    g = ts.grad(lambda a, b: a * a * b, argnums=1)
    assert g(3.0, 2.0).item() == 9.0
    ga, gb = ts.grad(lambda a, b: a * a * b, argnums=(0, 1))(3.0, 2.0)
    assert (ga.item(), gb.item()) == (12.0, 9.0)
    unused = ts.grad(lambda a, b: a * 1, argnums=(1,))
    assert unused(ts.tensor(3.0), 2.0)[0].item() == 0.0
    with pytest.raises(ValueError, match="argnums"):
        ts.grad(lambda a: a, argnums=2)(1.0)


def test_grad_leaves_closed_over_tensors_alone():
    w = ts.tensor([1.0, 2.0, 3.0], dtype="f8", requires_grad=True)
    g = ts.grad(lambda x: (w * x).sum())(X)
    np.testing.assert_array_equal(g.detach().numpy(), [1.0, 2.0, 3.0])
    assert w.grad is None


def test_what_is_closed_over_stays_on_its_graph():
    outer = ts.grad(lambda w: ts.grad(lambda x: w * x * x)(ts.tensor(2.0)))
    assert outer(3.0).item() == 4.0
    perturbation = ts.grad(lambda x: x * ts.grad(lambda y: x * y)(1.0))
    assert perturbation(3.0).item() == 6.0  # d/dx x², not x
    w = ts.tensor([1.0, 2.0, 3.0], dtype="f8", requires_grad=True)
    penalty = (ts.grad(lambda x: (w * x * x).sum())(X) ** 2).sum()
    penalty.backward()
    np.testing.assert_allclose(w.grad.numpy(), 8 * host(w) * X * X)
    with ts.no_grad():
        assert not ts.grad(lambda x: (w * x).sum())(X).requires_grad


def test_directions_stay_on_their_graph():
    assert ts.grad(lambda v: ts.jvp(lambda x: x * x, 2.0, v)[1])(1.0).item() == 4.0
    assert ts.grad(lambda v: ts.hvp(lambda x: x * x * x, 2.0, v))(1.0).item() == 12.0


def test_argnums_are_checked():
    assert [g.item() for g in ts.grad(lambda a, b: a * b, argnums=[0, 1])(2.0, 5.0)] == [5.0, 2.0]
    with pytest.raises(ValueError, match="twice"):
        ts.grad(lambda a, b: a * b, argnums=(0, -2))(2.0, 5.0)
    with pytest.raises(ValueError, match="2 outputs"):
        ts.vjp(lambda x: (x, x), 1.0)[1](1.0)


def test_grad_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="jacobian"):
        ts.grad(f)(X)
    with pytest.raises(TypeError, match="Tensor"):
        ts.grad(lambda x: 3.0)(X)
    with pytest.raises(TypeError, match="floating"):
        ts.grad(lambda x: x.sum())(np.arange(3))


def test_grad_works_under_no_grad():
    with ts.no_grad():
        assert ts.grad(lambda x: x * x)(3.0).item() == 6.0


def test_vjp_and_jvp_are_the_jacobian():
    u = np.array([1.0, -1.0, 2.0, 0.5])
    y, pullback = ts.vjp(f, X)
    np.testing.assert_allclose(y.numpy(), np.tanh(W @ X))
    for _ in range(2):
        np.testing.assert_allclose(pullback(u)[0].numpy(), u @ jacobian_of_f(X), rtol=1e-12)
    y, dy = ts.jvp(f, X, V)
    np.testing.assert_allclose(y.numpy(), np.tanh(W @ X))
    np.testing.assert_allclose(dy.numpy(), jacobian_of_f(X) @ V, rtol=1e-12)


def test_jvp_of_several_arguments_and_results():
    (a, b), (da, db) = ts.jvp(lambda x, y: (x * y, x + 2 * y), (3.0, 4.0), (1.0, 10.0))
    assert (a.item(), b.item(), da.item(), db.item()) == (12.0, 11.0, 34.0, 21.0)
    with pytest.raises(ValueError, match="shape"):
        ts.jvp(f, X, V[:2])
    with pytest.raises(ValueError, match="directions"):
        ts.jvp(f, X, (V, V))


def test_jacobian_hessian_hvp():
    np.testing.assert_allclose(ts.jacobian(f)(X).numpy(), jacobian_of_f(X), rtol=1e-12)
    np.testing.assert_allclose(ts.hessian(scalar)(X).numpy(), hessian_of_scalar(X), rtol=1e-10)
    np.testing.assert_allclose(ts.hvp(scalar, X, V).numpy(), hessian_of_scalar(X) @ V, rtol=1e-10)


def test_jacobian_keeps_the_shapes_of_result_and_argument():
    x = np.arange(6.0).reshape(2, 3)
    j = ts.jacobian(lambda x: (x * x).T)(x)
    assert j.shape == (3, 2, 2, 3)
    assert j.numpy()[2, 1, 1, 2] == 10.0
    assert j.numpy().sum() == 2 * x.sum()
    a, b = ts.jacobian(lambda x, y: x * y, argnums=(0, 1))(2.0, 5.0)
    assert (a.item(), b.item()) == (5.0, 2.0)


def test_derivatives_of_transforms():
    along = ts.grad(lambda x: ts.jvp(lambda t: (t**3).sum(), x, V)[1])(ts.tensor(X))
    np.testing.assert_allclose(along.numpy(), 6 * X * V, rtol=1e-12)


def test_recompute_gives_the_same_gradients_also_for_what_it_closes_over():
    w = ts.tensor(W, requires_grad=True)
    x = ts.tensor(X, requires_grad=True)
    h = ts.sin(x)

    def block(h):
        return ts.tanh(w @ h), (h * w[0]).sum()

    def loss(run):
        a, b = run(block, h)
        return (a * a).sum() + b + (h * w[1]).sum()

    expected = ts.autograd.grad(loss(lambda f, *a: f(*a)), [w, x], retain_graph=True)
    got = ts.autograd.grad(loss(ts.recompute), [w, x])
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_allclose(other.numpy(), one.numpy(), rtol=1e-12)


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "pack",
    [
        lambda a, b: [a, b],
        lambda a, b: {"a": a, "b": b},
        lambda a, b: Pair(a, b),
        lambda a, b: (a, {"rest": [b, 3, None]}),
    ],
)
def test_recompute_of_collections(pack):
    x = ts.tensor([1.0, 2.0], requires_grad=True)
    result = ts.recompute(lambda x: pack(x * x, ts.sin(x)), x)
    assert type(result) is type(pack(1, 2))
    flat = list(result.values()) if isinstance(result, dict) else list(result)
    a, b = flat[0], flat[1]["rest"][0] if isinstance(flat[1], dict) else flat[1]
    assert a.node.op.name == b.node.op.name == "recompute"
    (a.sum() + b.sum()).backward()
    np.testing.assert_allclose(host(x.grad), [2 + np.cos(1), 4 + np.cos(2)], rtol=1e-6)


@pytest.mark.parametrize("upstream", [np.array([1j, 2.0]), np.ones(2, "c8")])
def test_a_complex_upstream_gradient_is_refused(upstream):
    x = ts.tensor([1.0, 2.0], requires_grad=True)
    for pull in (
        lambda: (x * 2).backward(upstream),
        lambda: ts.autograd.grad(x * 2, x, upstream),
        lambda: ts.vjp(lambda x: x * 2, x)[1](upstream),
        lambda: ts.jvp(lambda x: x * 2, x, upstream),
    ):
        with pytest.raises(TypeError, match="real"):
            pull()
    assert x.grad is None


def test_recompute_keeps_only_its_arguments():
    x = ts.tensor(np.ones(1000), requires_grad=True)
    seen = []

    def block(x):
        y = ts.exp(x)
        seen.append(y)
        return ts.sin(y)

    import weakref

    y = ts.recompute(block, x)
    alive = weakref.ref(seen.pop().data)
    assert alive() is None
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.full(1000, np.exp(1) * np.cos(np.exp(1))))


def test_recompute_replays_random_numbers():
    ts.manual_seed(3)
    x = ts.tensor(np.ones(8), requires_grad=True)
    drawn = []

    def noisy(x):
        mask = ts.generator().random(8)
        drawn.append(mask)
        return x * mask

    y = ts.recompute(noisy, x)
    after = ts.generator().random()
    y.sum().backward()
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(x.grad.numpy(), drawn[0])
    ts.manual_seed(3)
    ts.generator().random(8)
    assert after == ts.generator().random()


def test_recompute_of_second_order():
    def cube(x):
        return x * x * x

    x = ts.tensor(2.0, dtype="f8", requires_grad=True)
    y = ts.recompute(cube, x)
    (g,) = ts.autograd.grad(y, x, create_graph=True)
    (h,) = ts.autograd.grad(g, x)
    assert (g.item(), h.item()) == (12.0, 12.0)


def test_recompute_notices_a_write_to_its_argument():
    x = ts.tensor([1.0, 2.0], requires_grad=True)
    y = ts.recompute(lambda x: (x * x).sum(), x)
    with ts.no_grad():
        x.copy_([5.0, 5.0])
    with pytest.raises(RuntimeError, match="written in place"):
        y.backward()


def test_recompute_of_an_output_that_is_an_argument():
    x, w = (ts.tensor(v, requires_grad=True) for v in (2.0, 3.0))
    a, b = ts.recompute(lambda x, w: (x, w * 2), x, w)
    (a + b).backward()
    assert (x.grad.item(), w.grad.item()) == (1.0, 2.0)


def test_recompute_runs_hooks_once():
    x = ts.tensor(3.0, requires_grad=True)
    x.register_hook(lambda g: g * 2)
    ts.recompute(lambda x: x * x, x).backward()
    assert x.grad.item() == 12.0


def test_recompute_notices_a_write_to_what_it_closes_over():
    x, w = (ts.tensor(v, requires_grad=True) for v in (2.0, 3.0))
    y = ts.recompute(lambda x: x * w * w, x)
    with ts.no_grad():
        w.copy_(10.0)
    with pytest.raises(RuntimeError, match="written in place"):
        y.backward()


def test_recompute_passes_other_values_through_and_frees_its_arguments():
    import weakref

    x = ts.tensor(np.ones(3), requires_grad=True)
    h = x * 2
    y, nothing, seven = ts.recompute(lambda h: (h * h, None, 7), h)
    assert (nothing, seven) == (None, 7)
    alive = weakref.ref(h)
    del h
    assert alive() is not None
    y.sum().backward()
    assert alive() is None
    np.testing.assert_array_equal(x.grad.numpy(), [8.0, 8.0, 8.0])


def test_recompute_of_a_function_that_changes_its_mind():
    shapes = iter([(3,), (2,)])
    x = ts.tensor(1.0, requires_grad=True)
    y = ts.recompute(lambda x: x * np.ones(next(shapes)), x)
    with pytest.raises(RuntimeError, match="same each time"):
        y.sum().backward()


def test_recompute_without_grad_is_a_plain_call():
    with ts.no_grad():
        assert not ts.recompute(lambda x: x * 2, ts.tensor(1.0, requires_grad=True)).requires_grad
    assert not ts.recompute(lambda x: x * 2, ts.tensor(1.0)).requires_grad


def test_gradients_come_in_the_form_of_the_argument():
    """Lists, dicts, tuples and named tuples of tensors and arrays, nested."""
    tree = {"w": np.array([1.0, 2.0]), "parts": [ts.tensor(3.0, dtype="f8"), (np.array(4.0),)]}

    def f(p, k):
        return (p["w"] * p["parts"][0]).sum() * k + p["parts"][1][0] ** 2

    value, found = ts.value_and_grad(f)(tree, 2)
    assert value.item() == 34
    assert found["w"].tolist() == [6, 6]
    assert found["parts"][0].item() == 6
    assert found["parts"][1][0].item() == 8
    y, pullback = ts.vjp(f, tree, 2, argnums=0)
    assert y.item() == 34
    assert pullback(1.0)["w"].tolist() == [6, 6]
    _, change = ts.jvp(lambda xs: xs[0] * xs[1], ([np.array(2.0), np.array(3.0)],), ([1.0, 0.0],))
    assert change.item() == 3
    assert ts.grad(lambda x: (x * x).sum())([1.0, 2.0]).tolist() == [2, 4]  # numbers: one tensor


def test_what_is_not_differentiated_comes_along():
    """has_aux: the rest of what f gives, off the graph; arguments that reach f as they are."""

    def f(x, ids, scale=1.0):
        y = x[ids] * scale
        return y.sum(), {"y": y, "count": len(ids)}

    x, ids = np.array([1.0, 2.0, 3.0]), [0, 2]
    (value, rest), gradient = ts.value_and_grad(f, has_aux=True)(x, ids, scale=2.0)
    assert value.item() == 8
    assert rest["count"] == 2
    assert not rest["y"].requires_grad
    assert gradient.tolist() == [2, 0, 2]
    gradient, rest = ts.grad(f, has_aux=True)(x, ids)
    assert (gradient.tolist(), rest["y"].tolist()) == ([1, 0, 1], [1, 3])
    y, pullback, rest = ts.vjp(f, x, ids, argnums=0, has_aux=True, scale=3.0)
    assert (y.item(), pullback(1.0).tolist(), rest["count"]) == (12, [3, 0, 3], 2)
    with pytest.raises(TypeError, match=r"pair \(result, the rest\)"):
        ts.grad(lambda x: x.sum(), has_aux=True)(x)


def test_hvp_hands_further_arguments_on():
    found = ts.hvp(
        lambda x, k, power=2: (x**power).sum() * k, np.array([1.0, 2.0]), [1.0, 1.0], 5.0
    )
    assert found.tolist() == [10, 10]


def test_the_former_name_of_recompute_warns():
    x = ts.tensor(3.0, requires_grad=True)
    with pytest.warns(DeprecationWarning, match=r"ts\.recompute") as seen:
        y = ts.checkpoint(lambda x: x * x, x)
    assert seen[0].filename == __file__
    y.backward()
    assert x.grad.item() == 6.0
