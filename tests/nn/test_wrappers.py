"""Variational dropout and zoneout around any cell: masks, statistics, equations, evaluation."""

import numpy as np
import pytest
import recurrent_reference as reference
from along import second_order_along_a_line
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.backend import current
from tinygrad_seq.testing import arrays, gradcheck, gradient_property, modules

pytestmark = pytest.mark.usefixtures("backend")

CELLS = {
    "rnn": nn.RNNCell,
    "gru": nn.GRUCell,
    "gru_after": lambda *a, **k: nn.GRUCell(*a, reset_after=True, **k),
    "lstm": nn.LSTMCell,
    "lstm_proj": lambda i, h, **k: nn.LSTMCell(i, h + 1, proj_size=h, **k),
    "peephole": nn.PeepholeLSTMCell,
    "coupled": nn.CoupledLSTMCell,
    "leaky": lambda *a, **k: nn.LeakyCell(*a, learned=True, **k),
    "norm_rnn": nn.LayerNormRNNCell,
    "norm_gru": nn.LayerNormGRUCell,
    "norm_lstm": nn.LayerNormLSTMCell,
}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def parts_of(state):
    return state if isinstance(state, tuple) else (state,)


def random_state(cell, batch):
    parts = tuple(draw(*batch, n, seed=k + 7) for k, n in enumerate(cell.state_sizes))
    return parts if len(parts) > 1 else parts[0]


def show_input(x, state):
    return x, state


def show_state(x, state):
    return state, ts.ones_like(state)


class Average(nn.Module):
    """A user's cell.  h' = a h + (1 - a) x,  y = 2 h'"""

    def __init__(self):
        self.a = nn.Parameter(np.array(0.3))

    def initial_state(self, batch_shape):
        return ts.zeros((*batch_shape, 3), dtype="f8")

    def forward(self, x, h):
        h = self.a * h + (1 - self.a) * x
        return 2 * h, h


# -- variational dropout ------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
def test_one_mask_for_all_steps_and_another_for_each_sequence(reverse):
    start = ts.ones((200, 5), dtype="f8")
    for cell, options in ((show_input, {"input": 0.3}), (show_state, {"state": 0.3})):
        layer = nn.Recurrent(nn.VariationalDropout(cell, **options), reverse)
        y, _ = layer(np.ones((4, 200, 5)), start)
        mask = host(y)[0]
        np.testing.assert_array_equal(host(y), np.broadcast_to(mask, y.shape))
        assert set(np.unique(mask)) == {0.0, 1 / 0.7}
        assert abs((mask == 0).mean() - 0.3) < 0.05
        assert len(np.unique(mask, axis=0)) > 20
        again, _ = layer(np.ones((4, 200, 5)), start)
        assert (host(again)[0] != mask).any()
        layer.eval()
        np.testing.assert_array_equal(host(layer(np.ones((4, 200, 5)), start)[0]), 1.0)


@pytest.mark.parametrize("options", [{"input": 0.5}, {"state": 0.5}])
def test_what_is_dropped_is_zero_whatever_it_was(options):
    """An infinite number that is masked is 0, where 0 · ∞ would be NaN."""
    cell = show_input if "input" in options else show_state
    x, start = np.full((3, 50, 2), np.inf), ts.full((50, 2), np.inf, dtype="f8")
    y, _ = nn.Recurrent(nn.VariationalDropout(cell, **options))(x, start)
    assert set(np.unique(host(y)[0])) == {0.0, np.inf}


def test_the_seed_decides():
    layer = nn.Recurrent(nn.VariationalDropout(nn.GRUCell(3, 4), input=0.5, state=0.5))
    x = draw(5, 2, 3).astype("f4")
    results = []
    for _ in range(2):
        ts.manual_seed(3)
        results.append(host(layer(x)[0]))
    np.testing.assert_array_equal(*results)


def rnn_masked(w, x, state, m):
    (h,) = state
    return reference.tanh_step(w, x, (h * m,))


def lstm_masked(w, x, state, m):
    h, c = state
    return reference.lstm_step(w, x, (h * m, c))


def gru_masked(w, x, state, m):
    """What gates carry past the weights is not masked."""
    (h,) = state
    w_r, w_z, w_n = np.split(w["weight_ih"], 3)
    u_r, u_z, u_n = np.split(w["weight_hh"], 3)
    b_r, b_z, b_n = np.split(w["bias_ih"], 3)
    if "bias_hh" in w:
        c_r, c_z, c_n = np.split(w["bias_hh"], 3)
        r = reference.sigmoid(w_r @ x + b_r + u_r @ (h * m) + c_r)
        z = reference.sigmoid(w_z @ x + b_z + u_z @ (h * m) + c_z)
        n = np.tanh(w_n @ x + b_n + r * (u_n @ (h * m) + c_n))
    else:
        r = reference.sigmoid(w_r @ x + b_r + u_r @ (h * m))
        z = reference.sigmoid(w_z @ x + b_z + u_z @ (h * m))
        n = np.tanh(w_n @ x + b_n + u_n @ (r * h * m))
    h = z * h + (1 - z) * n
    return h, (h,)


