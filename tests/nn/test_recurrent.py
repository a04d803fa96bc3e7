"""Recurrent and Bidirectional: any cell, either direction, padded or not."""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import pytest
import recurrent_reference as reference
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn

pytestmark = pytest.mark.usefixtures("backend")

LAYERS = {
    "rnn": lambda **k: nn.RNN(3, 4, **k),
    "gru": lambda **k: nn.GRU(3, 4, **k),
    "gru_after": lambda **k: nn.GRU(3, 4, reset_after=True, **k),
    "lstm": lambda **k: nn.LSTM(3, 4, **k),
    "lstm_proj": lambda **k: nn.LSTM(3, 4, proj_size=2, **k),
}


def parts_of(state):
    return state if isinstance(state, tuple) else (state,)


def random_state(layer, draw, batch):
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    cell = layer.levels[0].cell if not layer.bidirectional else layer.levels[0].forwards.cell
    parts = tuple(draw.normal(size=(count, *batch, n)) for n in cell.state_sizes)
    return parts if len(parts) > 1 else parts[0]


def read(layer, x, state, lengths, up_y, up_s):
    """Outputs, final state, and the gradients of x, of the state and of the parameters."""
    x = ts.Tensor(x, requires_grad=True)
    leaves = [ts.Tensor(part, requires_grad=True) for part in parts_of(state)]
    y, last = layer(x, tuple(leaves) if len(leaves) > 1 else leaves[0], lengths)
    loss = (y * up_y).sum()
    for part, up in zip(parts_of(last), up_s, strict=True):
        loss = loss + (part * up).sum()
    layer.zero_grad()
    loss.backward()
    grads = [host(tensor.grad) for tensor in (x, *leaves)]
    weights = {name: host(p.grad).copy() for name, p in layer.named_parameters()}
    return host(y), [host(part) for part in parts_of(last)], grads, weights


@st.composite
def padded_batches(draw):
    steps = draw(st.integers(1, 5))
    lengths = draw(st.lists(st.integers(1, steps), min_size=1, max_size=4))
    return steps, lengths, draw(st.integers(0, 2**32 - 1))


