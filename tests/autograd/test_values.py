"""Tensors are values; writes are noticed; hooks, detach, retain_grad (design points 5 and 8)."""

import copy
import gc
import operator
import pickle
import re
import threading
import weakref

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.backend import xp

pytestmark = pytest.mark.usefixtures("backend")


def leaf(values, dtype="f8", name=None):
    return ts.tensor(values, dtype=dtype, requires_grad=True, name=name)


AUGMENTED = {
    "+": operator.iadd,
    "-": operator.isub,
    "*": operator.imul,
    "/": operator.itruediv,
    "//": operator.ifloordiv,
    "%": operator.imod,
    "**": operator.ipow,
    "@": operator.imatmul,
}


def test_augmented_assignment_makes_a_new_tensor():
    x = leaf([1.0, 2.0])
    y = x * 1
    before = y
    y += 1
    y **= 2
    assert y is not before
    np.testing.assert_array_equal(host(before), [1.0, 2.0])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4.0, 6.0])
    free = ts.tensor([7.0, 8.0])
    free //= 2
    assert free.tolist() == [3.0, 4.0]
    x.grad *= 0.5
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 3.0])


@pytest.mark.parametrize("sign", AUGMENTED)
def test_augmented_assignment_of_a_parameter_says_what_to_do(sign):
    p, v = leaf([1.0, 2.0]), ts.tensor([1.0, 2.0])
    with pytest.raises(RuntimeError, match=rf"p\.copy_\(p {re.escape(sign)} v\)"):
        AUGMENTED[sign](p, v)
    with ts.no_grad():
        with pytest.raises(RuntimeError, match=rf"p\.copy_\(p {re.escape(sign)} v\)"):
            AUGMENTED[sign](p, v)
        p.copy_(p - 0.5)
    assert host(p).tolist() == [0.5, 1.5]
    with pytest.raises(RuntimeError, match=r"p\.copy_"):
        AUGMENTED[sign](nn.Parameter([1.0, 2.0]).requires_grad_(False), v)


def test_item_assignment_on_a_tracked_tensor_names_the_functional_form():
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match="index_set"):
        x[0] = 5.0
    with pytest.raises(RuntimeError, match="index_set"):
        (x * 2)[0] = 5.0
    free = ts.tensor([1.0, 2.0])
    with pytest.raises(RuntimeError, match="index_set"):
        free[0] = x[0]
    free[0] = 7.0
    assert free.tolist() == [7.0, 2.0]


def test_a_saved_value_that_was_written_raises_and_names_op_and_tensor():
    w = leaf([1.0, 2.0], name="weight")
    x = leaf([3.0, 4.0])
    y = (w * x).sum()
    with ts.no_grad():
        w.copy_([9.0, 9.0])
    with pytest.raises(RuntimeError, match=r"multiply saved its a.*'weight'.*written in place"):
        y.backward()
    assert x.grad is None
    assert w.grad is None


def test_a_write_through_a_view_is_noticed():
    w = leaf(np.arange(6.0).reshape(2, 3))
    y = (leaf(np.ones((4, 3))) @ w.T).sum()  # saves a view of w
    w.data[0] = 7.0
    ts.mark_written(w.data)
    with pytest.raises(RuntimeError, match="matmul"):
        y.backward()


def test_a_write_that_nothing_saved_is_harmless():
    w = leaf([1.0, 2.0])
    y = (w + 1).sum()
    with ts.no_grad():
        w.copy_([9.0, 9.0])
    y.backward()
    np.testing.assert_array_equal(w.grad.numpy(), [1.0, 1.0])


def test_a_write_before_the_graph_is_harmless():
    w = leaf([1.0, 2.0])
    with ts.no_grad():
        w.copy_([3.0, 4.0])
    (w * w).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), [6.0, 8.0])
    assert w.version == 1


def test_in_place_arithmetic_on_data_is_noticed():
    w = leaf([1.0, 2.0])
    y = (w * w).sum()
    w.data -= 0.5
    with pytest.raises(RuntimeError, match="written in place"):
        y.backward()