@pytest.mark.parametrize(
    ("kind", "masked"),
    [
        ("rnn", rnn_masked),
        ("gru", gru_masked),
        ("gru_after", gru_masked),
        ("lstm", lstm_masked),
        ("lstm_proj", lstm_masked),
    ],
)
def test_masks_stand_where_the_equation_says(kind, masked):
    cell = CELLS[kind](3, 4, dtype="f8")
    x, state = draw(5, 2, 3), random_state(cell, (2,))
    layer = nn.Recurrent(nn.VariationalDropout(cell, input=0.4, state=0.4))
    ts.manual_seed(11)
    m_x = (host(current().uniform((2, 3))) >= 0.4) / 0.6
    m_h = (host(current().uniform((2, 4))) >= 0.4) / 0.6
    assert (m_x == 0).any()
    assert (m_h == 0).any()
    ts.manual_seed(11)
    y, last = layer(x, state)
    for n in range(2):
        expected, expected_last = reference.read(
            lambda w, x, s, n=n: masked(w, x * m_x[n], s, m_h[n]),
            cell.state_dict(),
            x[:, n],
            tuple(part[n] for part in parts_of(state)),
        )
        np.testing.assert_allclose(host(y)[:, n], expected, rtol=0, atol=1e-12)
        for ours, theirs in zip(parts_of(last), expected_last, strict=True):
            np.testing.assert_allclose(host(ours)[n], theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", CELLS)
def test_every_cell_masks_what_its_recurrent_weights_see_and_no_more(kind):
    """With all of it dropped, the cell is the one whose recurrent weights are zero."""
    cell = CELLS[kind](3, 4, dtype="f8")
    x, state = draw(5, 2, 3), random_state(cell, (2,))
    y, last = nn.Recurrent(nn.VariationalDropout(cell, state=1.0))(x, state)
    cell.weight_hh.detach().copy_(np.zeros(cell.weight_hh.shape))
    expected, expected_last = nn.Recurrent(cell)(x, state)
    np.testing.assert_allclose(host(y), host(expected), rtol=0, atol=1e-14)
    for ours, theirs in zip(parts_of(last), parts_of(expected_last), strict=True):
        np.testing.assert_allclose(host(ours), host(theirs), rtol=0, atol=1e-14)


def test_masks_of_wrappers_within_each_other_multiply():
    twice = nn.VariationalDropout(nn.VariationalDropout(show_state, 0.5, 0.5), 0.5, 0.5)
    between = nn.VariationalDropout(
        nn.Zoneout(nn.VariationalDropout(show_state, state=0.5), 0.0), state=0.5
    )
    x, start = np.ones((2, 200, 5)), ts.ones((200, 5), dtype="f8")
    apart = nn.VariationalDropout(nn.VariationalDropout(show_state, input=0.5), state=0.5)
    assert set(np.unique(host(nn.Recurrent(apart)(x, start)[0]))) == {0.0, 2.0}
    for cell in (twice, between):
        y, _ = nn.Recurrent(cell)(x, start)
        assert set(np.unique(host(y))) == {0.0, 4.0}
        assert abs((host(y)[0] == 0).mean() - 0.75) < 0.05
        np.testing.assert_array_equal(host(y)[0], host(y)[1])


def test_what_a_gru_remembers_does_not_grow():
    cell = nn.GRUCell(1, 4, dtype="f8")
    nn.init.bias_(cell, 20.0, gate="z")  # keep everything
    layer = nn.Recurrent(nn.VariationalDropout(cell, state=0.5))
    _, last = layer(np.zeros((100, 1, 1)), np.ones((1, 4)))
    np.testing.assert_allclose(host(last), 1.0, atol=1e-3)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_and_holes_have_no_effect_in_training_either(kind, reverse):
    cell = CELLS[kind](3, 4, dtype="f8")
    layer = nn.Recurrent(nn.Zoneout(nn.VariationalDropout(cell, 0.3, 0.3), 0.2), reverse)
    x = draw(5, 3, 3)
    mask = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]], bool)
    results = []
    for padding in (0.0, np.nan):
        padded = ts.tensor(np.where(mask[:, :, None], x, padding), requires_grad=True)
        ts.manual_seed(0)
        y, last = layer(padded, mask=mask)
        ((y * y).sum() + sum(part.sum() for part in parts_of(last))).backward()
        results.append([host(y), host(padded.grad), *(host(part) for part in parts_of(last))])
        assert (host(y)[~mask] == 0).all()
        assert (host(padded.grad)[~mask] == 0).all()
        assert (host(padded.grad)[mask] != 0).any()
        assert all((host(part)[2] == 0).all() for part in parts_of(last))  # never read
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_in_evaluation_it_is_the_cell():
    cell = nn.LSTMCell(3, 4, dtype="f8")
    layer = nn.Recurrent(nn.VariationalDropout(cell, input=0.5, state=0.5))
    x = draw(5, 2, 3)
    assert (host(layer(x)[0]) != host(nn.Recurrent(cell)(x)[0])).any()
    layer.eval()
    y, _ = layer(x)
    assert layer.cell.begin(x, None) == (cell, x)
    np.testing.assert_array_equal(host(y), host(nn.Recurrent(cell)(x)[0]))
    np.testing.assert_array_equal(host(layer.cell(x[0])[0]), host(cell(x[0])[0]))
    assert nn.VariationalDropout(cell).begin(x, None) == (cell, x)


