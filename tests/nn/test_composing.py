"""Pieces put together: masks with holes, merging, stacks, learned first states; with any cell."""

import numpy as np
import pytest
from along import second_order_along_a_line
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.testing import gradcheck

pytestmark = pytest.mark.usefixtures("backend")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def flat(state):
    return [leaf for part in state for leaf in flat(part)] if isinstance(state, tuple) else [state]


class Spring(nn.Module):
    """A user's cell.  v' = v + k (x - s),  s' = s + k v',  y = s'"""

    def __init__(self, k=0.3):
        self.k = nn.Parameter(np.array(k))

    def initial_state(self, batch_shape=()):
        return ts.zeros((*batch_shape, 3), dtype="f8"), ts.zeros((*batch_shape, 3), dtype="f8")

    def forward(self, x, state):
        s, v = state
        v = v + self.k * (x - s)
        s = s + self.k * v
        return s, (s, v)


def spring(k, x, s, v, reverse=False):
    """One sequence, in NumPy."""
    y = np.empty_like(x)
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        v = v + k * (x[t] - s)
        s = s + k * v
        y[t] = s
    return y, (s, v)


def both(cell, other, **options):
    return nn.Bidirectional(nn.Recurrent(cell), nn.Recurrent(other, reverse=True), **options)


LAYERS = {
    "rnn": lambda: nn.RNN(3, 4, 2, bidirectional=True, dtype="f8"),
    "gru": lambda: nn.GRU(3, 4, 2, bidirectional=True, dtype="f8"),
    "gru_after": lambda: nn.GRU(3, 4, bidirectional=True, reset_after=True, dtype="f8"),
    "lstm": lambda: nn.LSTM(3, 4, 2, bidirectional=True, dtype="f8"),
    "lstm_proj": lambda: nn.LSTM(3, 4, bidirectional=True, proj_size=2, dtype="f8"),
    "peephole": lambda: nn.Recurrent(nn.PeepholeLSTMCell(3, 4, dtype="f8")),
    "coupled": lambda: nn.Recurrent(nn.CoupledLSTMCell(3, 4, dtype="f8"), reverse=True),
    "leaky": lambda: nn.Recurrent(nn.LeakyCell(3, 4, dtype="f8"), reverse=True),
    "norm_rnn": lambda: nn.Recurrent(nn.LayerNormRNNCell(3, 4, dtype="f8")),
    "norm_gru": lambda: nn.Recurrent(nn.LayerNormGRUCell(3, 4, dtype="f8")),
    "norm_lstm": lambda: nn.Recurrent(nn.LayerNormLSTMCell(3, 4, dtype="f8"), reverse=True),
    "zoneout": lambda: nn.Recurrent(nn.Zoneout(nn.LSTMCell(3, 4, dtype="f8"), 0.3)).eval(),
    "spring": lambda: nn.Recurrent(Spring(), reverse=True),
    "stacked": lambda: nn.Stacked(
        both(Spring(), Spring(0.2), merge="mean"),
        nn.LSTM(3, 4, dtype="f8"),
        nn.Recurrent(nn.GRUCell(4, 2, dtype="f8"), reverse=True),
    ),
}

# -- masks -------------------------------------------------------------------------------------


def read(layer, x, upstream, **where):
    """Outputs, last state, gradients of x and of the parameters."""
    x = ts.tensor(x, requires_grad=True)
    layer.zero_grad()
    y, last = layer(x, **where)
    loss = (y * upstream).sum() + sum((part * part).sum() for part in flat(last))
    loss.backward()
    return (
        y.detach().numpy(),
        flat(last),
        x.grad.detach().numpy(),
        [p.grad.detach().numpy().copy() for p in layer.parameters()],
    )


