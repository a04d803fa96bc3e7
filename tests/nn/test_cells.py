"""Cells against NumPy loops: every value, and every gradient by the complex step."""

import re

import numpy as np
import pytest
import recurrent_reference as reference
from along import second_order_along_a_line
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn

pytestmark = pytest.mark.usefixtures("backend")

CELLS = {
    "rnn": (lambda **k: nn.RNNCell(3, 4, **k), reference.tanh_step),
    "gru": (lambda **k: nn.GRUCell(3, 4, **k), reference.gru_before_step),
    "gru_after": (lambda **k: nn.GRUCell(3, 4, reset_after=True, **k), reference.gru_after_step),
    "lstm": (lambda **k: nn.LSTMCell(3, 4, **k), reference.lstm_step),
    "lstm_proj": (lambda **k: nn.LSTMCell(3, 4, proj_size=2, **k), reference.lstm_step),
    "peephole": (lambda **k: nn.PeepholeLSTMCell(3, 4, **k), reference.peephole_step),
    "coupled": (lambda **k: nn.CoupledLSTMCell(3, 4, **k), reference.coupled_step),
    "coupled_peephole": (
        lambda **k: nn.CoupledLSTMCell(3, 4, peepholes=True, **k),
        reference.coupled_step,
    ),
    "leaky": (lambda **k: nn.LeakyCell(3, 4, alpha=reference.ALPHA, **k), reference.leaky_step),
    "leaky_learned": (lambda **k: nn.LeakyCell(3, 4, learned=True, **k), reference.leaky_step),
    "norm_rnn": (lambda **k: nn.LayerNormRNNCell(3, 4, **k), reference.norm_rnn_step),
    "norm_gru": (lambda **k: nn.LayerNormGRUCell(3, 4, **k), reference.norm_gru_step),
    "norm_lstm": (lambda **k: nn.LayerNormLSTMCell(3, 4, **k), reference.norm_lstm_step),
}
WITH_BIAS = [kind for kind in CELLS if not kind.startswith("norm")]
FUSED = ["rnn", "gru", "gru_after", "lstm", "lstm_proj"]


def rng(seed=0):
    return np.random.default_rng(seed)


def spread(module, seed=7):
    """Larger weights than the initialiser's, so that no gate is nearly linear."""
    draw = rng(seed)
    state = module.state_dict()
    module.load_state_dict({k: draw.normal(0, 0.7, v.shape) for k, v in state.items()})
    return module


def as_parts(state):
    return state if isinstance(state, tuple) else (state,)


def random_state(cell, batch, draw):
    parts = tuple(draw.normal(size=(*batch, n)) for n in cell.state_sizes)
    return parts if len(parts) > 1 else parts[0]


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("steps", "lengths"), [(1, None), (4, None), (4, [2, 4]), (3, [1, 2])])
def test_values_and_every_gradient(kind, reverse, steps, lengths):
    make, step = CELLS[kind]
    cell = spread(make(dtype="float64"))
    draw = rng(steps)
    inputs = {"x": draw.normal(size=(steps, 2, 3))}
    for k, part in enumerate(as_parts(random_state(cell, (2,), draw))):
        inputs[f"state{k}"] = part
    weights = cell.state_dict()
    up_y = draw.normal(size=(steps, 2, cell.output_size))
    up_s = [draw.normal(size=(2, n)) for n in cell.state_sizes]

    def loss(arrays):
        w = {k: v for k, v in arrays.items() if k in weights}
        state = tuple(arrays[k] for k in arrays if k.startswith("state"))
        y, last = reference.read_batch(step, w, arrays["x"], state, lengths, reverse)
        return (y * up_y).sum() + sum((s * u).sum() for s, u in zip(last, up_s, strict=True))

    leaves = {k: ts.Tensor(v, requires_grad=True) for k, v in inputs.items()}
    state = tuple(leaves[k] for k in leaves if k != "x")
    y, last = nn.Recurrent(cell, reverse)(
        leaves["x"], state if len(state) > 1 else state[0], lengths
    )
    start = tuple(v for k, v in inputs.items() if k != "x")
    expected_y, expected_last = reference.read_batch(
        step, weights, inputs["x"], start, lengths, reverse
    )
    np.testing.assert_allclose(host(y), expected_y, rtol=0, atol=1e-12)
    for ours, theirs in zip(as_parts(last), expected_last, strict=True):
        np.testing.assert_allclose(host(ours), theirs, rtol=0, atol=1e-12)

    total = (y * up_y).sum()
    for part, up in zip(as_parts(last), up_s, strict=True):
        total = total + (part * up).sum()
    total.backward()
    expected = reference.complex_step_gradients(loss, {**inputs, **weights})
    for name, tensor in {**leaves, **dict(cell.named_parameters())}.items():
        np.testing.assert_allclose(
            host(tensor.grad), expected[name], rtol=0, atol=1e-11, err_msg=name
        )