def test_replacing_data():
    w, t = leaf([1.0, 2.0]), leaf([5.0, 5.0])
    loss = (w * w).sum()
    t.data = w.data  # nothing was written
    loss.backward()
    np.testing.assert_array_equal(w.grad.numpy(), [2.0, 4.0])
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        w.data = np.ones(3)
    with pytest.raises(RuntimeError, match="result"):
        (w * 1).data = np.ones(2)


def test_an_index_is_what_it_was_when_it_was_used():
    w = leaf([1.0, 2.0, 3.0])
    i, listed = ts.tensor([0, 1]), [0, 1]
    y, z = w[i].sum(), w[listed].sum()
    listed[0] = 2
    z.backward()
    np.testing.assert_array_equal(w.grad.numpy(), [1.0, 1.0, 0.0])
    w.grad = None
    i[0] = 2
    y.backward()
    np.testing.assert_array_equal(w.grad.numpy(), [1.0, 1.0, 0.0])


CHOOSERS = {
    "a tensor around an index": (lambda x, i: x[ts.Tensor(i)], [2, 0, 0]),
    "an index in a tuple": (lambda x, i: x[(ts.Tensor(i), ...)], [2, 0, 0]),
    "integers as a condition": (lambda x, i: ts.where(i, x, 0.0), [0, 1, 1]),
    "integers as a factor": (lambda x, i: x * i, [0, 1, 1]),
    "integers as an exponent": (lambda x, i: x**i, [1, 2, 3]),
    "a mask of steps": (
        lambda x, i: nn.Recurrent(lambda x, h: (x + h, x + h))(
            x.reshape(3, 1, 1), ts.zeros(1, 1, dtype="f8"), mask=i
        )[0],
        [[True], [False], [True]],
    ),
}


@pytest.mark.host("arrays of the host are refilled")
@pytest.mark.parametrize("name", CHOOSERS)
def test_what_chooses_may_be_filled_again(name):
    f, values = CHOOSERS[name]
    found = []
    for refilled in (False, True):
        x, choice = leaf([1.0, 2.0, 3.0]), np.array(values)
        y = f(x, choice).sum()
        if refilled:
            choice[...] = choice[::-1].copy() * 0
        y.backward()
        found.append(x.grad.numpy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("add", lambda x: ts.add(x, None)),
        ("subtract", lambda x: x - None),
        ("where", lambda x: ts.where(x > 0, x, None)),
        ("where", lambda x: ts.select([x > 0], [None])),
        ("maximum", lambda x: ts.maximum(x, None)),
        ("matmul", lambda x: x @ None),
        ("set_at", lambda x: ts.index_set(x, 0, None)),
        ("add_at", lambda x: ts.index_add(x, 0, None)),
        ("contract", lambda x: ts.einsum(",->", 1.0, None)),
        ("sum", lambda x: ts.sum(None)),
        ("hypot", lambda x: ts.hypot(None, x)),
        ("append", lambda x: ts.append(x, None)),
        ("meshgrid", lambda x: ts.meshgrid(x, None)),
        ("broadcast_arrays", lambda x: ts.broadcast_arrays(None, x)),
        ("stack", lambda x: ts.stack([x, None])),
    ],
)
def test_none_is_no_operand(name, call):
    with pytest.raises(TypeError, match=rf"^{name} takes tensors, arrays and real numbers; got No"):
        call(leaf([1.0, 2.0]))
    assert ts.clip(leaf([1.0, 2.0]), None, 1.5).tolist() == [1.0, 1.5]  # here it is no bound


def test_writes_of_what_is_no_real_number_are_refused():
    t = ts.tensor([1.0, 2.0])
    for value in (None, 1j, "a"):
        with pytest.raises(TypeError, match="real numbers"):
            t[0] = value
        with pytest.raises(TypeError, match="real numbers"):
            t.copy_([value, value])
    assert t.tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match=r"t\.data"):
        ts.mark_written(t)


