"""One truth: the fused operation equals the cell unrolled, for every kind, option and order."""

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.autograd.fused import Fused

pytestmark = pytest.mark.usefixtures("backend")

CELLS = {
    "rnn tanh": lambda i, h, **k: nn.RNNCell(i, h, **k),
    "rnn relu": lambda i, h, **k: nn.RNNCell(i, h, nonlinearity="relu", **k),
    "gru": lambda i, h, **k: nn.GRUCell(i, h, **k),
    "gru after": lambda i, h, **k: nn.GRUCell(i, h, reset_after=True, **k),
    "lstm": lambda i, h, **k: nn.LSTMCell(i, h, **k),
    "lstm projected": lambda i, h, **k: nn.LSTMCell(i, h + 1, proj_size=h, **k),
}


@pytest.mark.parametrize("kind", CELLS)
def test_weights_that_were_frozen_before_a_recorded_backward_get_nothing(kind):
    cell = CELLS[kind](2, 3)
    y, _ = nn.Recurrent(cell)(np.ones((4, 1, 2), "f4"))
    for weight in cell.parameters():
        weight.requires_grad_(False)
    y.sum().backward(create_graph=True)
    assert all(weight.grad is None for weight in cell.parameters())


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


def loss(y, last, weights):
    terms = [y, *parts(last)]
    return sum((w * t).sum() for w, t in zip(weights, terms, strict=True) if w is not None)


@pytest.mark.parametrize("kind", CELLS)
@given(data=st.data())
def test_fused_equals_unrolled(kind, data):
    draw = data.draw
    steps, batch, size, hidden = (draw(st.integers(1, n)) for n in (6, 4, 3, 4))
    bias, reverse, single = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    cell = CELLS[kind](size, hidden, bias=bias, dtype="f8")
    for p in cell.parameters():
        p.data = rng.normal(size=p.shape)
    shape = (steps, size) if single else (steps, batch, size)
    values = rng.normal(size=shape)
    lengths = mask = None
    left_out = draw(st.sampled_from(["nothing", "ends", "holes"]))
    if left_out == "ends" and not single:
        lengths = rng.integers(1, steps + 1, batch)
        values[np.arange(steps)[:, None] >= lengths] = np.nan
    elif left_out == "holes":
        mask = rng.random(shape[:-1]) < 0.6
        values[~mask] = np.nan
    x = ts.tensor(values, requires_grad=True)
    state = None
    if draw(st.booleans()):
        zeros = parts(cell.initial_state(shape[1:-1]))
        given_parts = [ts.tensor(rng.normal(size=z.shape), requires_grad=True) for z in zeros]
        state = tuple(given_parts) if len(given_parts) > 1 else given_parts[0]
    inputs = [x, *cell.parameters(), *([] if state is None else parts(state))]
    wanted = [t for t in inputs if draw(st.booleans())] or inputs
    layer = nn.Recurrent(cell, reverse=reverse)

    y, last = layer(x, state, lengths, mask)
    with nn.unrolled():
        y_steps, last_steps = layer(x, state, lengths, mask)
    results = [y, *parts(last)]
    for one, other in zip(results, [y_steps, *parts(last_steps)], strict=True):
        np.testing.assert_allclose(
            one.detach().numpy(), other.detach().numpy(), rtol=1e-12, atol=1e-12
        )
        assert one.dtype == np.float64
    weights = [rng.normal(size=t.shape) if draw(st.booleans()) else None for t in results]
    if all(w is None for w in weights):
        weights[0] = rng.normal(size=results[0].shape)
    fused = ts.autograd.grad(loss(y, last, weights), wanted, allow_unused=True)
    steps_grads = ts.autograd.grad(loss(y_steps, last_steps, weights), wanted, allow_unused=True)
    for t, one, other in zip(wanted, fused, steps_grads, strict=True):
        a, b = (np.zeros(t.shape) if g is None else g.detach().numpy() for g in (one, other))
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", CELLS)
def test_second_order_equals_the_cell_unrolled(kind, rng):
    cell = CELLS[kind](2, 3, dtype="f8")
    layer = nn.Recurrent(cell)
    x = ts.tensor(rng.normal(size=(4, 2, 2)), requires_grad=True)
    inputs = [x, *cell.parameters()]
    vs = [ts.tensor(rng.normal(size=t.shape)) for t in inputs]

    def hessian_vector():
        y, last = layer(x, lengths=[4, 2])
        total = (y * y).sum() + sum((p**3).sum() for p in parts(last))
        first = ts.autograd.grad(total, inputs, create_graph=True)
        return ts.autograd.grad(sum((g * v).sum() for g, v in zip(first, vs, strict=True)), inputs)

    fused = hessian_vector()
    with nn.unrolled():
        steps = hessian_vector()
    for one, other in zip(fused, steps, strict=True):
        np.testing.assert_allclose(
            one.detach().numpy(), other.detach().numpy(), rtol=1e-11, atol=1e-12
        )
        assert np.abs(one.detach().numpy()).sum() > 0


