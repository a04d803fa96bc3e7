"""The description of a graph says what the engine recorded, in linear time."""

import sys

import numpy as np
import pytest
from device import host
from hypothesis import given
from hypothesis import strategies as st
from nets import chain, recurrence, tagger_loss

import tinygrad_seq as ts
from tinygrad_seq import nn, viz
from tinygrad_seq.autograd.reach import reachable

pytestmark = pytest.mark.usefixtures("backend")


@given(st.lists(st.sampled_from(["add", "multiply", "split", "stack", "const"]), max_size=10))
def test_any_program_is_described(program):
    """Replaying the description with NumPy gives the values that were computed."""
    pool = [ts.tensor([0.5, 0.25], dtype="f8", requires_grad=True, name="x")]  # squares grow fast
    with viz.trace():
        for k, op in enumerate(program):
            a, b = pool[k % len(pool)], pool[-1]
            if op == "split":
                left, right = ts.split(a, 2)
                pool.append(ts.concatenate([right, left]))
            elif op == "stack":
                pool.append(ts.stack([a, b, a])[1])
            else:
                pool.append(a + b if op == "add" else a * (b if op == "multiply" else 3.0))
        y = ts.sum(pool[-1])
    g = viz.graph(y)
    assert [o.id for o in g.operations] == list(range(len(g.operations)))
    replay = {
        "add": lambda a, b: a + b,
        "multiply": lambda a, b: a * b,
        "sum": np.sum,
        "stack": lambda *xs: np.stack(xs),
        "concatenate": lambda *xs: np.concatenate(xs),
        "split": lambda x: tuple(np.split(x, 2)),
        "getitem": lambda x: x[1],
    }
    values = {leaf.id: host(g.value(leaf.id)) for leaf in g.leaves}
    for o in g.operations:
        arguments = []
        for i in o.inputs:
            if i.source is None:
                assert i.value == "3.0"
                arguments.append(np.float32(i.value))
            else:
                assert i.source < o.id or i.source >= len(g.operations)
                value = values[i.source]
                arguments.append(value if i.slot is None else value[i.slot])
        values[o.id] = replay[o.name](*arguments)
        shown = values[o.id] if isinstance(values[o.id], tuple) else (values[o.id],)
        assert [r.shape for r in o.results] == [np.shape(v) for v in shown]
        found = g.value(o.id)
        found = found if isinstance(found, tuple) else (found,)
        np.testing.assert_array_equal(shown, [host(v) for v in found])


def test_what_is_described_is_not_changed():
    loss = tagger_loss()
    before = [(id(n), n.saved) for n in reachable([loss.node])]
    for show in (viz.listing, viz.to_dot, viz.to_mermaid):
        show(loss)
    assert before == [(id(n), n.saved) for n in reachable([loss.node])]
    loss.backward()  # it can still be gone through


def test_shared_memory_counts_once():
    x = ts.tensor(np.ones((4, 5), "f4"), requires_grad=True)
    y = ts.exp(x)  # keeps y
    z = ts.exp(y[1:3])  # getitem keeps nothing
    w = y * y  # keeps what exp keeps
    g = viz.graph(z.sum() + w.sum())
    alive = dict(zip([o.name for o in g.operations], g.alive(), strict=True))
    assert alive["exp"] == 80 + 40  # of the second one
    assert alive["multiply"] == 120
    assert max(g.alive()) == 120


def test_a_kept_view_keeps_its_whole_buffer():
    big = ts.tensor(np.ones((100, 5), "f4"), requires_grad=True) * 1.0
    part = big[:1]
    g = viz.graph(part * part)
    (kept,) = {(s.nbytes, g.memories[s.memory]) for s in g.operations[-1].saved}
    assert kept == (20, 2000)


def test_constants_are_leaves_where_a_rule_needs_them():
    x = ts.tensor([1.0, 2.0], requires_grad=True)
    c = np.array([3.0, 4.0], "f4")
    g = viz.graph(x * c + c)
    assert [leaf.kind for leaf in g.leaves] == ["input", "constant"]
    np.testing.assert_array_equal(host(g.value(g.leaves[1].id)), c)
    assert g.operations[0].inputs[1].source == g.leaves[1].id
    assert g.operations[1].inputs[1].source is None  # add keeps nothing


def test_names_of_leaves_differ():
    parts = [
        ts.tensor(float(k), requires_grad=True, name=n) for k, n in enumerate(["a", "a", "a_2"])
    ]
    leaves = viz.graph(ts.stack([*parts, ts.tensor(1.0, requires_grad=True)])).leaves
    names = [leaf.name for leaf in leaves]
    assert len(set(names)) == 4
    assert names[0] == "a"


