"""Recurrence from the output: free, forced, and in between (Deep Learning, 10.2.1)."""

from collections import Counter

import numpy as np
import pytest
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn, seq
from tinygrad_seq.autograd.reach import reachable
from tinygrad_seq.testing import gradcheck

pytestmark = pytest.mark.usefixtures("backend")

seeds = st.integers(0, 2**32 - 1)


def feedback(inputs=3, outputs=2, feed=None):
    net = nn.Sequential(
        nn.Linear(inputs + outputs, 5, dtype="f8"), nn.Tanh(), nn.Linear(5, outputs, dtype="f8")
    )
    return seq.FeedbackCell(net, outputs, feed)


CELLS = {
    "feedback": feedback,
    "softmax": lambda: feedback(feed=ts.softmax),
    "rnn": lambda: nn.RNNCell(3, 4, dtype="f8"),
    "lstm": lambda: nn.LSTMCell(3, 4, dtype="f8"),
}


def case(kind, seed, steps=5, batch=3):
    """A cell, an input, true states of the cell's form, and a first state."""
    draw, cell = np.random.default_rng(seed), CELLS[kind]()
    sizes = [p.shape[-1] for p in parts(cell.initial_state((batch,)))]
    truth = like(cell, [draw.normal(size=(steps, batch, n)) for n in sizes])
    first = like(cell, [draw.normal(size=(batch, n)) for n in sizes])
    return cell, draw.normal(size=(steps, batch, 3)), truth, first


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


def like(cell, arrays):
    made = tuple(ts.Tensor(a) for a in arrays)
    return made if isinstance(cell.initial_state((1,)), tuple) else made[0]


def at(state, t):
    return tuple(p[t] for p in state) if isinstance(state, tuple) else state[t]


def gradients(y, cell):
    return [host(g) for g in ts.autograd.grad((y * y).sum(), list(cell.parameters()))]


