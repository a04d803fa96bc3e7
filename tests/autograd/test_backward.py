"""The engine: order, accumulation, ownership, freeing, several outputs (design points 1 to 4)."""

import gc
import sys
import threading
import weakref

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.backend import xp

pytestmark = pytest.mark.usefixtures("backend")


def leaf(values, dtype="f8"):
    return ts.tensor(values, dtype=dtype, requires_grad=True)


@pytest.mark.host("long; no device takes part")
def test_chain_of_100_000_operations_needs_no_recursion():
    assert sys.getrecursionlimit() <= 1000
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y * 1.00001
    y.backward()
    assert x.grad.item() == pytest.approx(1.00001**100_000, rel=1e-9)


@pytest.mark.host("long; no device takes part")
def test_a_long_graph_can_be_dropped_without_backward():
    y = leaf(1.0)
    for _ in range(100_000):
        y = ts.tanh(y)
    alive = weakref.ref(y)
    del y
    assert alive() is None


def test_a_thousand_doublings_visit_each_node_once():
    visits = []

    @ts.primitive
    def double(x, /):
        return x + x

    def rule(g):
        visits.append(1)
        return g + g

    double.defvjp(x=rule)
    x = leaf(1.0)
    y = x
    for _ in range(1000):
        y = double(y)
    y.backward()
    assert len(visits) == 1000
    assert x.grad.item() == 2.0**1000


def test_shared_nodes_are_linear():
    x = leaf(1.0)
    y = x
    for _ in range(1000):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**1000


def test_gradients_accumulate_over_calls():
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    (3 * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [5.0, 7.0])


def test_an_earlier_grad_is_a_value_and_does_not_change():
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    np.testing.assert_array_equal(first.numpy(), [2.0, 4.0])
    np.testing.assert_array_equal(x.grad.numpy(), [4.0, 8.0])


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_alias_nothing(create_graph):
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    upstream = ts.tensor([1.0, 1.0], dtype="f8")
    (a + b).backward(upstream, create_graph=create_graph)
    grads = [host(a.grad), host(b.grad), host(upstream), host(a), host(b)]
    for i, one in enumerate(grads):
        for other in grads[:i]:
            assert not np.shares_memory(one, other)


def test_gradient_of_the_output_itself_does_not_alias_the_upstream():
    x = leaf([1.0, 2.0])
    v = np.array([5.0, 6.0])
    x.backward(v)
    v[:] = 0
    np.testing.assert_array_equal(x.grad.numpy(), [5.0, 6.0])


def test_broadcast_views_are_not_accumulated_into():
    x = leaf(np.ones((3, 4)))
    (x.sum() + x.sum(axis=0).sum() + (x * 2).sum()).backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full((3, 4), 4.0))


def test_grad_has_shape_dtype_and_kind_of_its_tensor():
    x = leaf(np.ones((2, 1)), "f4")
    y = x * np.ones((2, 3))  # float64 by broadcasting
    assert y.dtype == np.float64
    y.sum().backward()
    assert type(x.grad) is ts.Tensor
    assert x.grad.shape == (2, 1)
    assert x.grad.dtype == np.float32


def test_second_backward_raises_and_names_retain_graph():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 4.0])


def test_second_backward_through_a_shared_part_raises_and_changes_nothing():
    x, w = leaf(3.0), leaf(2.0)
    y = x * x
    y.backward()
    z = y * w
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        z.backward()
    assert w.grad is None
    assert x.grad.item() == 6.0


@pytest.mark.parametrize("kind", [nn.GRU, nn.GRUCell, nn.LSTM])
def test_an_error_of_a_carried_state_names_detach(kind):
    layer, state = kind(2, 3), None
    for retain in (None, True):
        shape = (1, 2) if isinstance(layer, nn.GRUCell) else (4, 1, 2)
        y, state = layer(np.ones(shape, np.float32))
        y.sum().backward(retain_graph=retain)
        if retain:
            with ts.no_grad():  # as an optimizer does: what was retained is no longer true
                layer.load_state_dict(layer.state_dict())
        y, _ = layer(np.ones(shape, np.float32), state)
        with pytest.raises(RuntimeError, match=r"carried over.*state\.detach\(\)"):
            y.sum().backward()


