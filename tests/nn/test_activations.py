"""Cells of other functions than σ and tanh: against NumPy loops, and what stays fused."""

import copy
import pickle

import numpy as np
import pytest
import recurrent_reference as reference
from along import second_order_along_a_line
from device import host
from hypothesis import assume, given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.autograd.fused import Fused

pytestmark = pytest.mark.usefixtures("backend")

SIZE, HIDDEN = 3, 4


def clipped(function, bound):
    """ONNX's clip: the function of what it is given, between -bound and bound."""
    return lambda a: function(ts.clamp(a, -bound, bound))


def np_clipped(function, bound):
    return lambda a: function(np.where(abs(a.real) < bound, a, bound * np.sign(a.real)))


# Ours, and the same in NumPy for complex arguments.
FUNCTIONS = {
    "sigmoid": (ts.sigmoid, reference.sigmoid),
    "tanh": (ts.tanh, np.tanh),
    "relu": (ts.relu, lambda a: np.where(a.real > 0, a, 0)),
    "affine": (lambda a: 0.5 * a - 0.2, lambda a: 0.5 * a - 0.2),
    "sine": (ts.sin, np.sin),
    "clipped sigmoid": (clipped(ts.sigmoid, 0.6), np_clipped(reference.sigmoid, 0.6)),
    "clipped tanh": (clipped(ts.tanh, 0.4), np_clipped(np.tanh, 0.4)),
}


def rnn_step(phi):
    def step(w, x, state):
        (h,) = state
        (a,) = reference.gates(w, x, h, 1)
        return phi(a), (phi(a),)

    return step


def gru_step(reset_after):
    def of(f, g):
        def step(w, x, state):
            (h,) = state
            w_r, w_z, w_n = np.split(w["weight_ih"] @ x + w["bias_ih"], 3)
            u_r, u_z, u_n = np.split(w["weight_hh"], 3)
            c_r, c_z, c_n = np.split(w["bias_hh"], 3) if reset_after else (0, 0, 0)
            r, z = f(w_r + u_r @ h + c_r), f(w_z + u_z @ h + c_z)
            n = g(w_n + (r * (u_n @ h + c_n) if reset_after else u_n @ (r * h)))
            new = z * h + (1 - z) * n
            return new, (new,)

        return step

    return of


def lstm_step(f, g, h):
    def step(w, x, state):
        before, c = state
        a_i, a_f, a_g, a_o = reference.gates(w, x, before, 4)
        p_i, p_f, p_o = np.split(w["weight_peephole"], 3) if "weight_peephole" in w else (0, 0, 0)
        new = f(a_f + p_f * c) * c + f(a_i + p_i * c) * g(a_g)
        y = f(a_o + p_o * new) * h(new)
        if "weight_hr" in w:
            y = w["weight_hr"] @ y
        return y, (y, new)

    return step


def coupled_step(f, g, h):
    def step(w, x, state):
        before, c = state
        a_f, a_g, a_o = reference.gates(w, x, before, 3)
        p_f, p_o = np.split(w["weight_peephole"], 2)
        forget = f(a_f + p_f * c)
        new = forget * c + (1 - forget) * g(a_g)
        y = f(a_o + p_o * new) * h(new)
        return y, (y, new)

    return step


CELLS = {
    "rnn": (1, lambda phi, **k: nn.RNNCell(SIZE, HIDDEN, nonlinearity=phi[0], **k), rnn_step),
    "gru": (2, lambda fs, **k: nn.GRUCell(SIZE, HIDDEN, activations=fs, **k), gru_step(False)),
    "gru_after": (
        2,
        lambda fs, **k: nn.GRUCell(SIZE, HIDDEN, reset_after=True, activations=fs, **k),
        gru_step(True),
    ),
    "lstm": (3, lambda fs, **k: nn.LSTMCell(SIZE, HIDDEN, activations=fs, **k), lstm_step),
    "lstm_proj": (
        3,
        lambda fs, **k: nn.LSTMCell(SIZE, HIDDEN, proj_size=2, activations=fs, **k),
        lstm_step,
    ),
    "peephole": (
        3,
        lambda fs, **k: nn.PeepholeLSTMCell(SIZE, HIDDEN, activations=fs, **k),
        lstm_step,
    ),
    "coupled": (
        3,
        lambda fs, **k: nn.CoupledLSTMCell(SIZE, HIDDEN, peepholes=True, activations=fs, **k),
        coupled_step,
    ),
}
USUAL = {1: [ts.tanh], 2: [ts.sigmoid, ts.tanh], 3: [ts.sigmoid, ts.tanh, ts.tanh]}
FUSED = ["rnn", "gru", "gru_after", "lstm", "lstm_proj"]