@pytest.mark.parametrize("kind", LAYERS)
@given(
    case=padded_batches(),
    layers=st.integers(1, 2),
    both=st.booleans(),
    padding=st.sampled_from([0.0, 1e30, np.nan, np.inf, -np.inf]),
)
def test_a_padded_batch_equals_each_sequence_alone(kind, case, layers, both, padding):
    steps, lengths, seed = case
    draw = np.random.default_rng(seed)
    layer = LAYERS[kind](num_layers=layers, bidirectional=both, dtype="float64")
    x = draw.normal(size=(steps, len(lengths), 3))
    for n, length in enumerate(lengths):
        x[length:, n] = padding
    state = random_state(layer, draw, (len(lengths),))
    shapes = [part.shape for part in parts_of(state)]
    up_y = draw.normal(size=(steps, len(lengths), shapes[0][-1] * (1 + both)))
    up_s = [draw.normal(size=shape) for shape in shapes]

    y, last, grads, weights = read(layer, x, state, lengths, up_y, up_s)
    total = {name: np.zeros_like(value) for name, value in weights.items()}
    for n, length in enumerate(lengths):
        alone = tuple(part[:, n] for part in parts_of(state))
        y_n, last_n, grads_n, weights_n = read(
            layer,
            x[:length, n],
            alone if len(alone) > 1 else alone[0],
            None,
            up_y[:length, n],
            [up[:, n] for up in up_s],
        )
        np.testing.assert_allclose(y[:length, n], y_n, rtol=0, atol=1e-12)
        assert (y[length:, n] == 0).all()
        for ours, theirs in zip(last, last_n, strict=True):
            np.testing.assert_allclose(ours[:, n], theirs, rtol=0, atol=1e-12)
        np.testing.assert_allclose(grads[0][:length, n], grads_n[0], rtol=0, atol=1e-11)
        assert (grads[0][length:, n] == 0).all()
        for ours, theirs in zip(grads[1:], grads_n[1:], strict=True):
            np.testing.assert_allclose(ours[:, n], theirs, rtol=0, atol=1e-11)
        for name, value in weights_n.items():
            total[name] += value
    for name, value in weights.items():
        np.testing.assert_allclose(value, total[name], rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("kind", LAYERS)
def test_the_result_does_not_depend_on_the_padding(kind):
    """Bit for bit the same outputs and gradients, whatever stands in the padding."""
    layer = LAYERS[kind](num_layers=2, bidirectional=True, dtype="float64")
    draw = np.random.default_rng(0)
    x, lengths = draw.normal(size=(5, 3, 3)), [4, 1, 5]
    state = random_state(layer, draw, (3,))
    width = parts_of(state)[0].shape[-1]
    up_y = draw.normal(size=(5, 3, 2 * width))
    up_s = [draw.normal(size=part.shape) for part in parts_of(state)]
    clean = read(layer, x, state, lengths, up_y, up_s)
    x[4:, 0], x[1:, 1] = np.nan, np.inf
    dirty = read(layer, x, state, lengths, up_y, up_s)
    np.testing.assert_array_equal(dirty[0], clean[0])
    np.testing.assert_array_equal(dirty[2][0], clean[2][0])
    for name, value in clean[3].items():
        np.testing.assert_array_equal(dirty[3][name], value)


@pytest.mark.parametrize("form", [list, tuple, np.int32, np.uint8, ts.Tensor])
def test_lengths_come_in_any_integer_form(form):
    layer = nn.LSTM(3, 4, bidirectional=True)
    x = np.random.default_rng(0).normal(size=(5, 3, 3)).astype("f4")
    expected, _ = layer(x, lengths=[2, 5, 3])
    y, _ = layer(x, lengths=form([2, 5, 3]))
    np.testing.assert_array_equal(host(y), host(expected))
    assert (host(y)[2:, 0] == 0).all()
    assert (host(y)[:2, 0] != 0).all()


def test_full_lengths_change_nothing():
    layer = nn.GRU(3, 4, bidirectional=True)
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype("f4")
    np.testing.assert_array_equal(host(layer(x)[0]), host(layer(x, lengths=[5, 5])[0]))


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([0, 2, 3], ValueError, "lengths must be from 1 to 5 steps; sequence 0 has 0"),
        ([2, 6, 3], ValueError, "from 1 to 5 steps; sequence 1 has 6"),
        ([2, 3, -1], ValueError, "sequence 2 has -1"),
        ([2, 3], ValueError, r"one for each of 3 sequences, of shape \(3,\); got shape \(2,\)"),
        ([[2, 3, 1]], ValueError, r"got shape \(1, 3\)"),
        (3, ValueError, r"got shape \(\)"),
        ([2.0, 3.0, 1.0], TypeError, "integer lengths; got float64"),
        ([True, False, True], TypeError, "integer lengths; got bool"),
    ],
)
def test_wrong_lengths_are_told(lengths, error, message):
    with pytest.raises(error, match=message):
        nn.RNN(3, 4)(np.zeros((5, 3, 3), "f4"), lengths=lengths)


# -- any cell ----------------------------------------------------------------------------------


def moving_average(x, state):
    """A cell that is a plain function; arithmetic only."""
    state = 0.9 * state + 0.1 * x
    return 2 * state, state


class Oscillator(nn.Module):
    """A user's cell with a state of two parts and one parameter."""

    def __init__(self):
        self.rate = nn.Parameter(np.array(0.3))

    def forward(self, x, state):
        position, speed = (ts.zeros_like(x), ts.zeros_like(x)) if state is None else state
        speed = speed + self.rate * (x - position)
        position = position + self.rate * speed
        return position, (position, speed)


