"""Linear, Embedding, Dropout and LayerNorm: values, gradients, and what they refuse."""

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn

pytestmark = pytest.mark.usefixtures("backend")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def gradients_match(ours, theirs, x):
    """Output and gradients of input and parameters against a PyTorch module."""
    torch = pytest.importorskip("torch")
    theirs = theirs.double()
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    our_x, their_x = ts.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    got, want = ours(our_x), theirs(their_x)
    np.testing.assert_allclose(host(got), want.detach().numpy(), rtol=0, atol=1e-12)
    up = draw(*got.shape, seed=9)
    (got * up).sum().backward()
    (want * torch.tensor(up)).sum().backward()
    np.testing.assert_allclose(host(our_x.grad), host(their_x.grad), rtol=0, atol=1e-11)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(host(p.grad), q.grad, rtol=0, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (2, 1, 4, 3), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_equals_pytorch(shape, bias):
    torch = pytest.importorskip("torch")
    ours = nn.Linear(3, 4, bias=bias, dtype="float64")
    gradients_match(ours, torch.nn.Linear(3, 4, bias=bias), draw(*shape))


def test_linear_is_the_affine_map():
    layer = nn.Linear(3, 2, dtype="float64")
    x = draw(2, 5, 3)
    w, b = layer.state_dict().values()
    expected = np.array([[w @ row + b for row in block] for block in x])
    np.testing.assert_allclose(host(layer(x)), expected, rtol=0, atol=1e-14)


def test_linear_starts_from_pytorchs_bounds():
    layer = nn.Linear(16, 500)
    assert layer.weight.shape == (500, 16)
    assert 0.24 < np.abs(host(layer.weight)).max() <= 0.25
    assert 0.24 < np.abs(host(layer.bias)).max() <= 0.25


def test_linear_tells_what_does_not_fit():
    layer = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"Linear expects in_features=3 .* x of shape \(2, 4\)"):
        layer(np.ones((2, 4), "f4"))
    with pytest.raises(TypeError, match=r"x of float32.*float64: use x\.astype"):
        layer(np.ones((2, 3)))
    with pytest.raises(TypeError, match="expects x of float32, as its weights; got int64"):
        layer(np.ones((2, 3), int))
    with pytest.raises(ValueError, match="in_features of at least 1"):
        nn.Linear(0, 2)
    assert nn.Linear(3, 2, dtype="float64")([[1, 2, 3.5]]).dtype == np.float64


@pytest.mark.parametrize("padding", [None, 2, -1])
def test_embedding_equals_pytorch(padding):
    torch = pytest.importorskip("torch")
    ours = nn.Embedding(6, 3, padding_idx=padding, dtype="float64")
    theirs = torch.nn.Embedding(6, 3, padding_idx=padding, dtype=torch.float64)
    if padding is not None:
        np.testing.assert_array_equal(host(ours.weight)[padding], 0)
    ours.load_state_dict({"weight": draw(6, 3)})  # the padding vector too
    theirs.load_state_dict({"weight": torch.tensor(host(ours.weight))})
    ids = np.array([[0, 2, 2, 5], [5, 1, 2, 2]])
    up = draw(2, 4, 3, seed=1)
    got, want = ours(ids), theirs(torch.tensor(ids))
    np.testing.assert_array_equal(host(got), want.detach().numpy())
    (got * up).sum().backward()
    (want * torch.tensor(up)).sum().backward()
    np.testing.assert_allclose(host(ours.weight.grad), host(theirs.weight.grad), rtol=0, atol=1e-14)


@pytest.mark.parametrize("ids", [3, [1, 0], np.zeros((2, 0), int), np.array([[1]], "u1"), "tensor"])
def test_embedding_takes_ids_of_any_shape_and_integer_kind(ids):
    layer = nn.Embedding(5, 2)
    plain = np.asarray([4, 0] if isinstance(ids, str) else ids)
    y = layer(ts.Tensor([4, 0]) if isinstance(ids, str) else ids)
    np.testing.assert_array_equal(host(y), host(layer.weight)[plain])
    assert layer([]).shape == (0, 2)