@pytest.mark.parametrize("kind", CELLS)
@given(data=st.data())
def test_values_and_every_gradient_with_any_functions(kind, data):
    count, make, step_of = CELLS[kind]
    names = [data.draw(st.sampled_from(sorted(FUNCTIONS))) for _ in range(count)]
    ours, theirs = zip(*(FUNCTIONS[name] for name in names), strict=True)
    reverse, lengths = data.draw(st.booleans()), data.draw(st.sampled_from([None, [2, 3], [3, 1]]))
    draw = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    cell, step = make(ours, dtype="f8"), step_of(*theirs)
    weights = {name: draw.normal(0, 0.5, a.shape) for name, a in cell.state_dict().items()}
    cell.load_state_dict(weights)
    arrays = {"x": draw.normal(size=(3, 2, SIZE))}
    for k, size in enumerate(cell.state_sizes):
        arrays[f"state{k}"] = draw.normal(size=(2, size))
    up = draw.normal(size=(3, 2, cell.output_size))

    def loss(values):
        state = tuple(value for name, value in values.items() if name.startswith("state"))
        y, last = reference.read_batch(step, values, values["x"], state, lengths, reverse)
        return (y * up).sum() + sum((part**2).sum() for part in last)

    leaves = {name: ts.Tensor(value, requires_grad=True) for name, value in arrays.items()}
    x, *state = leaves.values()
    y, last = nn.Recurrent(cell, reverse)(x, tuple(state) if len(state) > 1 else state[0], lengths)
    parts = last if isinstance(last, tuple) else (last,)
    total = (y * up).sum() + sum((part**2).sum() for part in parts)
    terms = np.abs(host(y) * up).sum() + sum((host(part) ** 2).sum() for part in parts)
    assume(terms < 1e4)  # gates without bounds may grow past what the reference's exp can take
    assert abs(total.item() - loss(arrays | weights)) <= 1e-12 * terms  # which may cancel
    total.backward()
    tensors = {**leaves, **dict(cell.named_parameters())}  # None: relu was 0 throughout
    got = {name: 0 if t.grad is None else host(t.grad) for name, t in tensors.items()}
    for _ in range(2):  # an error in any entry of a gradient is one along a drawn line
        along = {name: draw.normal(size=t.shape) for name, t in tensors.items()}
        terms = np.concatenate([np.ravel(got[name] * along[name]) for name in tensors])
        expected = reference.complex_step_along(loss, arrays | weights, along)
        # An entry is a sum of terms as large as the largest, which grow without bound here.
        largest = max(1.0, np.abs(terms).max())
        np.testing.assert_allclose(terms.sum(), expected, rtol=1e-10, atol=1e-11 * largest)


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize(
    "copied", [lambda c: c, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_any_functions_are_fused(kind, copied):
    count, make, _ = CELLS[kind]
    cell = copied(make(USUAL[count]))
    y, _ = nn.Recurrent(cell)(ts.ones((3, 2, SIZE)))
    assert isinstance(y.node.op, Fused)
    assert "activations" not in repr(cell)
    assert "nonlinearity" not in repr(cell)
    for k in range(count):
        other = make([ts.sin if j == k else f for j, f in enumerate(USUAL[count])])
        y, _ = nn.Recurrent(other)(ts.ones((3, 2, SIZE)))
        assert isinstance(y.node.op, Fused)
        assert "sin" in repr(other)


def test_relu_is_fused_by_name_and_as_a_function():
    x = ts.ones((3, 2, SIZE))
    for phi in ("relu", ts.relu):
        layer = nn.RNN(SIZE, HIDDEN, nonlinearity=phi)
        y, _ = layer.levels[0](x)
        assert isinstance(y.node.op, Fused)
        assert "relu" in repr(layer)


@pytest.mark.host("long; the operations themselves go to second order in tests/backend")
@pytest.mark.parametrize("kind", CELLS)
def test_unbatched_masked_and_second_order(kind, rng):
    count, make, _ = CELLS[kind]
    cell = make([ts.sin] * count, dtype="f8")
    layer = nn.Recurrent(cell)
    x = rng.normal(size=(4, 2, SIZE))
    mask = np.array([[True, False], [False, True], [True, True], [True, False]])
    y, _ = layer(x, mask=mask)
    for n in range(2):
        alone, _ = layer(x[mask[:, n], n])
        np.testing.assert_allclose(host(y)[mask[:, n], n], host(alone), rtol=0, atol=1e-14)
        assert not host(y)[~mask[:, n], n].any()
    assert second_order_along_a_line(layer, x)


def test_layers_of_a_function_of_your_own(rng):
    """Several layers, both directions, lengths: as the cells one after another."""
    layer = nn.RNN(SIZE, HIDDEN, 2, nonlinearity=ts.sin, bidirectional=True, dtype="f8")
    x, lengths = rng.normal(size=(4, 2, SIZE)), [4, 2]
    y, _ = layer(x, lengths=lengths)
    w = layer.state_dict()
    level = x
    for k in range(2):
        sides = []
        for ending in (f"_l{k}", f"_l{k}_reverse"):
            own = {n.removesuffix(ending): a for n, a in w.items() if n.endswith(ending)}
            zeros = (np.zeros((2, HIDDEN)),)
            reverse = ending.endswith("reverse")
            sides.append(
                reference.read_batch(rnn_step(np.sin), own, level, zeros, lengths, reverse)[0]
            )
        level = np.concatenate(sides, axis=-1)
    np.testing.assert_allclose(host(y), level, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.LSTMCell(2, 3, activations=(ts.sigmoid, ts.tanh)), TypeError, r"\(f, g, h\)"),
        (lambda: nn.GRUCell(2, 3, activations=ts.tanh), TypeError, r"GRUCell .* \(f, g\) as func"),
        (lambda: nn.GRUCell(2, 3, activations=("sigmoid", "tanh")), TypeError, "got .'sigmoid'"),
        (lambda: nn.CoupledLSTMCell(2, 3, activations=None), TypeError, r"got \(None\)"),
        (
            lambda: nn.PeepholeLSTMCell(2, 3, activations=(nn.Sigmoid(), nn.Tanh(), nn.Tanh())),
            TypeError,
            "such as ts.tanh; got .Sigmoid",
        ),
        (lambda: nn.RNNCell(2, 3, nonlinearity=nn.Tanh()), ValueError, "a function of tensors"),
        (lambda: nn.LeakyCell(2, 3, nonlinearity=None), ValueError, "or a function.*got None"),
        (lambda: nn.LayerNormRNNCell(2, 3, 3.0), ValueError, "or a function.*got 3.0"),
    ],
)
def test_what_is_no_function_is_told(make, error, message):
    with pytest.raises(error, match=message):
        make()