def test_a_plain_function_unrolls_both_ways():
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    start = np.random.default_rng(1).normal(size=(2, 3))
    for reverse in (False, True):
        expected, state = [None] * 4, start
        for t in [3, 2, 1, 0] if reverse else range(4):
            state = 0.9 * state + 0.1 * x[t]
            expected[t] = 2 * state
        y, last = nn.Recurrent(moving_average, reverse)(x, ts.Tensor(start))
        np.testing.assert_allclose(host(y), expected, rtol=0, atol=1e-15)
        np.testing.assert_allclose(host(last), state, rtol=0, atol=1e-15)


def test_a_users_cell_respects_lengths():
    cell = Oscillator()
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    x[2:, 0] = np.nan
    for reverse in (False, True):
        unrolled = nn.Recurrent(cell, reverse)
        state = tuple(ts.Tensor(np.ones((2, 3)) * k) for k in (1, 2))
        y, last = unrolled(x, state, lengths=[2, 4])
        alone, last_alone = unrolled(x[:2, 0], tuple(part[0] for part in state))
        np.testing.assert_allclose(host(y)[:2, 0], host(alone), rtol=0, atol=1e-14)
        assert (host(y)[2:, 0] == 0).all()
        for part, part_alone in zip(last, last_alone, strict=True):
            np.testing.assert_allclose(host(part)[0], host(part_alone), rtol=0, atol=1e-14)
    assert [name for name, _ in unrolled.named_parameters()] == ["cell.rate"]


def test_a_users_cell_starts_itself():
    x = np.random.default_rng(0).normal(size=(3, 2, 3))
    y, _ = nn.Recurrent(Oscillator())(x)
    zeros = (ts.Tensor(np.zeros((2, 3))), ts.Tensor(np.zeros((2, 3))))
    np.testing.assert_array_equal(host(y), host(nn.Recurrent(Oscillator())(x, zeros)[0]))
    with pytest.raises(ValueError, match=r"give state=, or the cell an initial_state"):
        nn.Recurrent(Oscillator(), reverse=True)(x, lengths=[1, 3])


class MinimalGatedUnit(nn.Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size, gates=2, biases=1, dtype="float64")

    def step(self, x, h):
        x_f, x_n = ts.split(x @ self.weight_ih.T + self.bias_ih, 2, axis=-1)
        u_f, u_n = ts.split(self.weight_hh, 2)
        f = ts.sigmoid(x_f + h @ u_f.T)
        h = (1 - f) * h + f * ts.tanh(x_n + (f * h) @ u_n.T)
        return h, h


def minimal_gated_step(w, x, state):
    """Zhou et al. 2016, eq. 5-7."""
    (h,) = state
    w_f, w_n = np.split(w["weight_ih"] @ x + w["bias_ih"], 2)
    u_f, u_n = np.split(w["weight_hh"], 2)
    f = reference.sigmoid(w_f + u_f @ h)
    h = (1 - f) * h + f * np.tanh(w_n + u_n @ (f * h))
    return h, (h,)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_cell_of_ten_lines_equals_its_equations(reverse):
    cell = MinimalGatedUnit(3, 4)
    draw = np.random.default_rng(0)
    arrays = {"x": draw.normal(size=(5, 2, 3)), "h": draw.normal(size=(2, 4))}
    up_y, up_h = draw.normal(size=(5, 2, 4)), draw.normal(size=(2, 4))

    def loss(given):
        w = {name: given[name] for name in cell.state_dict()}
        y, (last,) = reference.read_batch(
            minimal_gated_step, w, given["x"], (given["h"],), [3, 5], reverse
        )
        return (y * up_y).sum() + (last * up_h).sum()

    leaves = {name: ts.Tensor(array, requires_grad=True) for name, array in arrays.items()}
    y, last = nn.Recurrent(cell, reverse)(leaves["x"], leaves["h"], lengths=[3, 5])
    total = (y * up_y).sum() + (last * up_h).sum()
    weights = cell.state_dict()
    np.testing.assert_allclose(host(total), loss(arrays | weights), rtol=1e-12)
    total.backward()
    expected = reference.complex_step_gradients(loss, arrays | weights)
    for name, tensor in (leaves | dict(cell.named_parameters())).items():
        np.testing.assert_allclose(
            host(tensor.grad), expected[name], rtol=0, atol=1e-11, err_msg=name
        )


