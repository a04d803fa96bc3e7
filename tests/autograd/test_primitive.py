"""Defining a primitive of one's own, and what the machinery says when it is done wrong."""

import copy
import pickle

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import ops
from tinygrad_seq.autograd import PRIMITIVES
from tinygrad_seq.autograd.primitive import REMEMBERED
from tinygrad_seq.backend import xp

pytestmark = pytest.mark.usefixtures("backend")


def leaf(values):
    return ts.tensor(values, dtype="f8", requires_grad=True)


def test_a_primitive_of_two_arguments_and_a_parameter():
    @ts.primitive
    def scaled(a, b, /, factor=2.0):
        """Documented."""
        return a * b * factor

    scaled.defvjp(a=lambda g, b, factor: g * b * factor, b=lambda g, a, factor: g * a * factor)
    assert scaled.__doc__ == "Documented."
    assert PRIMITIVES["scaled"] is scaled
    a, b = leaf([1.0, 2.0]), leaf(3.0)
    scaled(a, b, factor=10.0).sum().backward()
    np.testing.assert_array_equal(a.grad.numpy(), [30.0, 30.0])
    assert b.grad.item() == 30.0  # broadcasting is undone for it
    assert scaled(np.ones(2), 1.0).tolist() == [2.0, 2.0]  # arrays in, arrays out
    h = ts.hessian(lambda x: scaled(x, x).sum())(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(h.numpy(), 4 * np.eye(2))


def test_a_primitive_of_several_results():
    @ts.primitive
    def polar(x, y, /):
        return xp(x).hypot(x, y), xp(x).arctan2(y, x)

    polar.defvjp(y=lambda g: g[0] + 10 * g[1])  # not the derivative: which is which can be seen
    y = leaf([1.0, 2.0])
    r, angle = polar(np.ones(2), y)
    (r * 2 + angle).sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), [12.0, 12.0])


def test_a_primitive_of_any_number_of_arguments():
    @ts.primitive
    def total(*xs, weight=1.0):
        return weight * sum(xs)

    total.defvjp(xs=lambda g, i, weight: g * weight * (i + 1))
    a, b, c = leaf(1.0), 2.0, leaf(3.0)
    total([a, b, c], weight=5.0).backward()
    assert (a.grad.item(), c.grad.item()) == (5.0, 15.0)


def test_a_rule_of_any_number_of_arguments_that_gives_all_at_once():
    calls = []

    @ts.primitive
    def weighted(*xs, weight=1.0):
        return sum(weight**k * x for k, x in enumerate(xs))

    def rule(g, xs_shape, weight):
        calls.append(len(xs_shape))
        return tuple(g * weight**k for k in range(len(xs_shape)))

    weighted.defvjp(xs=rule)
    a, b, c = leaf([1.0, 2.0]), np.ones(2), leaf(3.0)
    weighted([a, b, c], weight=5.0).sum().backward()
    assert (a.grad.tolist(), c.grad.item(), calls) == ([1.0, 1.0], 50.0, [3])
    weighted.defvjp(xs=lambda g: (g, g))
    with pytest.raises(RuntimeError, match="rule of weighted gave 2 gradients for 3 arrays"):
        weighted([a, b, c]).sum().backward()
    weighted.defvjp(xs=lambda g: g)  # the same for each
    a.grad = c.grad = None
    weighted([a, b, c]).sum().backward()
    assert (a.grad.tolist(), c.grad.item()) == ([1.0, 1.0], 2.0)


def test_the_output_can_be_named_by_a_rule_at_any_order():
    @ts.primitive
    def grow(x, /):
        return xp(x).exp(x)

    grow.defvjp(x=lambda g, y: g * y)
    fourth = ts.grad(ts.grad(ts.grad(ts.grad(grow))))
    assert fourth(ts.tensor(0.5, dtype="f8")).item() == pytest.approx(np.exp(0.5))


