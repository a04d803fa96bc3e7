"""Unfolding: the recorded graph has T copies of f and one copy of θ (Deep Learning, 10.1)."""

from collections import Counter

import numpy as np
import pytest
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.autograd import Variable
from tinygrad_seq.autograd.reach import reachable

pytestmark = pytest.mark.usefixtures("backend")

CELLS = {
    "rnn": nn.RNNCell,
    "gru": nn.GRUCell,
    "gru_after": lambda *a, **k: nn.GRUCell(*a, reset_after=True, **k),
    "lstm": nn.LSTMCell,
    "lstm_proj": lambda *a, **k: nn.LSTMCell(*a, proj_size=2, **k),
    "leaky": nn.LeakyCell,
    "peephole": nn.PeepholeLSTMCell,
    "coupled": nn.CoupledLSTMCell,
    "norm_rnn": nn.LayerNormRNNCell,
    "norm_gru": nn.LayerNormGRUCell,
    "norm_lstm": nn.LayerNormLSTMCell,
    "wrapped": lambda *a, **k: nn.Zoneout(nn.GRUCell(*a, **k), 0.5).eval(),
}


def unfolded(cell, steps, draw):
    x = draw.normal(size=(steps, 2, 3))
    with nn.unrolled():
        y, _ = nn.Recurrent(cell)(x)
    nodes = reachable([y.node])
    leaves = [e for node in nodes for e in node.edges if isinstance(e, Variable)]
    return Counter(node.op.name for node in nodes if node.slot is None), leaves


@pytest.mark.parametrize("kind", CELLS)
@given(steps=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_t_copies_of_f_and_one_of_the_weights(kind, steps, seed):
    draw, cell = np.random.default_rng(seed), CELLS[kind](3, 4, dtype="f8")
    (one, _), (two, _) = (unfolded(cell, t, draw) for t in (2, 3))
    many, leaves = unfolded(cell, steps, draw)
    f = {op: two[op] - one[op] for op in two if two[op] != one[op]}
    assert f  # one more step is one more copy of these operations
    if steps > 1:
        assert many == {op: n + (steps - 2) * f.get(op, 0) for op, n in one.items()}
    assert {id(leaf) for leaf in leaves} == {id(p) for p in cell.parameters()}


@given(steps=st.integers(1, 20))
def test_a_cell_that_holds_its_weights_is_recorded_t_times_and_they_once(steps):
    w, u, b = (ts.rand(*shape, requires_grad=True) for shape in ((3, 4), (4, 4), (4,)))

    def f(x, h):
        h = ts.tanh(x @ w + h @ u + b)
        return h, h

    with nn.unrolled():
        y, _ = nn.Recurrent(f)(np.ones((steps, 2, 3), "f4"), ts.zeros(2, 4))
    nodes = reachable([y.node])
    counts = Counter(node.op.name for node in nodes)
    assert counts == {"matmul": 2 * steps, "add": 2 * steps, "tanh": steps, "stack": 1}
    uses = Counter(e for node in nodes for e in node.edges if isinstance(e, Variable))
    assert uses == {w: steps, u: steps, b: steps}


@pytest.mark.parametrize("kind", CELLS)
@given(steps=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_g_t_is_f_applied_t_times(kind, steps, seed):
    draw, cell = np.random.default_rng(seed), CELLS[kind](3, 4, dtype="f8")
    x = draw.normal(size=(steps, 2, 3))
    y, last = nn.Recurrent(cell)(x)
    state = None
    for t in range(steps):
        y_t, state = cell(x[t], state)
        np.testing.assert_allclose(host(y_t), host(y)[t], rtol=1e-12, atol=1e-14)
        g_t, _ = nn.Recurrent(cell)(x[: t + 1])  # h_t = g_t(x_1, …, x_t) reads nothing later
        np.testing.assert_allclose(host(g_t)[-1], host(y)[t], rtol=1e-12, atol=1e-14)
    for ours, theirs in zip(
        *(s if isinstance(s, tuple) else (s,) for s in (last, state)), strict=True
    ):
        np.testing.assert_allclose(host(ours), host(theirs), rtol=1e-12, atol=1e-14)


@given(steps=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_the_gradient_of_the_weights_is_the_sum_over_their_copies(steps, seed):
    """As if every step had weights of its own that happen to be equal (d2l 9.7)."""
    draw = np.random.default_rng(seed)
    x, h0 = draw.normal(size=(steps, 2, 3)), draw.normal(size=(2, 4))
    w, u = draw.normal(size=(3, 4)), draw.normal(size=(4, 4))

    def loss(u_of):
        h = h0
        for t in range(steps):
            h = ts.tanh(x[t] @ w + h @ u_of(t))
        return (h * h).sum()

    shared = ts.Tensor(u, requires_grad=True)
    loss(lambda t: shared).backward()
    copies = [ts.tensor(u, requires_grad=True) for _ in range(steps)]
    loss(lambda t: copies[t]).backward()
    np.testing.assert_allclose(host(shared.grad), sum(host(c.grad) for c in copies), rtol=1e-10)