def test_retain_graph_allows_another_pass():
    x = leaf(3.0)
    y = x * x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 54.0


def test_saved_values_are_freed_as_backward_passes():
    x = leaf(np.ones(10))
    y = ts.exp(x)
    alive = weakref.ref(y.data)
    z = ts.sin(y).sum()
    del y
    assert alive() is not None
    z.backward()
    assert alive() is None


def test_only_what_a_rule_names_is_kept():
    x = leaf(np.ones(10))
    y = x * 2.0
    alive = weakref.ref(y.data)
    z = y + 1.0  # its rule needs neither argument nor result
    del y
    assert alive() is None
    z.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(10, 2.0))


def test_backward_of_a_non_scalar_needs_a_gradient_of_its_shape():
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"shape \(2,\)"):
        (x * x).backward()
    with pytest.raises(ValueError, match=r"\(2,\).*\(\)"):
        (x * x).backward(ts.tensor(1.0))
    with pytest.raises(ValueError, match="shape"):
        (x * x).backward(np.ones((1, 2)))


def test_an_implicit_gradient_is_for_any_one_element_tensor():
    x = leaf([[2.0]])
    (x * x).backward()
    assert x.grad.item() == 4.0


def test_backward_through_what_requires_no_grad_raises():
    with pytest.raises(RuntimeError, match="does not require grad"):
        ts.tensor(1.0).backward()
    with ts.no_grad():
        y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="no_grad"):
        y.backward()


@pytest.mark.parametrize("dtype", ["i4", "i8", "u1", "?"])
def test_only_floats_require_grad(dtype):
    with pytest.raises(TypeError, match="floating"):
        ts.tensor([1, 0], dtype=dtype, requires_grad=True)
    t = ts.tensor([1, 0], dtype=dtype)
    with pytest.raises(TypeError, match="floating"):
        t.requires_grad = True


def test_an_integer_result_is_off_the_graph():
    x = leaf([1.5, 2.5])
    assert not x.astype("i8").requires_grad
    assert not (x > 2).requires_grad
    assert not x.argmax().requires_grad
    assert x.astype("f4").requires_grad


def test_unused_outputs_of_one_operation_count_as_zero():
    x = leaf(np.arange(6.0))
    first, _, third = ts.split(x, 3)
    (first * 2 + third * 3).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 2, 0, 0, 3, 3])


def test_outputs_of_one_operation_used_several_times():
    x = leaf(np.arange(4.0))
    a, b = ts.unstack(x.reshape(2, 2))
    ((a + a) * b + a).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [5, 7, 0, 2])


def test_functional_grad_leaves_grad_alone():
    x, y = leaf(2.0), leaf(3.0)
    gx, gy = ts.autograd.grad(x * x * y, [x, y])
    assert (gx.item(), gy.item()) == (12.0, 4.0)
    assert x.grad is None
    assert y.grad is None


def test_functional_grad_of_a_result_and_its_argument():
    x = leaf(2.0)
    y = x * x
    z = y * y
    gy, gx = ts.autograd.grad(z, [y, x])
    assert (gy.item(), gx.item()) == (8.0, 32.0)


def test_functional_grad_of_several_outputs():
    x = leaf([1.0, 2.0])
    ys = [x * 2, x * x]
    (g,) = ts.autograd.grad(ys, x, [np.array([1.0, 1.0]), np.array([1.0, 10.0])])
    np.testing.assert_array_equal(g.numpy(), [4.0, 42.0])


def test_functional_grad_names_an_unused_input():
    x, y = leaf(2.0), leaf(3.0)
    with pytest.raises(RuntimeError, match="allow_unused"):
        ts.autograd.grad(x * x, [x, y])
    gx, gy = ts.autograd.grad(x * x, [x, y], allow_unused=True)
    assert gx.item() == 4.0
    assert gy is None
    with pytest.raises(RuntimeError, match="does not require grad"):
        ts.autograd.grad(x * x, ts.tensor(1.0))