def test_a_cell_equals_its_steps():
    cell = MinimalGatedUnit(3, 4)
    x = np.random.default_rng(0).normal(size=(5, 2, 3))

    def whole_step(x, h):  # hides that it is a Cell
        return cell(x, h)

    start = ts.Tensor(np.zeros((2, 4)))
    for reverse in (False, True):
        y, last = nn.Recurrent(cell, reverse)(x, lengths=[3, 5])
        same, same_last = nn.Recurrent(whole_step, reverse)(x, start, lengths=[3, 5])
        np.testing.assert_allclose(host(y), host(same), rtol=0, atol=1e-14)
        np.testing.assert_allclose(host(last), host(same_last), rtol=0, atol=1e-14)


def test_the_first_state_can_come_from_the_cell():
    class Started(Oscillator):
        def initial_state(self, batch_shape):
            return ts.ones((*batch_shape, 3), dtype="float64"), ts.zeros((*batch_shape, 3))

    x = np.random.default_rng(0).normal(size=(3, 2, 3))
    y, _ = nn.Recurrent(Started())(x)
    state = (ts.Tensor(np.ones((2, 3))), ts.Tensor(np.zeros((2, 3))))
    np.testing.assert_array_equal(host(y), host(nn.Recurrent(Oscillator())(x, state)[0]))


def test_a_gradient_flows_through_time_and_stops_at_detach():
    x = np.random.default_rng(0).normal(size=(2, 1, 3))
    cell = nn.GRUCell(3, 4, dtype="float64")
    h = ts.Tensor(np.zeros((1, 4)), requires_grad=True)
    _, middle = nn.Recurrent(cell)(x, h)
    _, last = nn.Recurrent(cell)(x, middle.detach())
    last.sum().backward()
    assert h.grad is None
    truncated = host(cell.weight_hh.grad).copy()
    cell.zero_grad()
    nn.Recurrent(cell)(x, middle.detach())[1].sum().backward()
    np.testing.assert_array_equal(host(cell.weight_hh.grad), truncated)
    nn.Recurrent(cell)(x, nn.Recurrent(cell)(x, h)[1])[1].sum().backward()
    assert (host(h.grad) != 0).all()


def test_a_long_sequence_needs_no_deep_stack():
    cell = nn.RNNCell(1, 2)
    y, _ = nn.Recurrent(cell)(np.ones((3000, 1), "f4"))
    y.sum().backward()
    assert np.isfinite(host(cell.weight_hh.grad)).all()


# -- both directions ---------------------------------------------------------------------------


def test_the_two_directions_may_differ_in_size_and_kind():
    ahead = nn.Recurrent(nn.LSTMCell(3, 4, dtype="float64"))
    back = nn.Recurrent(nn.GRUCell(3, 2, dtype="float64"), reverse=True)
    both = nn.Bidirectional(ahead, back)
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    start = ts.Tensor(np.random.default_rng(1).normal(size=(2, 2)))
    y, (last, first) = both(x, (None, start), lengths=[3, 5])
    y_ahead, (h, _) = ahead(x, lengths=[3, 5])
    y_back, h_back = back(x, start, lengths=[3, 5])
    np.testing.assert_array_equal(host(y)[..., :4], host(y_ahead))
    np.testing.assert_array_equal(host(y)[..., 4:], host(y_back))
    np.testing.assert_array_equal(host(last[0]), host(h))
    np.testing.assert_array_equal(host(first), host(h_back))
    # The reverse direction ends at the first step, the forward one at each sequence's last.
    np.testing.assert_array_equal(host(first), host(y_back)[0])
    np.testing.assert_array_equal(host(h), host(y_ahead)[[2, 4], [0, 1]])
    assert [name for name, _ in both.named_parameters()] == [
        f"{way}.cell.{name}"
        for way, names in (
            ("forwards", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]),
            ("backwards", ["weight_ih", "weight_hh", "bias_ih"]),
        )
        for name in names
    ]


