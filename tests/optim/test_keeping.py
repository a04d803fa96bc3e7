"""The average of weights, and the best ones: against their definitions and PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from device import host
from stress.interrupts import interrupted, moments

import tinygrad_seq as ts
from tinygrad_seq import nn, optim

pytestmark = pytest.mark.usefixtures("backend")


def trained(steps):
    """The weights after each step of a small model, as the tests walk through them."""
    model = nn.Linear(3, 2)
    for k in range(steps):
        with ts.no_grad():
            for p in model.parameters():
                p.copy_(np.random.default_rng(k).normal(size=p.shape).astype("f4"))
        yield model, [host(p).copy() for p in model.parameters()]


@pytest.mark.parametrize("decay", [None, 0.0, 0.9])
def test_the_average_is_that_of_pytorch(decay):
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    theirs = torch.nn.Linear(3, 2)
    how = {} if decay is None else {"multi_avg_fn": get_ema_multi_avg_fn(decay)}
    other, one = AveragedModel(theirs, **how), None
    for model, values in trained(7):
        one = one or optim.WeightAverage(model.parameters(), decay)
        for p, value in zip(theirs.parameters(), values, strict=True):
            p.data = torch.tensor(value)
        one.update()
        other.update_parameters(theirs)
    with one.applied():
        for p, q in zip(model.parameters(), other.module.parameters(), strict=True):
            np.testing.assert_allclose(host(p), q.detach().numpy(), rtol=1e-5, atol=1e-6)
    for p, value in zip(model.parameters(), values, strict=True):
        np.testing.assert_array_equal(host(p), value)


def test_the_own_weights_come_back_after_an_error_and_writes_are_noticed():
    ((model, values),) = trained(1)
    average = optim.WeightAverage(model.parameters())
    average.update()
    x = ts.ones(1, 3, requires_grad=True)
    y = model(x).sum()
    with pytest.raises(ZeroDivisionError), average.applied():
        raise ZeroDivisionError
    for p, value in zip(model.parameters(), values, strict=True):
        np.testing.assert_array_equal(host(p), value)
    with pytest.raises(RuntimeError, match="written"):
        y.backward()


def test_an_interrupt_at_any_moment_leaves_an_average_whole():
    p = ts.tensor([1.0, 2.0], requires_grad=True)
    average = optim.WeightAverage([p])
    average.update()
    state = average.state_dict() | {"count": 3}

    def apply():
        with average.applied():
            pass

    for change in (average.update, lambda: average.load_state_dict(state), apply):
        for moment in range(1, moments(change) + 1):
            average.load_state_dict({"count": 1, "average": [np.zeros(2, "f4")]})
            interrupted(change, moment)
            now = average.state_dict()
            expected = {1: [0, 0], 2: [0.5, 1], 3: [1, 2]}[now["count"]]
            np.testing.assert_array_equal(now["average"][0], expected)
            np.testing.assert_array_equal(host(p), [1, 2])


def test_a_state_of_an_average_goes_on():
    straight = resumed = None
    for k, (model, _) in enumerate(trained(6)):
        if k == 0:
            straight = optim.WeightAverage(model.parameters(), 0.8)
        if k == 3:
            resumed = optim.WeightAverage(model.parameters(), 0.8)
            resumed.load_state_dict(straight.state_dict())
        straight.update()
        if resumed:
            resumed.update()
    state, other = straight.state_dict(), resumed.state_dict()
    assert state["count"] == other["count"] == 6
    for a, b in zip(state["average"], other["average"], strict=True):
        np.testing.assert_array_equal(a, b)
    empty = optim.WeightAverage(model.parameters())
    straight.load_state_dict(empty.state_dict())
    with pytest.raises(RuntimeError, match="nothing was averaged yet"), straight.applied():
        pass
    with pytest.raises(ValueError, match="averages of"):
        optim.WeightAverage([model.weight]).load_state_dict(state)


def test_stopping_keeps_the_best_weights(tmp_path):
    losses = [3.0, 2.0, math.nan, 2.0, 1.5, 1.6, 1.7, 1.45, 1.9]
    steps = zip(losses, trained(len(losses)), strict=True)
    stop, stopped = None, []
    for loss, (model, values) in steps:
        stop = stop or optim.EarlyStopping(model, patience=3, min_delta=0.1)
        if loss == 1.5:
            best = values
        stopped.append(stop.step(ts.tensor(loss)))
    assert stopped == [False] * 7 + [True, True]
    assert (stop.best, stop.bad_steps) == (1.5, 4)
    ts.Checkpoint(stop=stop).save(tmp_path / "run.npz")
    other = optim.EarlyStopping(model, patience=3)
    ts.Checkpoint(stop=other).restore(tmp_path / "run.npz")
    assert (other.best, other.bad_steps) == (1.5, 4)
    other.restore()
    for p, value in zip(model.parameters(), best, strict=True):
        np.testing.assert_array_equal(host(p), value)


def test_more_may_be_better():
    stop = optim.EarlyStopping(nn.Linear(1, 1), patience=2, mode="max")
    stopped = [stop.step(score) for score in (0.1, 0.3, 0.2, 0.3, 0.4)]
    assert stopped == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: optim.WeightAverage(m), TypeError, r"give model.parameters\(\)"),
        (lambda m: optim.WeightAverage([]), ValueError, "at least one"),
        (lambda m: optim.WeightAverage(m.parameters(), 1.0), ValueError, "below 1; got 1.0"),
        (lambda m: optim.EarlyStopping(m, 0), ValueError, "patience of at least 1; got 0"),
        (lambda m: optim.EarlyStopping(m, 1, "least"), ValueError, "got 'least'"),
        (lambda m: optim.EarlyStopping(m, 1).restore(), RuntimeError, "no best weights"),
        (
            lambda m: optim.EarlyStopping(m, 1).load_state_dict(
                {"best": 1.0, "bad_steps": 0, "weights": {"weight": np.ones(3)}}
            ),
            ValueError,
            r"another model; they differ in \['bias', 'weight'\]",
        ),
    ],
)
def test_what_makes_no_sense_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call(nn.Linear(3, 2))
