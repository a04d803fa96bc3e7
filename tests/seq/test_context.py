"""Context: beside the input and as the initial state, against their equations."""

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn, seq
from tinygrad_seq.testing import gradcheck, gradgradcheck

pytestmark = pytest.mark.usefixtures("backend")

MODULES = {
    "cell": lambda: nn.GRUCell(2, 3, dtype="f8"),
    "lstm cell": lambda: nn.LSTMCell(2, 3, dtype="f8"),
    "recurrent": lambda: nn.Recurrent(nn.LSTMCell(2, 3, dtype="f8")),
    "gru": lambda: nn.GRU(2, 3, dtype="f8"),
    "deep": lambda: nn.LSTM(2, 3, num_layers=2, bidirectional=True, proj_size=2, dtype="f8"),
    "stacked": lambda: nn.Stacked(
        nn.Recurrent(nn.GRUCell(2, 4, dtype="f8")), nn.Recurrent(nn.LSTMCell(4, 3, dtype="f8"))
    ),
}


def parts(state):
    return [p for part in state for p in parts(part)] if isinstance(state, tuple) else [state]


@pytest.mark.parametrize("kind", MODULES)
def test_a_state_for_every_module(kind, rng):
    module = MODULES[kind]()
    start = seq.ContextState(4, module)
    c = rng.normal(size=(5, 4))
    state = start(c)
    shapes = [part.shape for part in parts(module.initial_state((5,)))]
    assert [part.shape for part in parts(state)] == shapes
    for part, linear in zip(parts(state), start.maps, strict=True):
        expected = np.tanh(c @ host(linear.weight).T + host(linear.bias))
        by_sequence = np.moveaxis(host(part), -2, 0).reshape(5, -1)
        np.testing.assert_allclose(by_sequence, expected, rtol=1e-12)
    x = rng.normal(size=(5, 2)) if "cell" in kind else rng.normal(size=(6, 5, 2))
    module(x, state)  # it takes it


@pytest.mark.parametrize("shape", [(6, 5, 3), (5, 3)])
def test_the_context_stands_beside_every_step(shape, rng):
    x, c = rng.normal(size=shape), rng.normal(size=(5, 2))
    y = seq.at_each_step(x, c).numpy()
    np.testing.assert_array_equal(y[..., :3], x)
    np.testing.assert_array_equal(y[..., 3:], np.broadcast_to(c, (*shape[:-1], 2)))


def test_a_layer_adds_the_same_to_every_step(rng):
    """W [x, c] + b = W_x x + (W_c c + b): a bias of each sequence's own."""
    rnn = nn.RNN(5, 4, dtype="f8")
    alone = nn.RNN(3, 4, dtype="f8")
    x, c = rng.normal(size=(6, 2, 3)), rng.normal(size=(2, 2))
    y, _ = rnn(seq.at_each_step(x, c))
    w = host(rnn.weight_ih_l0)
    for n in range(2):
        bias = host(rnn.bias_ih_l0) + w[:, 3:] @ c[n]
        own = {"weight_ih_l0": w[:, :3], "weight_hh_l0": host(rnn.weight_hh_l0)}
        alone.load_state_dict(own | {"bias_ih_l0": bias, "bias_hh_l0": host(rnn.bias_hh_l0)})
        np.testing.assert_allclose(host(alone(x[:, n])[0]), host(y)[:, n], rtol=1e-12, atol=1e-14)


def test_gradients(rng):
    start = seq.ContextState(3, nn.GRU(2, 2, bidirectional=True, dtype="f8"))
    c, x = rng.normal(size=(2, 3)), rng.normal(size=(3, 2, 2))
    gradcheck(start, c)
    gradcheck(seq.at_each_step, x, c)
    gradgradcheck(seq.at_each_step, x, c)


def test_bad_input_gets_a_sentence():
    for x, c in (((6, 5, 3), (4, 2)), ((3,), (5, 2)), ((5, 3), (2,))):
        with pytest.raises(ValueError, match="same N sequences"):
            seq.at_each_step(np.ones(x), np.ones(c))
    with pytest.raises(TypeError, match="float32"):
        seq.at_each_step(np.ones((5, 3)), ts.ones((5, 2)))
    start = seq.ContextState(3, nn.GRU(2, 3))
    with pytest.raises(ValueError, match=r"\(N, C\)"):
        start(ts.ones(3))
    with pytest.raises(ValueError, match="in_features=3"):
        start(ts.ones((2, 4)))
    with pytest.raises(TypeError, match="initial_state"):
        seq.ContextState(3, lambda x, state: (x, state))
    with pytest.raises(ValueError, match="context_size of at least 1"):
        seq.ContextState(0, nn.GRU(2, 3))
