"""What is peculiar to each further cell; their values and gradients are tested in test_cells."""

import numpy as np
import pytest
import recurrent_reference as reference
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn

pytestmark = pytest.mark.usefixtures("backend")

VARIANTS = {
    "peephole": nn.PeepholeLSTMCell,
    "coupled": nn.CoupledLSTMCell,
    "leaky": nn.LeakyCell,
    "norm_rnn": nn.LayerNormRNNCell,
    "norm_gru": nn.LayerNormGRUCell,
    "norm_lstm": nn.LayerNormLSTMCell,
}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("kind", VARIANTS)
def test_unbatched_float32_and_long_sequences(kind):
    layer = nn.Recurrent(VARIANTS[kind](3, 4))
    x = draw(6, 2, 3).astype("f4")
    y, _ = layer(x)
    alone, _ = layer(x[:, 1])
    assert y.dtype == alone.dtype == np.float32
    np.testing.assert_allclose(host(alone), host(y)[:, 1], rtol=1e-5, atol=1e-6)
    many, _ = layer(np.ones((200, 1, 3), "f4"))
    many.sum().backward()
    assert all(np.isfinite(host(p.grad)).all() for p in layer.parameters())


@pytest.mark.parametrize("kind", VARIANTS)
def test_a_state_that_does_not_fit_is_told(kind):
    cell = VARIANTS[kind](3, 4)
    layer, x = nn.Recurrent(cell), np.ones((5, 2, 3), "f4")
    good = cell.initial_state((2,))
    parts = good if isinstance(good, tuple) else (good,)

    def state(make):
        made = tuple(make(part) for part in parts)
        return made if len(made) > 1 else made[0]

    name = VARIANTS[kind].__name__
    with pytest.raises(ValueError, match=rf"{name} expects h of shape \(2, 4\); got \(3, 4\)"):
        layer(x, state(lambda part: np.zeros((3, 4), "f4")))
    with pytest.raises(TypeError, match=f"{name} expects h of float32.*got float64"):
        layer(x, state(lambda part: np.zeros((2, 4))))
    with pytest.raises(TypeError, match=f"{name} expects its state as"):
        layer(x, (good, good, good))
    with pytest.raises(ValueError, match=rf"{name} expects input_size=3.*\(5, 2, 2\)"):
        layer(x[..., :2])
    with pytest.raises(ValueError, match=rf"{name} takes one step"):
        cell(x)