@pytest.mark.parametrize("kind", CELLS)
def test_one_step_batched_and_alone(kind):
    make, step = CELLS[kind]
    cell = spread(make(dtype="float64"))
    draw = rng(3)
    x, state = draw.normal(size=(5, 3)), random_state(cell, (5,), draw)
    y, after = cell(x, state)
    for n in range(5):
        parts = tuple(part[n] for part in as_parts(state))
        expected, expected_after = step(cell.state_dict(), x[n], parts)
        np.testing.assert_allclose(host(y)[n], expected, rtol=0, atol=1e-13)
        alone, alone_after = cell(x[n], parts if len(parts) > 1 else parts[0])
        np.testing.assert_allclose(host(alone), expected, rtol=0, atol=1e-13)
        for got, got_alone, want in zip(
            as_parts(after), as_parts(alone_after), expected_after, strict=True
        ):
            np.testing.assert_allclose(host(got)[n], want, rtol=0, atol=1e-13)
            np.testing.assert_allclose(host(got_alone), want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", CELLS)
def test_a_missing_state_is_zeros(kind):
    cell = spread(CELLS[kind][0](dtype="float64"))
    x = rng().normal(size=(2, 3))
    zeros = tuple(np.zeros((2, n)) for n in cell.state_sizes)
    y, _ = cell(x)
    same, _ = cell(x, zeros if len(zeros) > 1 else zeros[0])
    np.testing.assert_array_equal(host(y), host(same))


@pytest.mark.parametrize("kind", WITH_BIAS)
def test_without_bias_equals_zero_bias(kind):
    make, _ = CELLS[kind]
    bare = spread(make(bias=False, dtype="float64"))
    assert not any("bias" in name for name in bare.state_dict())
    full = make(dtype="float64")
    full.load_state_dict(
        {k: bare.state_dict().get(k, np.zeros(v.shape)) for k, v in full.state_dict().items()}
    )
    x, state = rng(1).normal(size=(2, 3)), random_state(bare, (2,), rng(2))
    np.testing.assert_allclose(host(bare(x, state)[0]), host(full(x, state)[0]), rtol=0, atol=1e-14)


def test_relu_cell_is_rectified():
    cell = spread(nn.RNNCell(3, 4, nonlinearity="relu", dtype="float64"))
    w = cell.state_dict()
    x, h = rng(4).normal(size=3), rng(5).normal(size=4)
    before = w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"]
    assert (before < 0).any()
    assert (before > 0).any()
    np.testing.assert_allclose(host(cell(x, h)[0]), np.maximum(before, 0), rtol=0, atol=1e-14)


def test_the_two_grus_are_different_functions():
    before = spread(nn.GRUCell(3, 4, bias=False, dtype="float64"))
    after = nn.GRUCell(3, 4, bias=False, reset_after=True, dtype="float64")
    after.load_state_dict(before.state_dict())
    x, h = rng(1).normal(size=(2, 3)), rng(2).normal(size=(2, 4))
    assert np.abs(host(before(x, h)[0]) - host(after(x, h)[0])).max() > 0.01


def test_each_grus_weights_are_refused_by_the_other():
    before, after = nn.GRUCell(3, 4), nn.GRUCell(3, 4, reset_after=True)
    with pytest.raises(ValueError, match="build with reset_after=True"):
        before.load_state_dict(after.state_dict())
    with pytest.raises(ValueError, match="build with reset_after=True"):
        before.load_state_dict(after.state_dict(), strict=False)
    with pytest.raises(ValueError, match="build with reset_after=False"):
        after.load_state_dict(before.state_dict())
    with pytest.raises(ValueError, match="build with reset_after=False"):
        nn.Sequential(after).load_state_dict(nn.Sequential(before).state_dict(), strict=False)


@pytest.mark.parametrize("kind", FUSED)
def test_parameters_have_pytorchs_names_order_and_bounds(kind):
    ts.manual_seed(0)
    cell = CELLS[kind][0]()
    names = [name for name, _ in cell.named_parameters()]
    expected = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
    assert names == [name for name in expected if name in names]
    for name, parameter in cell.named_parameters():
        assert np.abs(host(parameter)).max() <= 0.5, name  # 1/√4
        assert np.abs(host(parameter)).max() > 0.25, name


@pytest.mark.host("long; the operations themselves go to second order in tests/backend")
@pytest.mark.parametrize("kind", CELLS)
def test_second_order_equals_differences_of_the_first(kind):
    cell = spread(CELLS[kind][0](dtype="float64"))
    draw = rng(5)
    x, state = draw.normal(size=(2, 2, 3)), random_state(cell, (2,), draw)
    assert second_order_along_a_line(nn.Recurrent(cell), x, state, [1, 2])


def test_float32_stays_float32():
    for make, _ in CELLS.values():
        cell = make()
        x = ts.Tensor(rng().normal(size=(2, 3)).astype("float32"), requires_grad=True)
        y, after = cell(x)
        assert y.dtype == np.float32
        assert all(part.dtype == np.float32 for part in as_parts(after))
        y.sum().backward()
        for tensor in (x, *cell.parameters()):
            assert tensor.grad.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: c(np.ones((2, 5), "f4")), ValueError, r"expects input_size=3 .*\(2, 5\)"),
        (lambda c: c(np.ones((2, 3))), TypeError, r"float32.*float64: use x\.astype"),
        (lambda c: c(np.ones((2, 3), int)), TypeError, "expects x of float32"),
        (lambda c: c(np.ones((5, 2, 3), "f4")), ValueError, r"one step.*nn.Recurrent\(cell\)"),
        (lambda c: c(np.ones((2, 3), "f4"), np.ones((2, 4), "f4")), TypeError, r"tuple \(h, c\)"),
        (
            lambda c: c(np.ones((2, 3), "f4"), (np.ones((2, 4), "f4"),)),
            TypeError,
            r"tuple \(h, c\); got a tuple of 1",
        ),
        (
            lambda c: c(np.ones((2, 3), "f4"), (np.ones((2, 4), "f4"), np.ones((1, 4), "f4"))),
            ValueError,
            r"expects c of shape \(2, 4\); got \(1, 4\)",
        ),
        (
            lambda c: c(np.ones((2, 3), "f4"), (np.ones((2, 4)), np.ones((2, 4), "f4"))),
            TypeError,
            "expects h of float32",
        ),
    ],
)
def test_what_does_not_fit_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call(nn.LSTMCell(3, 4))