def test_single_steps_in_training_would_not_share_a_mask():
    cell = nn.VariationalDropout(nn.GRUCell(3, 4), state=0.5)
    with pytest.raises(RuntimeError, match=r"one mask for all steps.*nn\.Recurrent\(cell\)"):
        cell(np.ones((2, 3), "f4"))
    with pytest.raises(RuntimeError, match="one mask for all steps"):
        nn.Zoneout(cell, 0.1)(np.ones((2, 3), "f4"))
    x = ts.ones((3, 2, 3))
    ts.manual_seed(5)
    expected, _ = nn.Recurrent(cell)(x)
    ts.manual_seed(5)
    h = cell.initial_state((2,))
    step, xs = cell.begin(x, h)
    for t in range(3):
        y, h = step(xs[t], h)
        np.testing.assert_allclose(host(y), host(expected)[t], rtol=1e-6)


def test_everything_dropped_is_zeros():
    layer = nn.Recurrent(nn.VariationalDropout(nn.RNNCell(3, 4, dtype="f8"), 1.0, 1.0))
    y, _ = layer(draw(4, 2, 3))
    np.testing.assert_array_equal(host(y), np.broadcast_to(host(y)[0, 0], y.shape))


# -- zoneout ------------------------------------------------------------------------------------


def test_zoneout_keeps_units_at_random_anew_at_every_step():
    def count(x, state):
        return state + 1, state + 1  # y is no part of the state

    layer = nn.Recurrent(nn.Zoneout(count, 0.2))
    start = ts.zeros((100, 50), dtype="f8")
    _, last = layer(np.ones((30, 100, 1)), start)
    np.testing.assert_allclose(host(last).mean(), 30 * 0.8, rtol=0.01)
    np.testing.assert_allclose(host(last).var(), 30 * 0.8 * 0.2, rtol=0.1)  # binomial
    assert host(last).max() <= 30
    layer.eval()
    _, last = layer(np.ones((30, 100, 1)), start)
    np.testing.assert_allclose(host(last), 30 * 0.8, rtol=1e-12)


@pytest.mark.parametrize("kind", CELLS)
def test_zoneout_chooses_between_old_and_new(kind):
    cell = CELLS[kind](3, 4, dtype="f8")
    x, state = draw(50, 3), random_state(cell, (50,))
    zoneout = nn.Zoneout(cell, 0.3)
    y, after = zoneout(x, state)
    _, new = cell(x, state)
    np.testing.assert_array_equal(host(y), host(parts_of(after)[0]))
    for old, fresh, got in zip(parts_of(state), parts_of(new), parts_of(after), strict=True):
        kept = host(got) == old
        np.testing.assert_array_equal(host(got), np.where(kept, old, host(fresh)))
        assert 0.15 < kept.mean() < 0.45
    y, after = zoneout.eval()(x, state)
    np.testing.assert_array_equal(host(y), host(parts_of(after)[0]))
    for old, fresh, got in zip(parts_of(state), parts_of(new), parts_of(after), strict=True):
        np.testing.assert_allclose(host(got), 0.3 * old + 0.7 * host(fresh), rtol=0, atol=1e-14)


def test_the_parts_of_a_state_may_have_probabilities_of_their_own():
    cell = nn.LSTMCell(3, 4)
    x = np.ones((5, 2, 3), "f4")
    h0, c0 = np.full((2, 4), 0.5, "f4"), np.full((2, 4), -0.5, "f4")
    y, (h, c) = nn.Recurrent(nn.Zoneout(cell, (1.0, 0.0)))(x, (h0, c0))
    np.testing.assert_array_equal(host(h), h0)
    np.testing.assert_array_equal(host(y), np.broadcast_to(h0, (5, 2, 4)))
    assert (host(c) != c0).all()
    plain, _ = nn.Recurrent(cell)(x)
    same, _ = nn.Recurrent(nn.Zoneout(cell, 0.0))(x)
    np.testing.assert_allclose(host(same), host(plain), rtol=1e-6)