def test_several_results_are_one_operation():
    x = ts.tensor(np.arange(6.0), requires_grad=True)
    a, _, c = ts.split(x, [1, 3])
    g = viz.graph(a * 2, c)
    assert [o.name for o in g.operations] == ["split", "multiply"]
    assert [r.shape for r in g.operations[0].results] == [(1,), (2,), (3,)]
    assert g.operations[1].inputs[0].slot == 0
    assert g.outputs == ((1, None), (0, 2))


def test_a_fused_layer_says_what_it_keeps():
    gru = nn.LSTM(3, 4)
    y, _ = gru(np.ones((5, 2, 3), "f4"))
    (o,) = (o for o in viz.graph(y).operations if o.name == "lstm")
    names = [s.name for s in o.saved]
    assert {"states[0]", "states[1]", "saved[0]"} <= set(names)
    assert len(names) == len(set(names))
    assert [i.argument for i in o.inputs] == ["x0", "s0", "s1", "p0", "p1", "p2", "p3"]


def test_a_freed_graph_is_described_without_what_it_kept():
    loss = tagger_loss()
    before = viz.graph(loss)
    loss.backward()
    after = viz.graph(loss)
    assert [o.name for o in after.operations] == [o.name for o in before.operations]
    assert all(o.freed and not o.saved for o in after.operations)
    assert "freed" in viz.listing(loss)


def test_what_is_recomputed_is_one_operation():
    w = ts.tensor([2.0], requires_grad=True, name="w")
    y = ts.recompute(lambda x: ts.tanh(x * w), ts.tensor([1.0]))
    g = viz.graph(y.sum())
    assert [o.name for o in g.operations] == ["recompute", "sum"]
    assert [leaf.name for leaf in g.leaves] == ["w"]
    assert "recompute" in viz.listing(g)


def test_a_leaf_alone_is_a_graph():
    x = ts.tensor(1.0, requires_grad=True, name="x")
    g = viz.graph(x)
    assert g.operations == ()
    assert g.outputs == ((0, None),)
    for show in (viz.listing, viz.to_dot, viz.to_mermaid):
        assert "x" in show(x)


@pytest.mark.parametrize("show", [viz.graph, viz.listing, viz.to_dot, viz.to_mermaid])
def test_bad_input(show):
    with pytest.raises(ValueError, match="nothing was recorded"):
        show(ts.ones(3))
    with pytest.raises(TypeError, match="takes tensors"):
        show(np.ones(3))
    with pytest.raises(ValueError, match="at least one"):
        show()
    if show is not viz.graph:
        with pytest.raises(ValueError, match="fold must be"):
            show(tagger_loss(), fold="depth")


# -- growth, counted ------------------------------------------------------------------------------


def steps_of(show, y):
    """How many lines of Python ran: the work, counted."""
    count = 0

    def tracer(frame, event, arg):
        nonlocal count
        count += 1
        return tracer

    sys.settrace(tracer)
    try:
        show(y)
    finally:
        sys.settrace(None)
    return count


SHOWS = {
    "graph": viz.graph,
    "listing": viz.listing,
    "listing_time": lambda y: viz.listing(y, fold="time"),
    "listing_module": lambda y: viz.listing(y, fold="module"),
    "dot": viz.to_dot,
    "dot_all": lambda y: viz.to_dot(y, fold=None),
    "mermaid": viz.to_mermaid,
}


@pytest.mark.parametrize("name", SHOWS)
@pytest.mark.parametrize("make", [chain, recurrence])
def test_work_grows_linearly(name, make):
    """Lines run at sizes 100, 200, 400: equal differences per operation."""
    counts = [steps_of(SHOWS[name], make(n)) for n in (100, 200, 400)]
    first, second = counts[1] - counts[0], counts[2] - counts[1]
    assert second == pytest.approx(2 * first, rel=0.02)


@pytest.fixture(scope="module")
def two_sizes():
    """A recurrence of 2 500 operations and one of 20 000, described."""
    return [viz.graph(recurrence(n)) for n in (1250, 10_000)]


@pytest.mark.parametrize("name", [name for name in SHOWS if name != "graph"])
def test_output_grows_linearly_to_20_000_operations(name, two_sizes):
    small, large = (len(SHOWS[name](whole)) for whole in two_sizes)
    assert large < 9 * max(small, 1000)


@pytest.mark.host("long; no device takes part")
def test_a_chain_of_20_000_operations_needs_no_recursion():
    whole = viz.graph(chain(20_001))
    for show in (viz.listing, viz.to_dot, viz.to_mermaid):
        assert "20000" in show(whole, fold=None)
