"""What a profile measures adds up, and lies where it was recorded."""

import contextvars
import sys
import threading
import time

import numpy as np
import pytest
from device import host
from nets import Tagger, tagger_loss

import tinygrad_seq as ts
from tinygrad_seq import nn, viz

pytestmark = pytest.mark.usefixtures("backend")


def measured(unrolled=False):
    with viz.profile() as p:
        if unrolled:
            with nn.unrolled():
                loss = tagger_loss()
        else:
            loss = tagger_loss()
        nodes = [s for s in viz.graph(loss).sources if hasattr(s, "edges")]
        loss.backward()
    return p, nodes


@pytest.mark.parametrize("unrolled", [False, True])
def test_totals_add_up(unrolled):
    p, _ = measured(unrolled)
    own = sum(call.seconds for call in p.calls)
    for by in ("operation", "module", "step"):
        rows = p.rows(by)
        assert sum(row.calls for row in rows) == len(p.calls)
        assert sum(row.forward + row.backward for row in rows) == pytest.approx(own)
        assert sum(row.forward_bytes + row.backward_bytes for row in rows) == sum(
            call.nbytes for call in p.calls
        )
        assert p.table(by).splitlines()[-2].split()[:2] == ["total", str(len(p.calls))]
    assert 0 < own <= p.seconds


@pytest.mark.parametrize("unrolled", [False, True])
def test_every_operation_is_measured_once_each_way(unrolled):
    p, nodes = measured(unrolled)
    times = [node.time for node in nodes]
    for phase in ("forward", "backward"):
        calls = [c for c in p.calls if c.phase == phase]
        recorded = {c.time: c for c in calls if c.time is not None}
        assert sorted(recorded) == times
        for node in nodes:
            call = recorded[node.time]
            here = (call.operation, call.path, call.step)
            assert here == (node.op.name, node.scope.path, node.scope.step)


def test_time_inside_is_not_counted_twice():
    """An operation that rests, inside a rule that rests, recorded in its turn."""

    @ts.primitive
    def slow(x, /):
        clock[0] += 1.0
        return x * 2.0

    def rule(g):
        clock[0] += 10.0
        return slow(g) * 1.0

    slow.defvjp(x=rule)
    clock = [0.0]
    x = ts.tensor(1.0, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules["tinygrad_seq.viz.profile"]  # viz.profile is the class
        patch.setattr(module, "perf_counter", lambda: clock[0])
        with viz.profile() as p:
            y = slow(x)
            y.backward(create_graph=True)
    spent = [(c.phase, c.operation, c.seconds) for c in p.calls if c.seconds]
    assert spent == [("forward", "slow", 1), ("forward", "slow", 1), ("backward", "slow", 10)]
    assert p.seconds == 12


def test_bytes_are_of_memory_that_was_made():
    x = ts.tensor(np.ones((10, 4), "f4"), requires_grad=True)
    with viz.profile() as p:
        y = ts.exp(x)
        z = y.T[1:]  # views
        w = ts.stack([z, z])
    made = [(c.operation, c.nbytes) for c in p.calls]
    assert made == [("exp", 160), ("transpose", 0), ("getitem", 0), ("stack", 240)]
    assert w.shape == (2, 3, 10)


def test_a_fused_layer_counts_what_it_keeps():
    lstm = nn.LSTM(3, 4)
    x = np.ones((5, 2, 3), "f4")
    with viz.profile() as kept:
        lstm(x)
    with viz.profile() as alone, ts.no_grad():
        lstm(x)
    sizes = [next(c for c in p.calls if c.operation == "lstm").nbytes for p in (kept, alone)]
    gates, states = 5 * 4 * 2 * 4 * 4, 6 * 2 * 4 * 4
    assert sizes[0] >= gates + 2 * states
    assert sizes[1] < sizes[0]


def test_threads_are_measured_apart_and_together():
    model, ids = Tagger(), np.zeros((4, 1), int)
    barrier = threading.Barrier(2)

    def work():
        barrier.wait()
        for _ in range(20):
            model(ids)

    with viz.profile() as p:
        contexts = [contextvars.copy_context() for _ in range(2)]
        threads = [threading.Thread(target=context.run, args=[work]) for context in contexts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(c.seconds >= 0 for c in p.calls)
    with viz.profile() as once:
        model(ids)
    assert len(p.calls) == 40 * len(once.calls)
    assert {c.path for c in p.calls} == {c.path for c in once.calls}


@pytest.mark.parametrize("order", [1, 2])
def test_the_first_use_of_a_cell_is_shown_like_any_other(order):
    """Its loop is derived and checked meanwhile: that is not part of the model."""
    factor = 1 + np.random.default_rng(order).uniform()  # no cell of another test is this one
    w = ts.tensor(np.eye(3, dtype="f4") / 2, requires_grad=True)

    def cell(x, h):
        h = ts.tanh(x + factor * (h @ w))
        return h, h

    def use():
        with viz.profile() as p:
            y, _ = nn.Recurrent(cell)(ts.ones((5, 2, 3)), ts.zeros((2, 3)))
            (g,) = ts.autograd.grad(y.sum(), [w], create_graph=order == 2)
            if order == 2:
                ts.autograd.grad((g * g).sum(), [w])
        return [(c.phase, c.operation, c.path, c.step) for c in p.calls]

    first = use()
    assert ("forward", "cell", "Recurrent", None) in first
    assert first == use() == use()


def test_results_and_gradients_are_those_without_a_profile():
    ts.manual_seed(3)
    model, ids = Tagger(), np.arange(4)[:, None]
    plain = (model(ids) ** 2).mean()
    plain.backward()
    gradients = [host(p.grad).copy() for p in model.parameters()]
    model.zero_grad()
    with viz.profile():
        loss = (model(ids) ** 2).mean()
        loss.backward()
    assert loss.item() == plain.item()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        np.testing.assert_array_equal(host(parameter.grad), gradient)


def test_an_error_inside_leaves_nothing_on():
    with pytest.raises(ValueError, match="shapes"), viz.profile():
        ts.ones((2, 3)) @ ts.ones((2, 3))
    assert ts.ones(1).node is None
    start = time.perf_counter()
    with viz.profile() as p:
        ts.exp(ts.ones(3))
    assert p.seconds <= time.perf_counter() - start


def test_rows_by_something_else():
    with pytest.raises(ValueError, match="by must be one of"):
        viz.profile().rows("line")


def test_the_names_are_those_of_the_module_given():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    with viz.profile(net) as p:
        net(ts.ones((5, 3))).sum().backward()
    assert {row.name for row in p.rows("module")} == {"", "0", "1"}
