"""Initialisers: the distribution, the dtype, the seed."""

import math

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.nn import init

pytestmark = pytest.mark.usefixtures("backend")

DRAWN = {
    "uniform": init.uniform,
    "normal": init.normal,
    "xavier_uniform": init.xavier_uniform,
    "xavier_normal": init.xavier_normal,
    "kaiming_uniform": init.kaiming_uniform,
    "kaiming_normal": init.kaiming_normal,
    "orthogonal": init.orthogonal,
}


def check_uniform(x, bound):
    assert np.abs(x).max() <= bound
    np.testing.assert_allclose(x.std(), bound / math.sqrt(3), rtol=0.02)
    np.testing.assert_allclose(x.mean(), 0, atol=0.02 * bound)
    np.testing.assert_allclose(np.quantile(x, 0.75), bound / 2, rtol=0.04)


def check_normal(x, std):
    np.testing.assert_allclose(x.std(), std, rtol=0.02)
    np.testing.assert_allclose(x.mean(), 0, atol=0.02 * std)
    np.testing.assert_allclose((np.abs(x) < std).mean(), 0.6827, atol=0.01)


SHAPE = (120, 300)  # out, in


def test_bounds_and_spreads():
    check_uniform(init.uniform(SHAPE, -0.3, 0.3), 0.3)
    assert init.uniform(1000, 2.0, 3.0).min() >= 2
    check_normal(init.normal(SHAPE, 0.0, 0.2), 0.2)
    np.testing.assert_allclose(init.normal(SHAPE, 5.0, 0.2).mean(), 5, atol=0.01)
    check_uniform(init.xavier_uniform(SHAPE), math.sqrt(6 / 420))
    check_uniform(init.xavier_uniform(SHAPE, gain=2.0), 2 * math.sqrt(6 / 420))
    check_normal(init.xavier_normal(SHAPE), math.sqrt(2 / 420))
    check_uniform(init.kaiming_uniform(SHAPE), math.sqrt(6 / 300))
    check_uniform(init.kaiming_uniform(SHAPE, mode="fan_out"), math.sqrt(6 / 120))
    check_normal(init.kaiming_normal(SHAPE), math.sqrt(2 / 300))
    check_normal(init.kaiming_normal(SHAPE, gain=1.0, mode="fan_out"), math.sqrt(1 / 120))
    # Axes after the first two multiply both fans.
    check_uniform(init.xavier_uniform((20, 30, 8, 8)), math.sqrt(6 / (50 * 64)))


def test_constants():
    np.testing.assert_array_equal(init.constant((2, 3), 1.5), np.full((2, 3), 1.5))
    np.testing.assert_array_equal(init.zeros(4), np.zeros(4))


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3), (2, 4, 3)])
def test_orthogonal(shape):
    drawn = init.orthogonal(shape, gain=2.0, dtype="float64")
    assert drawn.shape == shape
    matrix = drawn.reshape(shape[0], -1)
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), rtol=0, atol=1e-12)


def test_orthogonal_is_uniform_over_signs():
    """Without the sign correction QR gives the first entries one sign only."""
    first = [init.orthogonal((3, 3))[0, 0] for _ in range(200)]
    assert 60 < sum(value > 0 for value in first) < 140


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtype_and_seed(draw, dtype):
    ts.manual_seed(5)
    one = draw((4, 6), dtype=dtype)
    two = draw((4, 6), dtype=dtype)
    ts.manual_seed(5)
    again = draw((4, 6), dtype=dtype)
    own = draw((4, 6), dtype=dtype, rng=np.random.default_rng(5))
    assert one.dtype == dtype
    assert one.flags.c_contiguous
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(one, own)


def test_the_default_dtype_is_followed():
    assert init.normal(3).dtype == np.float32
    ts.set_default_dtype("float64")
    assert init.normal(3).dtype == np.float64
    assert init.zeros(3).dtype == np.float64


# -- recurrent cells ----------------------------------------------------------------------------