@pytest.mark.parametrize("kind", LAYERS)
@given(st.integers(0, 2**32 - 1))
def test_a_batch_with_holes_equals_each_sequence_without_them(kind, seed):
    rng = np.random.default_rng(seed)
    layer = LAYERS[kind]()
    steps, count = rng.integers(1, 6), rng.integers(1, 4)
    mask = rng.random((steps, count)) < 0.6
    mask[rng.integers(0, steps, count), np.arange(count)] = True
    x = rng.normal(size=(steps, count, 3))
    x[~mask] = np.nan
    width = layer(x[:, :, :])[0].shape[-1]
    upstream = rng.normal(size=(steps, count, width))
    y, last, grad, weights = read(layer, x, upstream, mask=mask)
    total = [np.zeros_like(weight) for weight in weights]
    assert (y[~mask] == 0).all()
    assert (grad[~mask] == 0).all()
    layered = isinstance(layer, nn.RNN | nn.GRU | nn.LSTM)
    for n in range(count):
        m = mask[:, n]
        y_n, last_n, grad_n, weights_n = read(layer, x[m, n], upstream[m, n])
        np.testing.assert_allclose(y[m, n], y_n, rtol=0, atol=1e-12)
        np.testing.assert_allclose(grad[m, n], grad_n, rtol=1e-9, atol=1e-10)
        for ours, alone in zip(last, last_n, strict=True):
            axis = 1 if layered or ours.ndim == 3 else 0
            np.testing.assert_allclose(
                ours.detach().numpy().take(n, axis), alone.detach().numpy(), rtol=0, atol=1e-12
            )
        for a, b in zip(total, weights_n, strict=True):
            a += b
    for a, b in zip(weights, total, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", LAYERS)
def test_lengths_are_a_mask_and_one_sequence_may_have_holes(kind):
    layer, x = LAYERS[kind](), draw(5, 3, 3)
    lengths, upstream = np.array([2, 5, 3]), 1.0
    mask = np.arange(5)[:, None] < lengths
    one = read(layer, x, upstream, lengths=lengths)
    two = read(layer, x, upstream, mask=ts.Tensor(mask))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[2], two[2])
    holes = [True, False, True, True, False]
    y, last = layer(x[:, 0], mask=holes)
    same, same_last = layer(x[holes, 0])
    np.testing.assert_allclose(y.detach().numpy()[holes], same.detach().numpy(), rtol=0, atol=1e-13)
    assert (y.detach().numpy()[[1, 4]] == 0).all()
    for a, b in zip(flat(last), flat(same_last), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=0, atol=1e-13)


def test_a_sequence_that_is_never_read_keeps_its_state():
    layer, state = nn.LSTM(3, 4), (ts.ones((1, 2, 4)), ts.full((1, 2, 4), 2.0))
    mask = np.array([[True, False]] * 3)
    y, (h, c) = layer(ts.ones((3, 2, 3)), state, mask=mask)
    assert (y.detach().numpy()[:, 1] == 0).all()
    assert (h.detach().numpy()[0, 1] == 1).all()
    assert (c.detach().numpy()[0, 1] == 2).all()
    assert (h.detach().numpy()[0, 0] != 1).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_outputs_repeated_at_holes_as_in_keras(reverse):
    """The choice of steps in Recurrent's docstring is the rule step by step, and differentiable."""
    x, mask = draw(6, 4, 3), np.random.default_rng(2).random((6, 4)) < 0.5
    assert not mask[0].all()  # some sequence starts with a hole
    assert not mask[-1].all()
    layer = nn.Recurrent(nn.LSTMCell(3, 2, dtype="f8"), reverse)
    y, _ = layer(x, mask=mask)
    if reverse:
        steps = np.where(mask, np.arange(6)[:, None], 5)[::-1]
        last = np.minimum.accumulate(steps)[::-1]
    else:
        last = np.maximum.accumulate(np.where(mask, np.arange(6)[:, None], 0))
    repeated = y[last, np.arange(4)]
    expected, held = np.zeros(y.shape), np.zeros((4, 2))
    for t in reversed(range(6)) if reverse else range(6):
        held = expected[t] = np.where(mask[t][:, None], y.detach().numpy()[t], held)
    np.testing.assert_array_equal(repeated.detach().numpy(), expected)
    repeated.sum().backward()
    assert np.abs(layer.cell.weight_ih.grad.numpy()).sum() > 0