def test_second_order_where_a_result_does_not_depend_on_what_is_wanted(rng):
    cell = nn.LSTMCell(2, 4, proj_size=3, dtype="f8")
    for p in cell.parameters():
        p.requires_grad = p is cell.weight_hr
    y, (h, c) = nn.Recurrent(cell)(ts.tensor(rng.normal(size=(1, 2, 2))))
    (g,) = ts.autograd.grad((y * y + h * h + c.sum()).sum(), cell.weight_hr, create_graph=True)
    (second,) = ts.autograd.grad((g * g).sum(), cell.weight_hr)
    assert np.abs(second.detach().numpy()).sum() > 0


@pytest.mark.parametrize("kind", CELLS)
def test_the_graph_is_one_node_and_without_grad_nothing_is_kept(kind):
    layer = nn.Recurrent(CELLS[kind](2, 3))
    y, _ = layer(ts.ones((5, 2, 2)))
    assert isinstance(y.node.op, Fused)
    assert y.node.op.name == kind.split()[0]
    with ts.no_grad():
        y, _ = layer(ts.ones((5, 2, 2)))
    assert y.node is None
    with nn.unrolled():
        y, _ = layer(ts.ones((5, 2, 2)))
    assert y.node.op.name == "stack"


def test_a_cell_with_other_equations_is_not_taken_for_its_parent():
    class Squared(nn.RNNCell):
        def step(self, x, h):
            return super().step(x * x + 1, h)

    x = ts.ones((3, 2, 2))
    cell = Squared(2, 3)
    plain = nn.RNNCell(2, 3)
    plain.load_state_dict(cell.state_dict())
    assert not np.allclose(
        nn.Recurrent(cell)(x)[0].detach().numpy(), nn.Recurrent(plain)(x)[0].detach().numpy()
    )
    with nn.unrolled():
        exact = nn.Recurrent(cell)(x)[0].detach().numpy()
    np.testing.assert_allclose(nn.Recurrent(cell)(x)[0].detach().numpy(), exact, rtol=1e-5)


def test_a_write_into_a_weight_is_noticed():
    layer = nn.LSTM(2, 3)
    y, _ = layer(ts.ones((4, 2, 2)))
    with ts.no_grad():
        layer.weight_hh_l0.copy_(layer.weight_hh_l0 * 2)
    with pytest.raises(RuntimeError, match=r"lstm saved its .*weight_hh_l0"):
        y.sum().backward()


def test_backward_again_after_retain_graph_gives_the_same():
    layer = nn.GRU(2, 3, dtype="f8")
    x = ts.tensor(np.ones((4, 2, 2)), requires_grad=True)
    y = (layer(x)[0] ** 2).sum()
    one = ts.autograd.grad(y, [x, *layer.parameters()], retain_graph=True)
    two = ts.autograd.grad(y, [x, *layer.parameters()])
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize(("kind", "saved"), [("lstm", 6), ("gru", 4), ("rnn tanh", 1)])
def test_memory_of_a_step_is_what_the_equations_need(backend, kind, saved, jit):
    """Forward and backward, beyond the arguments: values per step, ā per step, x̄, weight gradients.

    The LSTM keeps four gates, c and h, the GRU three gates and h, the RNN h; ā has one value per
    gate. Allowed are 1.25 of that.
    """
    if backend != "numpy":
        pytest.skip("only the host's memory can be traced")
    steps, batch, size, hidden = 200, 16, 32, 64
    gates = {"lstm": 4, "gru": 3, "rnn tanh": 1}[kind]
    layer = nn.Recurrent(CELLS[kind](size, hidden))
    x = ts.tensor(np.ones((steps, batch, size), "f4"), requires_grad=True)
    upstream = ts.tensor(np.ones((steps, batch, hidden), "f4"))
    with ts.use_jit(jit):
        y, _ = layer(x)
        y.backward(upstream)  # once, for what is made at first use
    del y
    layer.zero_grad()
    x.grad = None
    gc.collect()
    tracemalloc.start()
    with ts.use_jit(jit):
        y, _ = layer(x)
        y.backward(upstream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    values = 4 * steps * batch * ((saved + gates) * hidden + size)
    weights = 4 * sum(p.size for p in layer.parameters())
    assert peak < 1.25 * (values + weights)