def test_without_peepholes_it_is_the_lstm():
    plain, peephole = nn.LSTMCell(3, 4, dtype="f8"), nn.PeepholeLSTMCell(3, 4, dtype="f8")
    peephole.load_state_dict(plain.state_dict() | {"weight_peephole": np.zeros(12)})
    x = draw(5, 2, 3)
    np.testing.assert_allclose(
        host(nn.Recurrent(peephole)(x)[0]), host(nn.Recurrent(plain)(x)[0]), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("peepholes", [False, True])
def test_coupled_gates_are_an_lstm_whose_input_gate_is_the_negated_forget_gate(peepholes):
    coupled = nn.CoupledLSTMCell(3, 4, peepholes=peepholes, dtype="f8")
    full = nn.PeepholeLSTMCell(3, 4, dtype="f8")
    weights = {}
    for name, value in coupled.state_dict().items():
        f, *rest = np.split(value, 2 if "peephole" in name else 3)
        weights[name] = np.concatenate([-f, f, *rest])  # 1 - σ(a) = σ(-a)
    full.load_state_dict({"weight_peephole": np.zeros(12)} | weights)
    x, state = draw(5, 2, 3), (draw(2, 4, seed=1), draw(2, 4, seed=2))
    y, (_, c) = nn.Recurrent(coupled)(x, state)
    y_full, (_, c_full) = nn.Recurrent(full)(x, state)
    np.testing.assert_allclose(host(y), host(y_full), rtol=0, atol=1e-13)
    np.testing.assert_allclose(host(c), host(c_full), rtol=0, atol=1e-13)


def test_leaky_units_without_leak_are_the_simple_cell():
    plain, leaky = nn.RNNCell(3, 4, dtype="f8"), nn.LeakyCell(3, 4, alpha=0.0, dtype="f8")
    leaky.load_state_dict(plain.state_dict())
    x = draw(5, 2, 3)
    np.testing.assert_allclose(
        host(nn.Recurrent(leaky)(x)[0]), host(nn.Recurrent(plain)(x)[0]), rtol=0, atol=1e-14
    )


def test_a_leak_is_learned_within_its_bounds():
    cell = nn.LeakyCell(1, 2, alpha=[0.5, 0.9], learned=True)
    np.testing.assert_allclose(host(cell.alpha), [0.5, 0.9], rtol=1e-6)
    optimizer = ts.optim.SGD(cell.parameters(), lr=100.0)
    for _ in range(20):
        optimizer.zero_grad()
        y, _ = nn.Recurrent(cell)(np.ones((3, 1), "f4"), np.full(2, 5.0, "f4"))
        (-y.sum()).backward()
        optimizer.step()
    assert (host(cell.alpha) >= [0.5, 0.9]).all()
    assert (host(cell.alpha) <= 1).all()
    assert not [p for p in nn.LeakyCell(1, 2).state_dict() if "alpha" in p]


def test_a_fixed_leak_follows_the_dtype():
    cell = nn.LeakyCell(3, 4, alpha=[0.1, 0.2, 0.3, 0.4]).astype("f8")
    y, _ = cell(draw(2, 3))
    assert y.dtype == np.float64
    assert cell.alpha.dtype == np.float64
    assert repr(cell).startswith("LeakyCell(3, 4, alpha=[0.1 0.2 0.3 0.4])")


def test_relu_forms():
    for make in (nn.LeakyCell, nn.LayerNormRNNCell):
        cell = make(3, 4, nonlinearity="relu", dtype="f8")
        y, _ = cell(draw(50, 3))
        assert (host(y) >= 0).all()
        assert (host(y) == 0).any()
        with pytest.raises(ValueError, match='"tanh" or "relu"'):
            make(3, 4, nonlinearity="gelu")


@pytest.mark.parametrize(
    ("alpha", "learned", "message"),
    [
        (1.5, False, "alpha from 0 to 1; got 1.5"),
        (np.nan, False, "from 0 to 1"),
        (1.0, True, "strictly between 0 and 1, to be learned"),
        ([0.5, 0.5], False, r"one for each of 4 units; got shape \(2,\)"),
    ],
)
def test_a_wrong_leak_is_told(alpha, learned, message):
    with pytest.raises(ValueError, match=message):
        nn.LeakyCell(3, 4, alpha=alpha, learned=learned)


def test_normalised_cells_ignore_the_scale_of_their_weights():
    x, h = draw(5, 2, 3), draw(2, 4, seed=1)
    for make, state in (
        (nn.LayerNormRNNCell, h),
        (nn.LayerNormGRUCell, h),
        (nn.LayerNormLSTMCell, (h, h)),
    ):
        cell = make(3, 4, dtype="f8")
        outputs = []
        for _ in range(2):  # both times so large that ε does not matter
            with ts.no_grad():
                cell.weight_ih.copy_(cell.weight_ih * 1e5)
                cell.weight_hh.copy_(cell.weight_hh * 1e5)
            outputs.append(host(nn.Recurrent(cell)(x, state)[0]))
        np.testing.assert_allclose(*outputs, rtol=0, atol=1e-6)


def test_the_reference_itself_knows_one_truth_from_another():
    """The loops that the cells are compared with differ from each other on the same weights."""
    cell = nn.PeepholeLSTMCell(3, 4, dtype="f8")
    x, state = draw(3), (draw(4, seed=1), draw(4, seed=2))
    one, _ = reference.peephole_step(cell.state_dict(), x, state)
    other, _ = reference.lstm_step(cell.state_dict(), x, state)
    assert np.abs(one - other).max() > 1e-3