def test_functional_grad_skips_rules_that_nobody_asked_for():
    calls = []

    @ts.primitive
    def product(a, b, /):
        return a * b

    product.defvjp(
        a=lambda g, b: calls.append("a") or g * b, b=lambda g, a: calls.append("b") or g * a
    )
    x, y = leaf(2.0), leaf(3.0)
    ts.autograd.grad(product(x, y), y)
    assert calls == ["b"]


def test_functional_grad_needs_only_the_part_between():
    x, w = leaf(3.0), leaf(2.0)
    h = x * x
    h.backward()
    z = h * w
    (gw,) = ts.autograd.grad(z, w, retain_graph=True)
    assert gw.item() == 9.0
    for inputs in (x, [w, x]):
        with pytest.raises(RuntimeError, match="retain_graph=True"):
            ts.autograd.grad(z, inputs, allow_unused=True)  # never a part of it in silence


def test_functional_grad_leaves_what_lies_beyond_its_inputs():
    x = leaf(3.0)
    y = x * x
    (gy,) = ts.autograd.grad(y * y, y)
    y.backward(gy)
    assert x.grad.item() == 108.0


def test_an_unused_input_is_found_before_anything_is_freed():
    x, y = leaf(2.0), leaf(3.0)
    z = x * x
    with pytest.raises(RuntimeError, match="input 1"):
        ts.autograd.grad(z, [x, y])
    assert ts.autograd.grad(z, [x, x])[1].item() == 4.0


def test_a_leaf_that_no_longer_requires_grad_gets_none():
    x, w = leaf(2.0), leaf(3.0)
    y = x * w
    x.requires_grad = False
    y.backward()
    assert x.grad is None
    assert w.grad.item() == 2.0


def test_backward_from_a_hook_through_the_same_graph_says_so():
    x = leaf(2.0)
    h = x * x
    y = h * h
    y.register_hook(lambda g: h.backward())
    with pytest.raises(RuntimeError, match="retain_graph"):
        y.backward()


def test_rules_may_give_arrays_that_they_keep():
    kept = ts.Tensor(np.array([1.0, 2.0, 3.0])).data

    @ts.primitive
    def constant_slope(a, b, /):
        return (a + b) * kept

    constant_slope.defvjp(a=lambda g: kept, b=lambda g: kept)
    a, b = leaf(np.ones(3)), leaf(np.ones(3))
    (constant_slope(a, b) + constant_slope(a, b) + constant_slope(a, b)).sum().backward()
    np.testing.assert_array_equal(host(kept), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(a.grad.numpy(), 3 * host(kept))
    for one, other in ((a.grad.data, b.grad.data), (a.grad.data, kept)):
        assert not xp(kept).shares_memory(one, other)


def test_rules_may_mix_arrays_and_tensors_at_any_order():
    @ts.primitive
    def odd(x, /):
        return 2.0 * x

    odd.defvjp(x=lambda g: ts.Tensor(np.full(3, 2.0)).data)
    x = leaf(np.ones(3))
    odd(x).sum().backward(create_graph=True)
    assert type(x.grad) is ts.Tensor
    weight = ts.tensor(2.0, dtype="f8")
    odd.defvjp(x=lambda g: g * weight)
    x.grad = None
    odd(x).sum().backward()
    assert type(x.grad.data) is type(x.data)


def test_threads_deposit_into_one_leaf_without_loss():
    x = leaf(np.zeros(100))

    def work():
        for _ in range(25):
            (x * 1).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(100, 100.0))


def test_grad_refuses_what_is_no_tensor():
    x = leaf(2.0)
    with pytest.raises(TypeError, match="takes tensors"):
        ts.autograd.grad(x * x, [3.0])
    with pytest.raises(TypeError, match="takes tensors"):
        ts.autograd.grad(3.0, x)
    with pytest.raises(ValueError, match="at least one input"):
        ts.autograd.grad(x * x, [])
    with pytest.raises(TypeError, match="upstream gradient"):
        (x * x).backward("abc")