def test_reading_in_reverse_is_reading_the_flipped_sequence():
    cell = nn.LSTMCell(3, 4, dtype="float64")
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    y, (h, c) = nn.Recurrent(cell, reverse=True)(x)
    flipped, (h_flipped, c_flipped) = nn.Recurrent(cell)(x[::-1])
    np.testing.assert_allclose(host(y), host(flipped)[::-1], rtol=0, atol=1e-14)
    np.testing.assert_allclose(host(h), host(h_flipped), rtol=0, atol=1e-14)
    np.testing.assert_allclose(host(c), host(c_flipped), rtol=0, atol=1e-14)


def test_what_cannot_be_unrolled_is_told():
    cell = nn.GRUCell(3, 4)
    with pytest.raises(TypeError, match="callable as cell"):
        nn.Recurrent(3)
    with pytest.raises(TypeError, match=r"must return the pair \(y, state\); got a Tensor"):
        nn.Recurrent(lambda x, s: x)(np.ones((2, 1)))
    with pytest.raises(TypeError, match=r"the pair \(y, state\); got a tuple of 3"):
        nn.Recurrent(lambda x, s: (x, s, s))(np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"reads sequences \(T, N, 3\) or \(T, 3\)"):
        nn.Recurrent(cell)(np.ones((2, 2, 2, 3), "f4"))
    with pytest.raises(ValueError, match="at least one step"):
        nn.Recurrent(cell)(np.ones((0, 2, 3), "f4"))
    with pytest.raises(TypeError, match=r"reverse=True\); got Recurrent"):
        nn.Bidirectional(nn.Recurrent(cell), nn.Recurrent(cell))
    with pytest.raises(TypeError, match="as the first"):
        nn.Bidirectional(cell, nn.Recurrent(cell, reverse=True))
    with pytest.raises(TypeError, match="reverse to be True or False; got 'no'"):
        nn.Recurrent(cell, reverse="no")
    both = nn.Bidirectional(nn.Recurrent(cell), nn.Recurrent(cell, reverse=True))
    with pytest.raises(TypeError, match="as a pair, one for each direction; got a Tensor"):
        both(np.ones((2, 1, 3), "f4"), ts.Tensor(np.ones((1, 4), "f4")))


class Plain:
    """Holds parameters, but is no module."""

    def __init__(self):
        self.rate = nn.Parameter(np.array(0.3))

    def __call__(self, x, state):
        return x * self.rate, state


class Holder(Plain):
    """Holds a module, but is none."""

    def __init__(self):
        self.rate = nn.Linear(3, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LSTMCell, r"got the class LSTMCell: write LSTMCell\(\.\.\.\) for cell"),
        (lambda: MinimalGatedUnit, r"got the class MinimalGatedUnit: write MinimalGatedUnit\("),
        (lambda: nn.GRU(3, 4), "GRU is a layer, which reads whole sequences by itself: call it"),
        (lambda: nn.Recurrent(nn.GRUCell(3, 4)), "Recurrent is a layer"),
        (lambda: nn.Stacked(nn.GRU(3, 4)), "Stacked is a layer"),
        (Plain, "a Plain that holds parameters but is no module.*derive it from nn.Module"),
        (Holder, "a Holder that holds parameters but is no module"),
    ],
)
def test_what_is_no_cell_is_told_what_to_write(make, message):
    for around in (nn.Recurrent, nn.VariationalDropout, lambda cell: nn.Zoneout(cell, 0.1)):
        with pytest.raises(TypeError, match=message):
            around(make())