def test_settings_are_checked():
    with pytest.raises(ValueError, match="input_size of at least 1; got 0"):
        nn.RNNCell(0, 4)
    with pytest.raises(TypeError, match=r"an int for hidden_size; got float 4\.0"):
        nn.GRUCell(3, 4.0)
    with pytest.raises(
        ValueError, match='"tanh" or "relu", or a function of tensors; got \'gelu\''
    ):
        nn.RNNCell(3, 4, nonlinearity="gelu")
    with pytest.raises(ValueError, match="smaller than hidden_size=4; got 4"):
        nn.LSTMCell(3, 4, proj_size=4)
    with pytest.raises(TypeError, match=r"floating dtype .*; got int64"):
        nn.LSTMCell(3, 4, dtype="int64")


@pytest.mark.parametrize("kind", CELLS)
def test_a_weight_of_another_shape_is_told(kind):
    """Of every weight of every cell, assigned or written into its parameter."""
    make, _ = CELLS[kind]
    x = np.ones((5, 2, 3), "f4")
    for name, weight in list(make().named_parameters()):
        if "." in name:  # of a module within, which checks itself
            continue
        wrong = np.zeros((weight.shape[0] + 1, *weight.shape[1:]), "f4")
        message = rf"Cell expects {name} of shape {weight.shape}; got {wrong.shape}"
        assigned, written = make(), make()
        setattr(assigned, name, nn.Parameter(wrong))
        getattr(written, name).requires_grad_(False).data = wrong
        for cell in (assigned, written):
            with pytest.raises(ValueError, match=re.escape(message)):
                cell(x[0])
            with pytest.raises(ValueError, match=re.escape(message)):
                nn.Recurrent(cell)(x)


def test_a_weight_of_another_dtype_is_told():
    cell = nn.LSTMCell(3, 4)
    cell.weight_hh = nn.Parameter(np.zeros((16, 4)))
    with pytest.raises(TypeError, match="expects weight_hh of float32, as weight_ih; got float64"):
        cell(np.ones((2, 3), "f4"))


def test_a_layers_weight_of_another_shape_is_told_by_its_cell():
    for layer in (nn.GRU(3, 8), nn.GRU(3, 8, reset_after=True), nn.LSTM(3, 8), nn.RNN(3, 8)):
        rows = layer.weight_hh_l0.shape[0]
        layer.weight_hh_l0 = nn.Parameter(np.zeros((12, 8), "f4"))
        with pytest.raises(ValueError, match=rf"weight_hh.* of shape \({rows}, 8\); got \(12, 8\)"):
            layer(np.ones((5, 2, 3), "f4"))


@pytest.mark.parametrize("value", ["False", 1, None])
def test_switches_are_true_or_false(value):
    for make, names in (
        (nn.RNNCell, ["bias"]),
        (nn.GRUCell, ["bias", "reset_after"]),
        (nn.LSTMCell, ["bias"]),
        (nn.PeepholeLSTMCell, ["bias"]),
        (nn.CoupledLSTMCell, ["bias", "peepholes"]),
        (nn.LeakyCell, ["bias", "learned"]),
        (nn.RNN, ["bias", "batch_first", "bidirectional"]),
        (nn.GRU, ["bias", "batch_first", "bidirectional", "reset_after"]),
        (nn.LSTM, ["bias", "batch_first", "bidirectional"]),
    ):
        for name in names:
            with pytest.raises(TypeError, match=f"{name} to be True or False; got {value!r}"):
                make(3, 4, **{name: value})