def test_an_argument_without_a_rule_says_so():
    @ts.primitive
    def half_known(a, b, /):
        return a * b

    half_known.defvjp(a=lambda g, b: g * b)
    half_known(leaf(1.0), ts.tensor(2.0)).backward()
    with pytest.raises(RuntimeError, match="half_known has no rule for its argument b"):
        half_known(leaf(1.0), leaf(2.0))


def test_a_primitive_without_rules_is_off_the_graph():
    @ts.primitive
    def rank(x, /):
        return xp(x).argsort(x).astype(float)

    assert not rank(leaf([2.0, 1.0])).requires_grad


def test_rules_are_checked_when_they_are_given():
    @ts.primitive
    def f(x, /, axis=0):
        return x

    with pytest.raises(TypeError, match="no argument 'z'"):
        f.defvjp(z=lambda g: g)
    with pytest.raises(TypeError, match="must take g first"):
        f.defvjp(x=lambda x: x)
    with pytest.raises(TypeError, match="must take g first, then any of"):
        f.defvjp(x=lambda g, nonsense: g)
    with pytest.raises(TypeError, match="slash"):

        @ts.primitive
        def g(x):
            return x


def test_calls_are_checked():
    with pytest.raises(TypeError, match=r"no 'axes': did you mean axis\? sum\(x, axis=None"):
        ts.sum(np.ones(3), axes=0)
    with pytest.raises(TypeError, match="multiple values for argument 'axis'"):
        ts.sum(np.ones(3), 0, axis=0)
    with pytest.raises(TypeError, match="missing a required argument: 'shape'"):
        ts.reshape(np.ones(3))
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        ts.tanh()
    with pytest.raises(TypeError, match="too many positional arguments"):
        ts.tanh(1.0, 2.0)
    with pytest.raises(TypeError, match="no gradient passes through slope"):
        ts.leaky_relu(np.ones(3), slope=leaf(1.0))


def test_a_gradient_of_none_means_zero():
    @ts.primitive
    def constant(x, /):
        return x * 0

    constant.defvjp(x=lambda g: None)
    x = leaf(1.0)
    (constant(x) + x).backward()
    assert x.grad.item() == 1.0


def test_a_copy_is_the_primitive_itself_and_pickled_it_is_found_by_name():
    assert copy.deepcopy(ts.tanh) is ts.tanh
    assert all(pickle.loads(pickle.dumps(op)) is op for op in (ts.tanh, ts.where, ts.matmul))


def test_plans_for_lists_of_any_length_and_any_wanted_arguments_are_bounded(rng):
    wanted = [ts.ones(1, requires_grad=True) for _ in range(150)]
    for op in (ts.concatenate, ts.stack):
        for k in range(1, 150):
            op(wanted[:k])
            op([x if rng.random() < 0.5 else ts.ones(1) for x in wanted[:40]])
            assert sum(count for _, count in op._plans) <= REMEMBERED
        assert op._plans  # what comes again is remembered
        op(wanted).sum().backward()
        assert all(x.grad.item() == 1 for x in wanted)
        for x in wanted:
            x.grad = None


def test_an_array_argument_with_a_default_may_be_left_out():
    x, w = (ts.tensor(np.eye(2), requires_grad=True) for _ in range(2))
    for y in (ops.linear.affine(x, w), ops.linear.affine(x, w, None)):
        np.testing.assert_array_equal(host(y), np.eye(2))
        ts.autograd.grad(y.sum(), [x, w])
    for args in ((x, None), (None, w), (x, None, x), (None, w, None)):
        with pytest.raises(TypeError, match="affine takes tensors, arrays and real numbers"):
            ops.linear.affine(*args)
    with pytest.raises(TypeError, match="missing a required argument: 'weight'"):
        ops.linear.affine(x)


@pytest.mark.parametrize("shape", [(), (1,), (20_000, 2), (2, 1, 2)])
def test_a_bias_of_another_shape_is_broadcast(shape):
    x, w, b = np.ones((20_000, 1)), np.ones((2, 1)), np.full(shape, 2.0)
    y = ops.linear.affine(*[ts.tensor(a) for a in (x, w, b)])
    np.testing.assert_array_equal(host(y), x @ w.T + b)