LAYERS = {
    "rnn": (lambda: nn.RNN(3, 4, num_layers=2, bidirectional=True), 1),
    "gru": (lambda: nn.GRU(3, 4, num_layers=2, bidirectional=True), 3),
    "lstm": (lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True), 4),
    "lstm_proj": (lambda: nn.LSTM(3, 4, proj_size=2), 4),
    "cell": (lambda: nn.GRUCell(3, 4), 3),
    "wrapped": (lambda: nn.Recurrent(nn.Zoneout(nn.CoupledLSTMCell(3, 4), 0.1)), 3),
    "stacked": (lambda: nn.Stacked(nn.Recurrent(nn.LeakyCell(3, 4)), nn.RNN(4, 4)), 1),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_each_gate_of_each_cell_gets_an_orthogonal_matrix(kind):
    make, gates = LAYERS[kind]
    module = make()
    before = module.state_dict()
    init.recurrent_(module, init.orthogonal)
    found = 0
    for name, weight in module.state_dict().items():
        if "weight_hh" not in name:
            np.testing.assert_array_equal(weight, before[name])
            continue
        blocks = np.split(weight, gates)
        for block in blocks:
            np.testing.assert_allclose(block.T @ block, np.eye(block.shape[1]), rtol=0, atol=1e-6)
            found += 1
        assert gates == 1 or np.abs(blocks[0] - blocks[1]).max() > 0.01
    assert found == gates * sum("weight_hh" in name for name in before)
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_forget_gates_get_their_bias():
    for make, gate, place in (
        (lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True), "f", slice(4, 8)),
        (lambda: nn.CoupledLSTMCell(3, 4), "f", slice(0, 4)),
        (lambda: nn.GRU(3, 4), "z", slice(4, 8)),
    ):
        module = make()
        before = module.state_dict()
        init.bias_(module, 1.0, gate=gate)
        for name, value in module.state_dict().items():
            if "bias" in name:
                expected = before[name].copy()
                expected[place] = 1.0 if "bias_ih" in name else 0.0
                np.testing.assert_array_equal(value, expected)
            else:
                np.testing.assert_array_equal(value, before[name])


def test_a_relu_net_that_starts_as_the_identity_remembers():
    rnn = nn.RNN(3, 4, nonlinearity="relu")
    init.recurrent_(rnn, init.identity)
    init.bias_(rnn, 0.0)
    start = np.array([[1.0, 2.0, 0.0, 0.5]], "f4")
    _, last = rnn(np.zeros((100, 3), "f4"), start)
    np.testing.assert_array_equal(host(last), start)
    np.testing.assert_array_equal(init.identity((2, 3), gain=0.5), [[0.5, 0, 0], [0, 0.5, 0]])


def test_initialisers_of_cells_say_what_is_missing():
    with pytest.raises(ValueError, match="no recurrent cell in this Linear"):
        init.recurrent_(nn.Linear(3, 4), init.orthogonal)
    with pytest.raises(ValueError, match="no cell in this GRU has a bias of a gate 'f'"):
        init.bias_(nn.GRU(3, 4), 1.0, gate="f")
    with pytest.raises(ValueError, match="no cell in this LSTM has a bias of a gate 'f'"):
        init.bias_(nn.LSTM(3, 4, bias=False), 1.0, gate="f")
    with pytest.raises(ValueError, match=r"two axes; got \(3,\)"):
        init.identity((3,))


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match=r"at least two axes, none empty; got \(3,\)"):
        init.xavier_uniform((3,))
    with pytest.raises(ValueError, match="at least two axes"):
        init.orthogonal(3)
    with pytest.raises(ValueError, match=r"none empty; got \(0, 3\)"):
        init.kaiming_normal((0, 3))
    with pytest.raises(ValueError, match='"fan_in" or "fan_out"; got \'fan\''):
        init.kaiming_normal((2, 3), mode="fan")
    with pytest.raises(TypeError, match="floating dtype"):
        init.zeros(3, dtype=int)