def test_embedding_tells_which_id_is_wrong():
    layer = nn.Embedding(100, 4)
    with pytest.raises(
        IndexError, match=r"Embedding expects ids from 0 to 99; got 105 at index \(1, 2\)"
    ):
        layer([[0, 1, 2], [99, 3, 105]])
    with pytest.raises(IndexError, match=r"got -1 at index \(0,\)"):
        layer(ts.Tensor([-1, 3]))
    with pytest.raises(TypeError, match="integer ids; got float32"):
        layer(ts.Tensor([1.0]))
    with pytest.raises(TypeError, match="integer ids; got bool"):
        layer(np.array([True]))
    with pytest.raises(ValueError, match="padding_idx within its 100 ids; got 100"):
        nn.Embedding(100, 4, padding_idx=100)


def test_dropout_keeps_the_mean_and_scales():
    layer = nn.Dropout(0.3)
    x = ts.Tensor(np.full((200, 500), 2.0, "f4"), requires_grad=True)
    y = layer(x)
    assert y.dtype == np.float32
    assert set(np.unique(host(y))) == {np.float32(0), np.float32(2 / 0.7)}
    np.testing.assert_allclose((host(y) == 0).mean(), 0.3, atol=0.01)
    assert not np.array_equal(host(y), host(layer(x)))
    y.sum().backward()
    np.testing.assert_allclose(host(x.grad), host(y) / 2, rtol=1e-6)
    assert x.grad.dtype == np.float32


def test_dropout_is_the_identity_in_evaluation_and_at_zero():
    x = draw(3, 4)
    np.testing.assert_array_equal(host(nn.Dropout(0.9).eval()(x)), x)
    np.testing.assert_array_equal(host(nn.Dropout(0.0)(x)), x)
    np.testing.assert_array_equal(host(nn.Dropout(1.0)(x)), np.zeros((3, 4)))


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_dropout_checks_its_probability(p):
    with pytest.raises(ValueError, match="Dropout expects p between 0 and 1"):
        nn.Dropout(p)


@pytest.mark.parametrize("normalized", [4, (4,), (3, 4)])
def test_layer_norm_equals_pytorch(normalized):
    torch = pytest.importorskip("torch")
    ours = nn.LayerNorm(normalized, dtype="float64")
    ours.load_state_dict({k: draw(*v.shape, seed=3) for k, v in ours.state_dict().items()})
    gradients_match(ours, torch.nn.LayerNorm(normalized), draw(2, 3, 4) * 3 + 1)


def test_layer_norm_normalises():
    layer = nn.LayerNorm(64)
    y = host(layer((draw(5, 64) * 7 + 3).astype("f4")))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(-1), 1, rtol=1e-4)
    constant = layer(np.full((2, 64), 5.0, "f4"))
    np.testing.assert_array_equal(host(constant), np.zeros((2, 64)))


def test_layer_norm_tells_what_does_not_fit():
    layer = nn.LayerNorm((3, 4))
    with pytest.raises(ValueError, match=r"normalized_shape=\(3, 4\) on the last axes.*\(2, 4\)"):
        layer(np.ones((2, 4), "f4"))
    with pytest.raises(TypeError, match="x of float32, as its weights; got float64"):
        layer(np.ones((3, 4)))
    with pytest.raises(ValueError, match="at least one axis"):
        nn.LayerNorm(())


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: nn.Linear(4, 3), draw(2, 5, 4)),
        (lambda: nn.LayerNorm(4), draw(5, 4)),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2), nn.Tanh()), draw(5, 4)),
    ],
)
def test_float32_stays_float32(make, x):
    layer = make()
    x = ts.Tensor(x.astype("f4"), requires_grad=True)
    y = layer(x)
    (y * y).sum().backward()
    assert y.dtype == np.float32
    assert all(t.grad.dtype == np.float32 for t in (x, *layer.parameters()))
