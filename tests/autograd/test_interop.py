"""NumPy's functions on tensors, conversion to arrays, DLPack (design point 11)."""

import math

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def x():
    return ts.tensor([[1.0, 2.0], [3.0, 4.0]], dtype="f8", requires_grad=True)


@pytest.mark.parametrize(
    "f",
    [
        np.tanh,
        np.exp,
        np.sum,
        lambda x: np.mean(x, axis=0),
        lambda x: np.concatenate([x, np.ones((1, 2))]),
        lambda x: np.stack([x, x], axis=-1),
        lambda x: np.where(np.eye(2) > 0, x, 0.0),
        lambda x: np.ones((2, 2)) @ x,
        lambda x: np.ones(2) + x,
        lambda x: np.float64(3.0) * x,
        lambda x: 2.0 - x,
        lambda x: np.einsum("ij,kj->ik", x, x),
        lambda x: np.transpose(x),
        lambda x: np.linalg.norm(x),
        lambda x: np.linalg.norm(x, axis=1),
        lambda x: np.max(x, axis=1),
        lambda x: np.amin(x),
        lambda x: np.clip(x, 1.5, 3.5),
        lambda x: np.maximum(x, 2.5),
        lambda x: np.var(x, ddof=1),
        lambda x: np.split(x, 2)[0],
        lambda x: np.broadcast_to(x, (3, 2, 2)),
        lambda x: np.expand_dims(x, 0),
        lambda x: np.sqrt(np.square(x)),
        lambda x: np.sort(x, axis=0),
        lambda x: np.pad(x, 1),
        lambda x: np.roll(x, 1),
        lambda x: np.tril(x),
        lambda x: np.trace(x),
        lambda x: np.take(x, [0, 0], axis=1),
    ],
)
def test_numpy_functions_stay_on_the_graph(x, f):
    y = f(x)
    assert isinstance(y, ts.Tensor)
    assert y.requires_grad
    np.testing.assert_allclose(y.detach().numpy(), f(x.detach().numpy()))
    y.sum().backward()
    assert np.abs(host(x.grad)).sum() > 0


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("np.unwrap", lambda x: np.unwrap(x)),
        ("np.linalg.qr", lambda x: np.linalg.qr(x)),
        ("np.add.reduceat", lambda x: np.add.reduceat(x, [0])),
        ("np.gcd", lambda x: np.gcd(x, 2)),
    ],
)
def test_what_is_not_supported_says_so(x, name, call):
    with pytest.raises(TypeError, match=rf"({name}).*detach\(\)\.numpy\(\)"):
        call(x)


def test_out_is_refused(x):
    with pytest.raises(TypeError, match="value"):
        np.tanh(x, out=np.zeros((2, 2)))
    a = np.ones((2, 2))
    with pytest.raises(TypeError, match="value"):
        a += x


def test_never_an_object_array(x):
    for make in (np.array, np.asarray, np.ascontiguousarray):
        with pytest.raises((RuntimeError, TypeError), match="detach"):
            make(x)
    assert np.asarray(x.detach()).dtype == np.float64
    assert np.array(ts.tensor([1, 2])).dtype == np.int64
    assert np.asarray(x.detach(), dtype="f4").dtype == np.float32


def test_questions_about_values_are_answered(x):
    assert np.allclose(x, x.detach())
    assert np.shape(x) == (2, 2)
    assert np.array_equal(x, [[1.0, 2.0], [3.0, 4.0]])
    assert np.isnan(x).dtype == np.bool_


def test_conversions_of_one_element():
    t = ts.tensor(2.5, requires_grad=True)
    assert t.item() == float(t.detach()) == 2.5
    assert int(t.detach()) == 2
    assert bool(t)
    assert f"{t:.2f}" == "2.50"
    assert [10, 20, 30][ts.tensor(1)] == 20
    with pytest.raises(TypeError, match="integer"):
        [10, 20][t]
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        bool(ts.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="one element"):
        ts.tensor([1.0, 2.0]).item()


def _assigned(t):
    array = np.zeros(2)
    array[0] = t
    return array[0]


@pytest.mark.parametrize(
    "convert",
    [float, int, complex, math.sin, math.floor, np.float64, _assigned, lambda t: math.fsum([t])],
)
def test_a_number_that_leaves_the_graph_warns(convert):
    t = ts.tensor(2.5, dtype="f8", requires_grad=True)
    with pytest.warns(UserWarning, match=r"ts\.index_set.*t\.item\(\)") as caught:
        value = convert(t * 1)
    assert caught[0].filename == __file__
    assert value == convert(2.5)
    assert convert(t.detach()) == value


def test_a_copy_of_numbers_off_the_graph_is_said():
    t = ts.tensor([2.5, 1.0], requires_grad=True)
    for source in (t, t * 2):
        with pytest.warns(UserWarning, match=r"off the graph: say t\.clone\(\)") as caught:
            made = ts.tensor(source)
        assert caught[0].filename == __file__
        np.testing.assert_array_equal(host(made), host(source.detach()))
        target = ts.zeros(2)
        with pytest.raises(RuntimeError, match=r"copy_\(value\.detach\(\)\)"):
            target.copy_(source)
        np.testing.assert_array_equal(host(target), [0, 0])
        with ts.no_grad():
            np.testing.assert_array_equal(host(target.copy_(source)), host(ts.tensor(source)))
        target.copy_(source.detach())


MASKED = np.ma.array([1.0, 2.0], mask=[False, True])


@pytest.mark.host("numpy.ma")
@pytest.mark.parametrize(
    "f",
    [
        lambda x: MASKED * x,
        lambda x: x * MASKED,
        lambda x: MASKED - x,
        lambda x: np.ma.multiply(MASKED, x),
        lambda x: np.multiply(MASKED, x),
        lambda x: np.ma.exp(x),
        lambda x: ts.where(True, x, MASKED),
        lambda x: ts.index_set(x, 0, MASKED[1]),
        lambda x: x[np.ma.array([0, 1], mask=[True, False])],
        lambda x: x.sum() + ts.tensor(MASKED).sum(),
        lambda x: x.backward(MASKED),
    ],
)
def test_masked_arrays_are_refused(f):
    x = ts.tensor([1.0, 2.0], dtype="f8", requires_grad=True)
    with pytest.raises(TypeError, match="masked array"):
        f(x)
    assert float(MASKED.sum()) == 1.0


@pytest.mark.host("of the host's memory; the device's is in tests/backend")
def test_dlpack_both_ways(x):
    with pytest.raises(BufferError, match="detach"):
        np.from_dlpack(x)
    shared = np.from_dlpack(x.detach())
    assert np.shares_memory(shared, x.data)
    array = np.arange(3.0)
    assert np.shares_memory(ts.from_dlpack(array).data, array)


@pytest.mark.host("of the host's memory; the device's is in tests/backend")
def test_dlpack_with_torch():
    torch = pytest.importorskip("torch")
    t = torch.arange(4.0)
    ours = ts.from_dlpack(t)
    t[0] = 9.0
    assert host(ours)[0] == 9.0
    assert torch.from_dlpack(ts.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]


def test_names_from_pytorch_are_answered_with_numpys(x):
    with pytest.raises(AttributeError, match="transpose"):
        x.permute(1, 0)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = x.nonsense
    assert not hasattr(x, "view")
