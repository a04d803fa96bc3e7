"""MGU, SRU and sLSTM against their equations, in NumPy; as layers; and their gradients."""

import numpy as np
import pytest
from along import second_order_along_a_line
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.testing import gradcheck

pytestmark = pytest.mark.usefixtures("backend")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def mgu(p, x, h):
    W_f, W_h = np.split(p["weight_ih"], 2)
    U_f, U_h = np.split(p["weight_hh"], 2)
    b_f, b_h = np.split(p["bias_ih"], 2)
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    h = (1 - f) * h + f * np.tanh(W_h @ x + U_h @ (f * h) + b_h)
    return h, h


def sru(p, x, c):
    W, W_f, W_r, *W_s = np.split(p["weight_ih"], len(p["weight_ih"]) // len(c))
    (v_f, v_r), (b_f, b_r) = np.split(p["weight_hh"], 2), np.split(p["bias_ih"], 2)
    f, r = sigmoid(W_f @ x + v_f * c + b_f), sigmoid(W_r @ x + v_r * c + b_r)
    c = f * c + (1 - f) * (W @ x)
    return r * c + (1 - r) * (W_s[0] @ x if W_s else x), c


def slstm(p, x, state):
    """Without m, which h does not depend on: of moderate numbers no exponential overflows."""
    h, c, n = state
    i, f, z, o = np.split(p["weight_ih"] @ x + p["weight_hh"] @ h + p["bias_ih"], 4)
    c, n = sigmoid(f) * c + np.exp(i) * np.tanh(z), sigmoid(f) * n + np.exp(i)
    h = sigmoid(o) * c / n
    return h, (h, c, n)


CASES = {
    "mgu": (mgu, lambda: nn.MGUCell(2, 3, "f8"), np.zeros(3)),
    "sru": (sru, lambda: nn.SRUCell(2, 3, "f8"), np.zeros(3)),
    "sru, equal sizes": (sru, lambda: nn.SRUCell(3, 3, "f8"), np.zeros(3)),
    "slstm": (slstm, lambda: nn.SLSTMCell(2, 3, "f8"), (np.zeros(3),) * 3),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_layer_is_the_equations_at_every_step(kind):
    step, make, start = CASES[kind]
    cell, rng = make(), np.random.default_rng(0)
    p = {name: host(value) for name, value in cell.named_parameters()}
    x, lengths = rng.normal(size=(4, 3, cell.input_size)), np.array([4, 1, 3])
    y, _ = nn.Recurrent(cell)(x, lengths=lengths)
    for n, length in enumerate(lengths):
        state = start
        for t in range(length):
            expected, state = step(p, x[t, n], state)
            np.testing.assert_allclose(host(y)[t, n], expected, rtol=1e-12, atol=1e-14)
        assert not host(y)[length:, n].any()
    alone, _ = cell(x[0, 0])
    np.testing.assert_allclose(host(alone), host(y)[0, 0], rtol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", CASES)
def test_the_loop_is_derived_and_is_the_cell_unrolled(kind, reverse, rng):
    cell = CASES[kind][1]()
    layer, x = nn.Recurrent(cell, reverse), rng.normal(size=(5, 3, cell.input_size))
    assert nn.derivation(layer, x).kind != "unrolled"
    found = []
    for mode in (nn.unrolled, ts.enable_grad):
        layer.zero_grad()
        start = ts.Tensor(x, requires_grad=True)
        with mode():
            y, last = layer(start, lengths=[5, 1, 4])
        parts = last if isinstance(last, tuple) else (last,)
        (y * y + parts[0]).sum().backward()
        found.append([y, *parts, start.grad, *(p.grad for p in cell.parameters())])
    for plain, fused in zip(*found, strict=True):
        np.testing.assert_allclose(host(fused), host(plain), rtol=1e-12, atol=1e-14)


@pytest.mark.host("long; the same operations on every device")
@pytest.mark.parametrize("kind", CASES)
def test_gradients_of_first_and_second_order(kind):
    cell = CASES[kind][1]()
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 2, cell.input_size))

    class Two(nn.Module):
        def __init__(self):
            self.cell = cell

        def forward(self, x):
            y, state = self.cell(x[0])
            return y + self.cell(x[1], state)[0]

    gradcheck(Two(), x)
    second_order_along_a_line(Two(), x)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_the_exponential_gate_never_overflows(size):
    cell = nn.SLSTMCell(2, 3)
    x = ts.Tensor(np.full((50, 1, 2), size, "f4"), requires_grad=True)
    y, state = nn.Recurrent(cell)(x)
    y.sum().backward()
    for value in (y, *state, x.grad, *(p.grad for p in cell.parameters())):
        assert np.isfinite(host(value)).all()
        assert value.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.MGUCell(2, 3)(np.zeros((1, 4), "f4")), ValueError, "MGUCell expects input_s"),
        (lambda: nn.MGUCell(2, 3)(np.zeros((1, 2))), TypeError, "x of float32"),
        (lambda: nn.SRUCell(2, 3)(np.zeros((5, 1, 2), "f4")), ValueError, "takes one step"),
        (
            lambda: nn.SLSTMCell(2, 3)(np.zeros((1, 2), "f4"), np.zeros((1, 3), "f4")),
            TypeError,
            r"a tuple \(h, c, n, m\)",
        ),
        (lambda: nn.MGUCell(0, 3), ValueError, "input_size of at least 1"),
    ],
)
def test_what_does_not_fit_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
