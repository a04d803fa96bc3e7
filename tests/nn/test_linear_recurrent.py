"""Cells linear in their state: their equations, step by step and as one scan, and as layers."""

import numpy as np
import pytest
from along import second_order_along_a_line
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.testing import gradcheck

pytestmark = pytest.mark.usefixtures("backend")

LAYERS = {"MinGRU": nn.MinGRU, "MinLSTM": nn.MinLSTM, "RGLRU": nn.RGLRU, "LRU": nn.LRU}
CELLS = {name: layer.cell for name, layer in LAYERS.items()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def min_gru(p, x, h):
    k, new = np.split(x @ p["weight"].T + p["bias"], 2, axis=-1)
    z = sigmoid(k)
    h = (1 - z) * h + z * new
    return h, h


def min_lstm(p, x, h):
    f, i, new = np.split(x @ p["weight"].T + p["bias"], 3, axis=-1)
    f, i = sigmoid(f), sigmoid(i)
    h = f / (f + i) * h + i / (f + i) * new
    return h, h


def rg_lru(p, x, h):
    u = x @ p["weight"].T + p["bias"]
    r, i = np.split(sigmoid(u @ p["gates"].T + p["gate_bias"]), 2, axis=-1)
    a = np.exp(-8 * softplus(p["decay"]) * r)
    h = a * h + np.sqrt(1 - a**2) * (i * u)
    return h, h


def lru(p, x, h):
    """With complex numbers."""
    s = h[..., ::2] + 1j * h[..., 1::2]
    B = p["weight_in"][::2] + 1j * p["weight_in"][1::2]
    C = p["weight_out"][:, ::2] - 1j * p["weight_out"][:, 1::2]
    lam = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
    s = lam * s + np.exp(p["log_gamma"]) * (x @ B.T)
    y = (s @ C.T).real + x @ p["weight"].T
    return y, np.stack([s.real, s.imag], axis=-1).reshape(h.shape)


STEPS = {"MinGRU": min_gru, "MinLSTM": min_lstm, "RGLRU": rg_lru, "LRU": lru}


def make(name, seed, **options):
    """A layer in float64 whose weights are all drawn, and a generator."""
    ts.manual_seed(seed)
    layer = LAYERS[name](2, 3, dtype="f8", **options)
    rng = np.random.default_rng(seed)
    with ts.no_grad():
        for p in layer.parameters():
            if (host(p) == 0).all():
                p.copy_(rng.normal(size=p.shape))
    return layer, rng


def weights(module):
    return {name: host(p) for name, p in module.named_parameters()}


def unrolled(step, p, x, h, lengths, reverse):
    """One direction over a padded batch (T, N, I), a sequence at a time."""
    ys, last = None, np.array(h)
    for n, length in enumerate(lengths):
        state = h[n]
        for t in range(length)[:: -1 if reverse else 1]:
            y, state = step(p, x[t, n], state)
            ys = np.zeros((*x.shape[:2], len(y))) if ys is None else ys
            ys[t, n] = y
        last[n] = state
    return ys, last


@pytest.mark.parametrize("name", LAYERS)
@given(
    seed=st.integers(0, 999),
    layers=st.integers(1, 2),
    both=st.booleans(),
    batch_first=st.booleans(),
)
def test_a_layer_is_its_equations_at_every_step(name, seed, layers, both, batch_first):
    layer, rng = make(name, seed, num_layers=layers, bidirectional=both, batch_first=batch_first)
    x, lengths = rng.normal(size=(4, 3, 2)), rng.integers(1, 5, 3)
    state = rng.normal(size=layer.initial_state((3,)).shape)
    padded = np.where(np.arange(4)[:, None, None] < lengths[:, None], x, np.nan)
    given_x = padded.swapaxes(0, 1) if batch_first else padded
    y, last = layer(given_x, state, lengths=lengths)
    below = x
    for k in range(layers):
        parts = []
        for d in range(1 + both):
            at = k * (1 + both) + d
            p = weights(layer.cells[at])
            part, end = unrolled(STEPS[name], p, below, state[at], lengths, reverse=d == 1)
            parts.append(part)
            np.testing.assert_allclose(host(last)[at], end, rtol=1e-9, atol=1e-12)
        below = np.concatenate(parts, axis=-1)
    below = below.swapaxes(0, 1) if batch_first else below
    np.testing.assert_allclose(host(y), below, rtol=1e-9, atol=1e-12)
    mask = np.arange(4)[:, None] < lengths
    masked, same = layer(given_x, state, mask=mask.T if batch_first else mask)
    np.testing.assert_array_equal(host(masked), host(y))
    np.testing.assert_array_equal(host(same), host(last))


@pytest.mark.parametrize("name", CELLS)
def test_step_by_step_is_the_scan(name):
    layer, rng = make(name, 1)
    cell, x = layer.cells[0], rng.normal(size=(5, 2, 2))
    y, last = layer(x)
    state = None
    for t in range(5):
        y_t, state = cell(x[t], state)
        np.testing.assert_allclose(host(y)[t], host(y_t), rtol=0, atol=1e-14)
    np.testing.assert_allclose(host(last)[0], host(state), rtol=0, atol=1e-14)
    one, end = layer(x[:, 0])
    np.testing.assert_allclose(host(one), host(y)[:, 0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(host(end), host(last)[:, 0], rtol=0, atol=1e-14)
    alone, _ = cell(x[0, 0])
    np.testing.assert_allclose(host(alone), host(y)[0, 0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_cell_in_recurrent_is_the_scan(name, reverse):
    layer, rng = make(name, 1)
    cell, x, lengths = layer.cells[0], rng.normal(size=(4, 3, 2)), [4, 1, 2]
    y, last = nn.Recurrent(cell, reverse)(x, lengths=lengths)
    valid = np.arange(4)[:, None] < lengths
    same, end = cell.scan(ts.Tensor(x), cell.initial_state((3,)), reverse, valid)
    np.testing.assert_allclose(host(y), host(same) * valid[..., None], rtol=0, atol=1e-14)
    np.testing.assert_allclose(host(last), host(end), rtol=0, atol=1e-14)


@pytest.mark.host("long; the derivative of the scan is tested on each device by the table")
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_first_and_second_order(name, reverse):
    """Of weights, inputs and state, through padding; a layer is such scans one after another."""
    layer, rng = make(name, 1)
    cell, valid = layer.cells[0], np.arange(3)[:, None] < [3, 1]
    state = rng.normal(size=cell.initial_state((2,)).shape)

    class Scan(nn.Module):
        def __init__(self):
            self.cell = cell

        def forward(self, x, state):
            return self.cell.scan(x, state, reverse, valid)

    x = rng.normal(size=(3, 2, 2))
    gradcheck(Scan(), x, state)
    second_order_along_a_line(Scan(), x, state)


@pytest.mark.parametrize("name", LAYERS)
def test_padding_gets_no_gradient_whatever_it_holds(name):
    layer, rng = make(name, 3, num_layers=2, bidirectional=True)
    lengths = np.array([4, 1, 2])
    inside = np.arange(4)[:, None, None] < lengths[:, None]
    grads = []
    for padding in (0.0, np.nan, np.inf):
        x = ts.Tensor(np.where(inside, rng.normal(size=(4, 3, 2)) * 0 + 0.3, padding))
        x.requires_grad = True
        y, _ = layer(x, lengths=lengths)
        layer.zero_grad()
        y.sum().backward()
        assert not host(x.grad)[~np.broadcast_to(inside, x.shape)].any()
        grads.append([host(p.grad) for p in layer.parameters()])
    for other in grads[1:]:
        for a, b in zip(grads[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", LAYERS)
def test_numbers_stay_finite_and_float32(name):
    ts.manual_seed(0)
    layer = LAYERS[name](2, 8, num_layers=2, dropout=0.3)
    x = ts.Tensor(np.full((300, 1, 2), 1e4, "f4"), requires_grad=True)
    y, h = layer(x)
    y.sum().backward()
    assert y.dtype == h.dtype == x.grad.dtype == np.float32
    for value in (y, h, x.grad, *(p.grad for p in layer.parameters())):
        assert np.isfinite(host(value)).all()


def test_dropout_acts_between_layers_in_training_alone():
    layer, rng = make("MinGRU", 0, num_layers=2, dropout=0.5)
    x = rng.normal(size=(3, 2, 2))
    first, again = (host(layer(x)[0]) for _ in range(2))
    assert (first != again).any()
    layer.eval()
    first, again = (host(layer(x)[0]) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_lru_starts_on_its_ring():
    cell = nn.LRUCell(2, 1000, r_min=0.9, r_max=0.95)
    radius = np.exp(-np.exp(host(cell.nu)))
    assert 0.9 <= radius.min() < 0.905
    assert 0.945 < radius.max() <= 0.95
    np.testing.assert_allclose(np.exp(host(cell.log_gamma)), np.sqrt(1 - radius**2), rtol=1e-3)
    kept = np.exp(-8 * softplus(host(nn.RGLRUCell(2, 1000).decay)))
    assert 0.9 <= kept.min() < kept.max() < 0.9991


def test_weights_are_saved_by_name_and_options_are_shown():
    layer = nn.LRU(2, 3, num_layers=2, bidirectional=True, r_min=0.9)
    other = nn.LRU(2, 3, num_layers=2, bidirectional=True)
    other.load_state_dict(layer.state_dict())
    x = ts.randn(4, 1, 2)
    np.testing.assert_array_equal(host(layer(x)[0]), host(other(x)[0]))
    assert "LRU(2, 3, num_layers=2, bidirectional=True" in repr(layer)
    with pytest.raises(ValueError, match="no recurrent cell in this LRU"):  # no weight_hh
        nn.init.recurrent_(layer, nn.init.orthogonal)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m(np.zeros((3, 1, 4))), ValueError, "MinGRU expects input_size=2"),
        (lambda m: m(np.zeros((3, 1, 2), "f4")), TypeError, "x of float64"),
        (lambda m: m(np.zeros(2)), ValueError, r"x of shape \(T, N, 2\)"),
        (lambda m: m(np.zeros((0, 1, 2))), ValueError, "at least one step"),
        (lambda m: m(np.zeros((3, 1, 2)), np.zeros((1, 3))), ValueError, r"h_0 of shape \(1, 1, 3"),
        (lambda m: m(np.zeros((3, 1, 2)), lengths=[4]), ValueError, "from 1 to 3"),
        (lambda m: m.cells[0](np.zeros((3, 1, 2))), ValueError, "takes one step"),
        (lambda m: m.cells[0](np.zeros((1, 2)), np.zeros(3)), ValueError, "MinGRUCell expects h"),
        (lambda m: nn.MinGRU(2, 0), ValueError, "hidden_size of at least 1"),
        (lambda m: nn.MinGRU(2, 3, bidirectional="False"), TypeError, "True or False; got 'False'"),
        (lambda m: nn.MinGRU(2, 3, r_min=0.5), TypeError, "r_min"),
        (lambda m: nn.LRU(2, 3, r_mim=1.0), TypeError, "did you mean r_min"),
        (lambda m: nn.MinGRU(2, 3, num_layer=2), TypeError, "did you mean num_layers"),
        (lambda m: nn.LRU(2, 3, r_min=1.0), ValueError, "r_min < r_max"),
    ],
)
def test_what_does_not_fit_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call(nn.MinGRU(2, 3, dtype="f8"))