def test_copy_refuses_results_and_other_shapes():
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match="no_grad"):
        x.copy_([1.0, 1.0])
    with ts.no_grad(), pytest.raises(ValueError, match="shape"):
        x.copy_([1.0, 1.0, 1.0])
    y = x * 2
    with ts.no_grad(), pytest.raises(RuntimeError, match="leaves"):
        y.copy_([1.0, 1.0])


def test_detach_shares_memory_and_stops_gradients():
    x = leaf([1.0, 2.0])
    y = x * 3
    d = y.detach()
    assert xp(y.data).shares_memory(d.data, y.data)
    assert not d.requires_grad
    (y * d).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 3 * host(d))


def test_clone_owns_its_memory_and_stays_on_the_graph():
    x = leaf([1.0, -0.0])
    y = x.clone()
    assert not xp(y.data).shares_memory(x.data, y.data)
    assert np.signbit(host(y)[1])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1.0, 1.0])


def test_retain_grad_keeps_the_gradient_of_a_result():
    x = leaf([1.0, 2.0])
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), [6.0, 12.0])
    with pytest.raises(RuntimeError, match="retain_grad"):
        ts.tensor(1.0).retain_grad()


def test_retain_grad_is_idempotent_and_sees_the_gradient_after_all_hooks():
    x = leaf([1.0, 2.0])
    y = x * 3
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    y.retain_grad()
    y.sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), [10.0, 10.0])


def test_hooks_keep_the_dtype():
    x = leaf([1.0, 2.0], "f4")
    x.register_hook(lambda g: g * np.ones(2))
    (x * 2).sum().backward()
    assert x.grad.dtype == np.float32


def test_a_retained_tensor_is_freed_without_the_garbage_collector():
    x = leaf([1.0, 2.0])
    gc.disable()
    try:
        y = x * 3
        y.retain_grad()
        y.sum().backward()
        alive = weakref.ref(y)
        del y
        assert alive() is None
    finally:
        gc.enable()


def test_hooks_see_the_complete_gradient_once_and_may_replace_it():
    x = leaf([1.0, 2.0])
    y = x * 3
    seen = []
    y.register_hook(lambda g: seen.append(g.numpy().copy()))
    remove = y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    (y + y).sum().backward()
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0], [2.0, 2.0])
    np.testing.assert_array_equal(x.grad.numpy(), [61.0, 61.0])
    remove()
    x.grad = None
    y = x * 3
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4.0, 4.0])


def test_a_hook_that_returns_its_argument_does_not_alias_grads():
    x, z = leaf([1.0, 2.0]), leaf([1.0, 2.0])
    y = x + z
    y.register_hook(lambda g: g)
    y.sum().backward()
    assert not xp(z.grad.data).shares_memory(x.grad.data, z.grad.data)


def test_a_hook_of_another_shape_raises():
    x = leaf([1.0, 2.0])
    y = x * 2
    y.register_hook(lambda g: g.sum())
    with pytest.raises(TypeError, match="hook"):
        y.sum().backward()
    with pytest.raises(TypeError, match="hook"):
        y.register_hook(3)


def test_tensors_are_freed_by_reference_counting_alone():
    gc.disable()
    try:
        x = leaf([1.0, 2.0])
        y = ts.tanh(x * x)
        alive = weakref.ref(x), weakref.ref(y)
        y.sum().backward()
        del x, y
        assert [r() for r in alive] == [None, None]
    finally:
        gc.enable()


def test_deepcopy_and_pickle_of_leaves():
    x = leaf([1.0, 2.0], name="x")
    x.sum().backward()
    twin = copy.deepcopy(x)
    assert not xp(x.data).shares_memory(twin.data, x.data)
    np.testing.assert_array_equal(twin.grad.numpy(), [1.0, 1.0])
    back = pickle.loads(pickle.dumps(x))
    assert back.requires_grad
    assert back.name == "x"
    with pytest.raises(RuntimeError, match="detach"):
        copy.deepcopy(x * 2)