def test_with_batch_first_the_mask_is_batch_first_too():
    layer = nn.GRU(3, 4, batch_first=True, bidirectional=True)
    steps_first = nn.GRU(3, 4, bidirectional=True)
    steps_first.load_state_dict(layer.state_dict())
    x, mask = draw(2, 5, 3).astype("f4"), np.random.default_rng(1).random((2, 5)) < 0.6
    y, h = layer(x, mask=mask)
    same, same_h = steps_first(x.swapaxes(0, 1), mask=mask.T)
    np.testing.assert_array_equal(y.detach().numpy(), same.detach().numpy().swapaxes(0, 1))
    np.testing.assert_array_equal(h.detach().numpy(), same_h.detach().numpy())
    with pytest.raises(ValueError, match=r"of shape \(2, 5\) .* got shape \(5, 2\)"):
        layer(x, mask=mask.T)


@pytest.mark.parametrize("layer", [nn.RNN(3, 4), nn.Recurrent(nn.GRUCell(3, 4))])
@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ({"mask": np.ones((5, 2)), "lengths": [5, 5]}, ValueError, "lengths or a mask, not both"),
        ({"mask": np.ones((5, 2))}, TypeError, "expects a mask of booleans; got float64"),
        ({"mask": np.ones((5, 2), int)}, TypeError, "a mask of booleans; got int64"),
        (
            {"mask": np.ones((2, 5), bool)},
            ValueError,
            r"of shape \(5, 2\) for x of shape \(5, 2, 3\); got shape \(2, 5\)",
        ),
        ({"mask": np.ones(5, bool)}, ValueError, r"got shape \(5,\)"),
        ({"mask": np.ones((5, 2, 3), bool)}, ValueError, r"got shape \(5, 2, 3\)"),
    ],
)
def test_wrong_masks_are_told(layer, where, error, message):
    with pytest.raises(error, match=message):
        layer(np.zeros((5, 2, 3), "f4"), **where)


# -- merging -----------------------------------------------------------------------------------

MERGES = {
    "concat": lambda a, b: np.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "product": lambda a, b: a * b,
}


@pytest.mark.host("long; backend/test_devices joins two directions")
@pytest.mark.parametrize("merge", MERGES)
def test_two_directions_are_merged(merge):
    layer = both(
        nn.LSTMCell(3, 4, dtype="f8"), nn.GRUCell(3, 4, reset_after=True, dtype="f8"), merge=merge
    )
    x, mask = draw(5, 2, 3), np.random.default_rng(3).random((5, 2)) < 0.7
    y, (ahead, back) = layer(x, mask=mask)
    y_ahead, last = layer.forwards(x, mask=mask)
    y_back, first = layer.backwards(x, mask=mask)
    np.testing.assert_array_equal(
        y.detach().numpy(), MERGES[merge](y_ahead.detach().numpy(), y_back.detach().numpy())
    )
    np.testing.assert_array_equal(ahead[0].detach().numpy(), last[0].detach().numpy())
    np.testing.assert_array_equal(back.detach().numpy(), first.detach().numpy())
    small = both(
        nn.LSTMCell(3, 2, dtype="f8"), nn.GRUCell(3, 2, reset_after=True, dtype="f8"), merge=merge
    )
    assert gradcheck(small, x[:2])
    assert second_order_along_a_line(small, x[:2])


def test_sizes_agree_unless_concatenated():
    layer = both(nn.RNNCell(3, 4), nn.GRUCell(3, 1), merge="sum")
    message = r"merge='sum'\) expects two directions of one size; got 4 forwards and 1 backwards"
    with pytest.raises(ValueError, match=message):
        layer(np.zeros((5, 2, 3), "f4"))
    with pytest.raises(ValueError, match="one of concat, sum, mean, product; got 'max'"):
        both(nn.RNNCell(3, 4), nn.RNNCell(3, 4), merge="max")
    assert "merge='sum'" in repr(layer)