def test_any_order_of_derivative():
    x = leaf(0.7)
    y = ts.sin(x)
    for expected in (np.cos, lambda v: -np.sin(v), lambda v: -np.cos(v), np.sin, np.cos):
        (y,) = ts.autograd.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected(0.7), abs=1e-12)


def test_second_order_through_backward():
    x = leaf(3.0)
    (x**3).backward(create_graph=True)
    g = x.grad
    assert g.requires_grad
    x.grad = None
    g.backward()
    assert x.grad.item() == 18.0


def test_assigning_grad_checks_it():
    x = leaf([1.0, 2.0])
    x.grad = ts.tensor([1.0, 1.0], dtype="f8")
    x.grad = None
    with pytest.raises(ValueError, match="shape"):
        x.grad = ts.tensor([1.0], dtype="f8")
    with pytest.raises(ValueError, match="dtype"):
        x.grad = ts.tensor([1.0, 1.0], dtype="f4")
    with pytest.raises(TypeError, match="Tensor"):
        x.grad = np.ones(2)


def test_a_rule_of_the_wrong_shape_is_named():
    @ts.primitive
    def wrong(x, /):
        return x * 1

    wrong.defvjp(x=lambda g: np.ones(7))
    with pytest.raises(RuntimeError, match=r"rule of wrong gave .*\(7,\).*\(3,\)"):
        wrong(leaf(np.ones(3))).sum().backward()


def test_a_second_backward_names_the_newest_operation_that_was_freed():
    x = leaf([1.0, 2.0])
    y = (ts.sin(x) * ts.exp(x)).sum()
    y.backward()
    for again in (y, ts.tanh(y)):
        with pytest.raises(RuntimeError, match="the graph behind sum was freed"):
            again.backward()


@pytest.mark.host("counts the objects of NumPy's side")
def test_a_recorded_operation_leaves_two_objects_to_the_collector():
    """The node and its edges: the collector's visits would else cost more than the recording."""
    x, ys = leaf([1.0, 2.0]), []
    for operation in (ts.tanh, lambda y: y * x, lambda y: 1 - y):
        y = x
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(500):
            y = operation(y)
        gc.collect()  # tuples of arrays leave its list here
        assert len(gc.get_objects()) - before < 2.1 * 500
        ys.append(y)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("f", [lambda a, b: a + b, lambda a, b: ts.concatenate([a, b]), ts.add])
def test_a_hook_may_write_into_its_gradient(f, create_graph):
    a, b = (ts.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    seen = []

    def spoil(g):
        seen.append(g)
        g[0] = 0.0

    a.register_hook(spoil)
    y = f(a, b)
    upstream = ts.ones_like(y)
    y.backward(upstream, create_graph=create_graph)
    assert b.grad.tolist() == [1.0, 1.0]
    assert a.grad.tolist() == [0.0, 1.0]
    assert upstream.detach().tolist() == [1.0] * y.size
    seen[0][1] = 9.0
    assert a.grad.tolist() == [0.0, 1.0]


def test_a_hook_of_a_result_may_write_into_its_gradient():
    a, b = (ts.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    h = a * 1

    def spoil(g):
        g[0] = 0.0

    h.register_hook(spoil)
    (h + b).backward(ts.ones(2))
    assert b.grad.tolist() == [1.0, 1.0]
    assert a.grad.tolist() == [0.0, 1.0]


def test_an_error_in_a_hook_leaves_every_grad_as_it_was():
    x = ts.tensor([1.0], requires_grad=True)
    h = x * 2
    h.retain_grad()

    def fail(g):
        raise ValueError("in the hook")

    remove = x.register_hook(fail)
    y = (h * 3).sum()
    with pytest.raises(ValueError, match="in the hook"):
        y.backward(retain_graph=True)
    assert h.grad is None
    assert x.grad is None
    remove()
    y.backward(retain_graph=True)
    y.backward()
    assert h.grad.tolist() == [6.0]
    assert x.grad.tolist() == [12.0]