# -- both ---------------------------------------------------------------------------------------


@pytest.mark.host("long; the operations themselves go to second order in tests/backend")
@pytest.mark.parametrize("kind", CELLS)
def test_every_gradient_of_both_orders(kind):
    cell = CELLS[kind](1, 2, dtype="f8")
    wrapped = nn.Zoneout(nn.VariationalDropout(cell, 0.3, 0.4), 0.2)
    x, start = draw(2, 2, 1), random_state(cell, (2,))

    def run(wrapped, x, start):
        ts.manual_seed(2)
        return nn.Recurrent(wrapped)(x, start, lengths=[2, 1])

    assert gradcheck(run, wrapped, x, start)
    assert second_order_along_a_line(run, wrapped, x, start)


@pytest.mark.host("long")
@gradient_property(
    cell=modules(lambda: nn.Zoneout(nn.GRUCell(2, 3, dtype="f8"), 0.2).eval()),
    x=arrays((3, 2)),
    h=arrays((3, 3)),
)
def test_gradients_of_zoneout_in_evaluation(cell, x, h):
    return cell(x, h)


@pytest.mark.parametrize("wrap", ["dropout", "zoneout", "zoneout of dropout", "dropout of zoneout"])
def test_a_users_cell_in_evaluation_against_a_loop(wrap):
    make = {
        "dropout": lambda cell: nn.VariationalDropout(cell, 0.5, 0.5),
        "zoneout": lambda cell: nn.Zoneout(cell, 0.25),
        "zoneout of dropout": lambda cell: nn.Zoneout(nn.VariationalDropout(cell, 0.5), 0.25),
        "dropout of zoneout": lambda cell: nn.VariationalDropout(nn.Zoneout(cell, 0.25), 0.5, 0.5),
    }[wrap]
    layer = nn.Recurrent(make(Average())).eval()
    x = draw(4, 2, 3)
    keep, h, expected = 0.25 if "zoneout" in wrap else 0.0, np.zeros((2, 3)), []
    for t in range(4):
        new = 0.3 * h + 0.7 * x[t]
        expected.append(2 * new)
        h = keep * h + (1 - keep) * new
    y, last = layer(x)
    np.testing.assert_allclose(host(y), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(host(last), h, rtol=0, atol=1e-14)
    layer.train()(x)[0].sum().backward()
    assert [p.grad is not None for p in layer.parameters()] == [True]


def test_the_checks_of_the_cell_within_still_speak():
    layer = nn.Recurrent(nn.Zoneout(nn.VariationalDropout(nn.LSTMCell(3, 4), 0.1, 0.1), 0.1))
    x = np.ones((5, 2, 3), "f4")
    with pytest.raises(ValueError, match=r"LSTMCell expects h of shape \(2, 4\); got \(3, 4\)"):
        layer(x, (np.zeros((3, 4), "f4"), np.zeros((2, 4), "f4")))
    with pytest.raises(ValueError, match="LSTMCell expects input_size=3"):
        layer(np.ones((5, 2, 4), "f4"))
    with pytest.raises(ValueError, match=r"reads sequences \(T, N, 3\)"):
        layer(np.ones((5, 2, 2, 3), "f4"))
    with pytest.raises(ValueError, match="LSTMCell takes one step"):
        nn.Zoneout(nn.LSTMCell(3, 4), 0.1)(x)


def test_what_does_not_fit_is_told():
    with pytest.raises(TypeError, match="Zoneout expects a cell, callable"):
        nn.Zoneout(3, 0.5)
    with pytest.raises(ValueError, match="Zoneout expects p between 0 and 1; got 2"):
        nn.Zoneout(nn.GRUCell(3, 4), (0.1, 2))
    with pytest.raises(ValueError, match="VariationalDropout expects state between 0 and 1"):
        nn.VariationalDropout(nn.GRUCell(3, 4), state=-0.1)
    x = np.ones((2, 2, 3), "f4")
    with pytest.raises(ValueError, match=r"2 probabilities.*the state has 1"):
        nn.Recurrent(nn.Zoneout(nn.GRUCell(3, 4), (0.1, 0.1)))(x)
    with pytest.raises(ValueError, match="Zoneout needs a state to keep"):
        nn.Recurrent(nn.Zoneout(lambda x, s: (x, x), 0.1))(x)