# -- stacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["none", "lengths", "mask"])
def test_a_users_cell_through_everything(padding):
    """Two directions, merged, below another layer, padded: against a loop in NumPy."""
    net = nn.Stacked(both(Spring(0.3), Spring(0.2), merge="sum"), nn.Recurrent(Spring(0.4)))
    x, where, keep = draw(5, 2, 3), {}, np.ones((5, 2), bool)
    if padding == "lengths":
        where, keep = {"lengths": [3, 5]}, np.arange(5)[:, None] < [3, 5]
    elif padding == "mask":
        keep = np.array([[1, 0], [0, 1], [1, 1], [1, 0], [0, 1]], bool)
        where = {"mask": keep}
    starts = [draw(2, 3, seed=k) for k in range(1, 7)]
    s = [ts.Tensor(start) for start in starts]
    state = (((s[0], s[1]), (s[2], s[3])), (s[4], s[5]))
    y, last = net(np.where(keep[:, :, None], x, np.nan), state, **where)
    for n in range(2):
        start = [part[n] for part in starts]
        x_n = x[keep[:, n], n]
        ahead, end = spring(0.3, x_n, *start[:2])
        back, first = spring(0.2, x_n, *start[2:4], reverse=True)
        top, top_end = spring(0.4, ahead + back, *start[4:])
        np.testing.assert_allclose(y.detach().numpy()[keep[:, n], n], top, rtol=0, atol=1e-13)
        expected = [*end, *first, *top_end]
        for ours, theirs in zip(flat(last), expected, strict=True):
            np.testing.assert_allclose(ours.detach().numpy()[n], theirs, rtol=0, atol=1e-13)
    assert (y.detach().numpy()[~keep] == 0).all()
    assert gradcheck(lambda net, x, state: net(x, state, **where), net, x, state)


def test_a_stack_of_cells_is_the_layer():
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True, dtype="f8")
    stack = nn.Stacked(*layer.levels)
    x = draw(5, 2, 3)
    y, (h, c) = layer(x, lengths=[3, 5])
    same, states = stack(x, lengths=[3, 5])
    np.testing.assert_array_equal(y.detach().numpy(), same.detach().numpy())
    np.testing.assert_array_equal(
        h.detach().numpy(), np.stack([h.detach().numpy() for h, _ in sum(states, ())])
    )
    np.testing.assert_array_equal(
        c.detach().numpy(), np.stack([c.detach().numpy() for _, c in sum(states, ())])
    )


def test_dropout_acts_between_layers_in_training_only():
    def layers(k):
        return [nn.Recurrent(lambda x, s: (x, x)) for _ in range(k)]

    x = np.ones((4, 50, 20))
    y, _ = nn.Stacked(*layers(2), dropout=0.25)(x)
    assert set(np.unique(y.detach().numpy())) == {0.0, 1 / 0.75}
    assert abs((y.detach().numpy() == 0).mean() - 0.25) < 0.03
    assert (y.detach().numpy()[0] != y.detach().numpy()[1]).any()  # anew at every step
    np.testing.assert_array_equal(nn.Stacked(*layers(1), dropout=0.25)(x)[0].detach().numpy(), x)
    np.testing.assert_array_equal(
        nn.Stacked(*layers(3), dropout=0.25).eval()(x)[0].detach().numpy(), x
    )


def test_a_stack_tells_what_does_not_fit():
    stack = nn.Stacked(nn.Recurrent(nn.GRUCell(3, 4)), nn.Recurrent(nn.LSTMCell(4, 2)))
    x, h = np.zeros((5, 2, 3), "f4"), ts.zeros((2, 4))
    assert next(name for name, _ in stack.named_parameters()) == "0.cell.weight_ih"
    stack(x, (h, None))
    with pytest.raises(TypeError, match="tuple of 2, one for each layer; got a tuple of 1"):
        stack(x, (h,))
    with pytest.raises(TypeError, match="tuple of 2, one for each layer; got a Tensor"):
        stack(x, h)
    with pytest.raises(ValueError, match=r"GRUCell expects h of shape \(2, 4\); got \(3, 4\)"):
        stack(x, (ts.zeros((3, 4)), None))
    with pytest.raises(TypeError, match=r"as nn\.Recurrent\(GRUCell\(\.\.\.\)\); got GRUCell"):
        nn.Stacked(nn.GRUCell(3, 4))
    with pytest.raises(TypeError, match="Stacked holds Modules; got function"):
        nn.Stacked(lambda x: x)
    with pytest.raises(ValueError, match="at least one layer"):
        nn.Stacked()
    with pytest.raises(ValueError, match="dropout between 0 and 1"):
        nn.Stacked(nn.RNN(3, 4), dropout=2.0)