@pytest.mark.parametrize(
    ("cell", "start", "message"),
    [
        (
            lambda x, s: (x, (x, x)),
            1,
            r"got \(Tensor\[2, 3\], Tensor\[2, 3\]\) after Tensor\[2, 3\]",
        ),
        (lambda x, s: (x, (x,)), 2, r"got \(Tensor\[2, 3\],\) after \(Tensor\[2, 3\], "),
        (lambda x, s: (x, x), 2, r"got Tensor\[2, 3\] after \("),
        (lambda x, s: (x, None), 1, r"got None after Tensor\[2, 3\]"),
        (lambda x, s: (x, {"h": x}), 1, r"got \{h: Tensor\[2, 3\]\} after Tensor\[2, 3\]"),
        (lambda x, s: (x, (x, (x,))), 2, r"got \(Tensor\[2, 3\], \(Tensor\[2, 3\],\)\) after \("),
    ],
)
def test_a_state_that_changes_its_form_is_told(cell, start, message):
    part = ts.ones((2, 3))
    state = part if start == 1 else (part,) * start
    for cell_or_wrapper in (cell, nn.Zoneout(cell, 0.1)):
        with pytest.raises(TypeError, match="with the structure that it was given; " + message):
            nn.Recurrent(cell_or_wrapper)(ts.ones((4, 2, 3)), state)


@pytest.mark.parametrize("lengths", [None, [4, 2]])
def test_a_state_may_be_a_dict(lengths):
    def cell(x, s):
        h, (c, d) = s["h"], s["more"]
        c = 0.9 * c + ts.tanh(x + h)
        return c * d, {"more": (c, h), "h": c}  # the names in another order

    x, part = ts.tensor(np.random.default_rng(0).normal(size=(4, 2, 3))), ts.ones(2, 3)
    part, found = part.astype("float64"), []
    start = {"h": part, "more": (part, 2 * part)}
    for mode in (nullcontext(), nn.unrolled()):
        with mode:
            y, last = nn.Recurrent(cell)(x, start, lengths)
        found.append([host(y), host(last["h"]), *map(host, last["more"])])
    for fused, unrolled in zip(*found, strict=True):
        np.testing.assert_allclose(fused, unrolled, rtol=1e-14)
    assert nn.derivation(cell, x, start, lengths).kind != "unrolled"


def test_outputs_of_several_shapes_are_told():
    steps = []

    def cell(x, s):
        steps.append(x)
        return x[:, : 1 + len(steps) % 2], s

    for mode in (nullcontext(), nn.unrolled()):
        with mode, pytest.raises(ValueError, match=r"y of one shape at every step; got \(2, "):
            nn.Recurrent(cell)(ts.ones((3, 2, 3)), ts.ones((2, 3)))


def test_an_error_in_a_users_cell_says_what_the_cell_was_given():
    def cell(x, s):
        return x + s, s

    with pytest.raises(ValueError, match="broadcast") as told:
        nn.Recurrent(cell)(ts.ones((3, 2, 4)), ts.ones((5, 4)))
    assert told.value.__notes__ == [
        "the cell cell was first called with x of shape (2, 4) and the state Tensor[5, 4]"
    ]


@pytest.mark.filterwarnings("error")
def test_a_state_that_all_sequences_share_cannot_be_padded():
    def cell(x, s):
        h = ts.tanh(x @ s)
        return h, s + 1

    read = nn.Recurrent(cell)
    y, last = read(ts.ones((3, 2, 4)), ts.ones((4, 4)))
    assert (y.shape, last.shape) == ((3, 2, 4), (4, 4))
    with pytest.raises(ValueError, match=r"\(4, 4\) does not begin with the axis of the 2 seq"):
        read(ts.ones((3, 2, 4)), ts.ones((4, 4)), lengths=[3, 1])


class Memory(NamedTuple):
    """A state by names; a part may be nothing."""

    fast: ts.Tensor
    slow: ts.Tensor
    nothing: None = None