def assert_close(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_a_feedback_cell_is_its_equation():
    cell = feedback(feed=lambda o: 2 * o)
    x, s = np.ones((4, 3)), np.full((4, 2), 0.5)
    o, state = cell(x, s)
    w, b, v, c = (host(p) for p in cell.parameters())
    expected = np.tanh(np.concatenate([x, s], axis=1) @ w.T + b) @ v.T + c
    np.testing.assert_allclose(host(o), expected, rtol=1e-12)
    np.testing.assert_array_equal(host(state), 2 * host(o))
    assert gradcheck(lambda x, s: cell(x, s)[0], x, s)


@pytest.mark.parametrize("kind", CELLS)
@given(seed=seeds, steps=st.integers(1, 5))
def test_forced_in_parallel_is_forced_step_by_step(kind, seed, steps):
    cell, x, truth, first = case(kind, seed, steps)
    y, last = seq.teacher_forcing(cell, x, truth, first)
    outputs = []
    for t in range(steps):
        y_t, state = cell(x[t], first if t == 0 else at(truth, t - 1))
        outputs.append(y_t)
    slow = ts.stack(outputs)
    assert_close(
        [host(y), *(host(p) for p in parts(last))], [host(slow), *(host(p) for p in parts(state))]
    )
    assert_close(gradients(y, cell), gradients(slow, cell))


@pytest.mark.parametrize("kind", CELLS)
@given(seed=seeds)
def test_never_forced_is_free(kind, seed):
    cell, x, truth, first = case(kind, seed)
    y, last = seq.teacher_forcing(cell, x, truth, first, probability=0)
    free, state = nn.Recurrent(cell)(x, first)
    assert_close(
        [host(y), *(host(p) for p in parts(last))], [host(free), *(host(p) for p in parts(state))]
    )
    assert_close(gradients(y, cell), gradients(free, cell))


@pytest.mark.parametrize("kind", CELLS)
@given(seed=seeds)
def test_now_and_then_every_step_reads_the_one_or_the_other(kind, seed):
    """Read off the first output after each choice which state was fed, for each sequence."""
    cell, x, truth, first = case(kind, seed, steps=2, batch=64)
    y, _ = seq.teacher_forcing(cell, x, truth, first, probability=0.5)
    forced, _ = seq.teacher_forcing(cell, x, truth, first)
    free, _ = nn.Recurrent(cell)(x, first)
    is_forced, is_free = (
        np.isclose(host(y)[1], host(z)[1], rtol=1e-9).all(axis=-1) for z in (forced, free)
    )
    assert (is_forced ^ is_free).all()
    assert 8 < is_forced.sum() < 56  # of 64 coins: outside once in 10^9


@given(seed=seeds)
def test_a_truth_that_is_the_cells_own_changes_nothing(seed):
    """Where the states forced are those that the cell reaches, p is of no effect."""
    cell, x, _, first = case("feedback", seed)
    free, _ = nn.Recurrent(cell)(x, first)
    for p in (0.0, 0.3, 1.0):
        y, _ = seq.teacher_forcing(cell, x, free.detach(), first, probability=p)
        np.testing.assert_allclose(host(y), host(free), rtol=1e-10)


def test_training_has_no_loop_over_time():
    cell = feedback()

    def count(steps, **options):
        x, targets = np.ones((steps, 2, 3)), np.ones((steps, 2, 2))
        with nn.unrolled():
            y, _ = seq.teacher_forcing(cell, x, targets, **options)
        return Counter(n.op.name for n in reachable([y.node]))["tanh"]

    assert [count(t) for t in (1, 5, 50)] == [1, 1, 1]
    assert [count(t, probability=0.0) for t in (1, 5, 50)] == [1, 5, 50]


def test_no_gradient_passes_between_forced_steps():
    cell, x, truth, first = case("feedback", 1)
    x = ts.Tensor(x, requires_grad=True)
    y, _ = seq.teacher_forcing(cell, x, truth, first)
    y[-1].sum().backward()
    assert (host(x.grad)[:-1] == 0).all()
    assert (host(x.grad)[-1] != 0).any()


def test_the_net_remembers_what_its_outputs_say_and_no_more():
    """Inputs that leave the same output before them leave no other trace (DL 10.2.1)."""
    cell = seq.FeedbackCell(feedback().net, 2, feed=lambda o: (o > 0).astype("f8"))
    x = np.random.default_rng(0).normal(size=(6, 200, 3))
    x[3:] = x[3:, :1]
    y, _ = nn.Recurrent(cell)(x)
    fed = (host(y)[2] > 0) @ [1, 2]
    for said in set(fed):
        same = host(y)[3:, fed == said]
        np.testing.assert_allclose(same, np.broadcast_to(same[:, :1], same.shape), rtol=1e-12)
    hidden, _ = nn.Recurrent(nn.RNNCell(3, 2, dtype="f8"))(x)
    assert np.ptp(host(hidden)[3, (host(hidden)[2] > 0) @ [1, 2] == 0]) > 1e-3


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_dtypes_stay(dtype):
    cell = seq.FeedbackCell(nn.Linear(5, 2, dtype=dtype), 2)
    x, targets = np.ones((4, 1, 3), dtype), np.ones((4, 1, 2), dtype)
    for p in (0.0, 0.5, 1.0):
        y, last = seq.teacher_forcing(cell, x, targets, probability=p)
        assert y.dtype == last.dtype == dtype


X, TRUTH = np.ones((4, 2, 3)), np.ones((4, 2, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: seq.FeedbackCell(3, 2), TypeError, "expects a net"),
        (lambda: seq.FeedbackCell(nn.Linear(5, 2), 0), ValueError, "output_size of at least 1"),
        (lambda: feedback()(X[0], TRUTH[0, :1]), ValueError, r"state of shape \(2, 2\).*\(1, 2\)"),
        (
            lambda: seq.FeedbackCell(nn.Linear(5, 3, dtype="f8"), 2)(X[0]),
            ValueError,
            r"net to give 2 outputs.*got \(2, 3\)",
        ),
        (lambda: seq.teacher_forcing(feedback(), X[0, 0], TRUTH), ValueError, r"x of shape \(T"),
        (lambda: seq.teacher_forcing(feedback(), X[:0], TRUTH), ValueError, r"x of shape \(T"),
        (lambda: seq.teacher_forcing(feedback(), X, TRUTH[1:]), ValueError, "true state after"),
        (lambda: seq.teacher_forcing(feedback(), X, TRUTH[..., 0]), ValueError, "true state after"),
        (lambda: seq.teacher_forcing(feedback(), X, TRUTH[..., :1]), ValueError, "first state"),
        (
            lambda: seq.teacher_forcing(feedback(), X, TRUTH, probability=1.5),
            ValueError,
            "between 0 and 1; got 1.5",
        ),
        (
            lambda: seq.teacher_forcing(lambda x, s: (x, s), X, TRUTH),
            ValueError,
            "needs a state before the first step",
        ),
    ],
)
def test_mistakes_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