# -- learned first states ----------------------------------------------------------------------

STARTED = {
    "cell": lambda: nn.GRUCell(3, 4, dtype="f8"),
    "recurrent": lambda: nn.Recurrent(nn.PeepholeLSTMCell(3, 4, dtype="f8")),
    "wrapped": lambda: nn.Recurrent(nn.Zoneout(nn.LSTMCell(3, 4, dtype="f8"), 0.1)).eval(),
    "layer": lambda: nn.LSTM(3, 4, 2, bidirectional=True, dtype="f8"),
    "both": lambda: both(nn.LSTMCell(3, 4, dtype="f8"), nn.RNNCell(3, 2, dtype="f8")),
    "stacked": LAYERS["stacked"],
}


@pytest.mark.parametrize("kind", STARTED)
def test_a_first_state_is_learned(kind):
    module = STARTED[kind]()
    start = nn.InitialState(module)
    x = draw(2, 3) if kind == "cell" else draw(5, 2, 3)
    y, _ = module(x, start(2))
    np.testing.assert_array_equal(
        y.detach().numpy(), module(x)[0].detach().numpy()
    )  # it starts from zeros
    parts = list(start.parameters())
    assert len(parts) == len(flat(start(2)))
    for k, part in enumerate(parts):
        part.detach().copy_(draw(*part.shape, seed=k))
    y, _ = module(x, start(2))
    alone, _ = module(x[0] if kind == "cell" else x[:, 0], start())
    np.testing.assert_allclose(
        y.detach().numpy()[0] if kind == "cell" else y.detach().numpy()[:, 0],
        alone.detach().numpy(),
        0,
        1e-12,
    )
    y.sum().backward()
    gradients = [part.grad.detach().numpy() for part in parts]
    assert all((gradient != 0).all() for gradient in gradients)
    x = x if kind == "cell" else x[:2]
    assert gradcheck(lambda start, x: module(x, start(2))[0], start, x)


def test_a_learned_first_state_is_saved_and_trained():
    start = nn.InitialState(nn.LSTM(3, 4))
    other = nn.InitialState(nn.LSTM(3, 4))
    start.part1.detach().copy_(np.ones((1, 4)))
    other.load_state_dict(start.state_dict())
    assert (other(2)[1].detach().numpy() == 1).all()
    assert other(0)[0].shape == (1, 0, 4)
    lstm = nn.LSTM(3, 4)
    optimizer = ts.optim.SGD([*lstm.parameters(), *start.parameters()], lr=0.1)
    before = start.part0.detach().numpy().copy()
    y, _ = lstm(np.ones((3, 2, 3), "f4"), start(2))
    y.sum().backward()
    optimizer.step()
    assert (start.part0.detach().numpy() != before).all()


def test_what_has_no_first_state_is_told():
    with pytest.raises(TypeError, match=r"whose initial_state\(\) gives Tensors; function gives"):
        nn.InitialState(lambda x, s: (x, s))
    with pytest.raises(TypeError, match="Recurrent gives None"):
        nn.InitialState(nn.Recurrent(lambda x, s: (x, s)))
    lstm = nn.LSTM(3, 4)
    with pytest.raises(ValueError, match=r"LSTM expects h_0 of shape \(1, 2, 4\); got \(1, 3, 4\)"):
        lstm(np.zeros((5, 2, 3), "f4"), nn.InitialState(lstm)(3))