@pytest.mark.parametrize("lengths", [None, [4, 2]])
def test_a_named_tuple_stays_one(lengths):
    def cell(x, s):
        assert isinstance(s, Memory)
        fast = ts.tanh(x + s.fast - s.slow)
        return fast, s._replace(fast=fast, slow=0.9 * s.slow + 0.1 * fast)

    x = ts.tensor(np.random.default_rng(0).normal(size=(4, 2, 3)))
    part, found = ts.ones(2, 3, dtype="float64"), []
    for mode in (nullcontext(), nn.unrolled()):
        with mode:
            y, last = nn.Recurrent(cell)(x, Memory(part, part), lengths)
        assert isinstance(last, Memory)
        assert last.nothing is None
        found.append([host(y), host(last.fast), host(last.slow)])
    for fused, unrolled in zip(*found, strict=True):
        np.testing.assert_allclose(fused, unrolled, rtol=1e-14)
    assert nn.derivation(cell, x, Memory(part, part), lengths).kind != "unrolled"


def test_a_cell_that_overrides_forward_is_what_runs():
    class Tokens(nn.GRUCell):  # reads ids
        def __init__(self):
            super().__init__(3, 4, dtype="float64")
            self.embed = nn.Embedding(5, 3, dtype="float64")

        def forward(self, ids, state=None):
            return super().forward(self.embed(ids), state)

    cell, ids = Tokens(), np.array([[1, 2], [3, 0], [4, 4]])
    y, last = nn.Recurrent(cell)(ids, cell.initial_state((2,)))
    plain = nn.GRUCell(3, 4, dtype="float64")
    plain.load_state_dict({k: v for k, v in cell.state_dict().items() if "embed" not in k})
    expected, _ = nn.Recurrent(plain)(cell.embed(ids))
    np.testing.assert_allclose(host(y), host(expected), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(host(last), host(y)[-1])


@pytest.mark.parametrize("mode", [nullcontext, nn.unrolled], ids=["fused", "unrolled"])
@pytest.mark.parametrize("order", [1, 2])
def test_padding_has_no_effect_on_a_cell_that_is_not_finite_at_zero(mode, order):
    """Gradients of both orders are those of each sequence alone."""

    def cell(x, s):
        h, c = s
        return h * 2, (ts.sin(c / h + ts.log(x)) + 2, ts.tanh(h / x))

    def gradients(x, h, c, **how):
        leaves = [ts.tensor(a, requires_grad=True) for a in (x, h, c)]
        with mode():
            y, (h, c) = nn.Recurrent(cell)(leaves[0], tuple(leaves[1:]), **how)
            total = (y * y).sum() + (h * h).sum() + (c * c).sum()
            found = ts.autograd.grad(total, leaves, create_graph=order == 2)
            if order == 2:
                found = ts.autograd.grad(sum((g * g).sum() for g in found), leaves)
        return [host(g) for g in found]

    rng = np.random.default_rng(0)
    x, h, c = (rng.uniform(1, 2, shape) for shape in [(4, 3, 2), (3, 2), (3, 2)])
    x[2:, 1] = x[1:, 2] = np.nan
    got = gradients(x, h, c, lengths=[4, 2, 1])
    for n, steps in enumerate([4, 2, 1]):
        for g, want in zip(got, gradients(x[:steps, [n]], h[[n]], c[[n]]), strict=True):
            g, rest = (g[:steps, [n]], g[steps:, n]) if g.ndim == 3 else (g[[n]], g[:0])
            np.testing.assert_allclose(g, want, rtol=1e-9, atol=1e-12)
            assert not rest.any()


def test_ids_have_no_axis_of_features():
    table, ids = nn.Embedding(7, 4), np.arange(12).reshape(4, 3) % 7
    seen = []

    class Cell:
        def initial_state(self, batch_shape):
            seen.append(batch_shape)
            return ts.zeros(*batch_shape, 4)

        def __call__(self, i, h):
            h = ts.tanh(table(i) + h)
            return h, h

    y, last = nn.Recurrent(Cell())(ids, lengths=[4, 2, 1])
    _, alone = nn.Recurrent(Cell())(ids[:2, 1])
    assert seen == [(3,), ()]
    assert y.shape == (4, 3, 4)
    np.testing.assert_allclose(host(last)[1], host(alone), rtol=1e-6)