def test_operations_do_not_change_their_arguments():
    a = np.arange(6.0).reshape(2, 3)
    x = ts.Tensor(a, requires_grad=True)
    before = a.copy()
    y = ts.softmax(ts.tanh(x) @ ts.Tensor(a.T), axis=0)[:, 0] * 3 - 1
    y.sum().backward()
    np.testing.assert_array_equal(a, before)


@pytest.mark.host("there an array is copied to the device")
def test_a_tensor_wraps_an_array_and_ts_tensor_copies_it():
    a = np.arange(6.0)
    assert np.shares_memory(ts.Tensor(a).data, a)
    assert not np.shares_memory(ts.tensor(a).data, a)
    assert not np.shares_memory(ts.tensor(a).data, a)


def _put_along_axis(t, v):
    np.put_along_axis(t, np.array([0]), v, 0)


WRITERS = {
    "copyto": lambda t, v: np.copyto(t, v),
    "copyto by name": lambda t, v: np.copyto(dst=t, src=v, where=np.array([True, False])),
    "put": lambda t, v: np.put(t, [0], v),
    "place": lambda t, v: np.place(t, np.array([True, False]), v),
    "putmask": lambda t, v: np.putmask(t, np.array([True, False]), v),
    "put_along_axis": _put_along_axis,
    "fill_diagonal": lambda t, v: np.fill_diagonal(t.reshape(1, 2), v),
}


@pytest.mark.host("NumPy's writers write host memory")
@pytest.mark.parametrize("name", WRITERS)
def test_numpys_writers_are_noticed(name):
    write = WRITERS[name]
    x, buffer = leaf([1.0, 2.0]), ts.tensor([3.0, 4.0])
    y = (x * buffer).sum()
    write(buffer, np.float32(7))
    assert buffer.tolist()[0] == 7
    with pytest.raises(RuntimeError, match="written in place"):
        y.backward()
    with pytest.raises(TypeError, match=r"index_set.*copy_"):
        write(x, 7.0)
    with pytest.raises(TypeError, match=r"index_set.*copy_"):
        write(buffer, x[:1])
    array = np.zeros((1, 2) if name == "fill_diagonal" else 2)
    write(array, ts.tensor(7.0))
    assert array.reshape(-1)[0] == 7


@pytest.mark.host("the buffers are NumPy's")
def test_indices_and_masks_may_be_filled_again():
    x = leaf([1.0, 2.0, 3.0])
    index, mask, pair = np.zeros(1, int), np.zeros(3, bool), [np.zeros(1, int)]
    total = 0
    for k in range(3):
        index[:], mask[:], pair[0][:] = k, np.arange(3) == k, k
        weight = k + 1.0
        total = total + weight * (
            x[index].sum()
            + x[mask].sum()
            + x[tuple(pair)].sum()
            + ts.take(x, index).sum()
            + ts.where(mask, x, 0.0).sum()
            + (x * mask).sum()
            + ts.index_set(ts.zeros(3), index, x[index] * 1).sum()
            + ts.index_add(ts.zeros(3), index, x[index] * 1).sum()
        )
    total.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [8.0, 16.0, 24.0])


@pytest.mark.host("the operand is NumPy's")
def test_an_operand_that_is_said_to_be_written_is_refused():
    x, operand = leaf([1.0, 2.0]), np.array([3.0, 4.0], "f4")
    y = (x * operand).sum()
    operand[:] = 0
    ts.mark_written(operand)
    with pytest.raises(RuntimeError, match="written in place"):
        y.backward()


@pytest.mark.host("the arrays are NumPy's")
def test_no_write_is_missed_between_threads():
    arrays = [np.zeros(1) for _ in range(4)]

    def write(array):
        for _ in range(500):
            ts.mark_written(array)

    threads = [threading.Thread(target=write, args=(a,)) for a in (*arrays, arrays[0])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = [ts.Tensor(a).version for a in arrays]
    assert versions == [1000, 500, 500, 500]
