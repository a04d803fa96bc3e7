"""While a trace is on, a node knows its module and time step; else nothing."""

import contextvars
import sys
import threading

import numpy as np
import pytest
from device import host
from hypothesis import given
from hypothesis import strategies as st
from nets import CELLS, LAYERS, Tagger, halve

import tinygrad_seq as ts
from tinygrad_seq import nn, viz
from tinygrad_seq.autograd.observe import observing

pytestmark = pytest.mark.usefixtures("backend")

CELL = {"cell", "l0", "l0_reverse", "l1", "l1_reverse"}  # what a trace calls a cell


def nodes(*outputs):
    return [s for s in viz.graph(*outputs).sources if hasattr(s, "edges")]


def states_of(last):
    return [last] if isinstance(last, ts.Tensor) else [p for s in last for p in states_of(s)]


def operations(*outputs):
    return viz.graph(*outputs).operations


def sequence(steps=3):
    return ts.tensor(np.ones((steps, 2, 3), "f4"), requires_grad=True)


def paths_of(module, prefix=""):
    """What a trace may call the parts of a module, found another way than the library finds it:
    by attributes, but for nn.RNN, GRU and LSTM as the names of their weights end."""
    found = {prefix}
    if isinstance(module, nn.RNN | nn.GRU | nn.LSTM):
        endings = {name.partition("_ih_")[2] for name in module.state_dict()} - {""}
        return found | {f"{prefix}.{ending}" if prefix else ending for ending in endings}
    for name, value in vars(module).items():
        if isinstance(value, nn.Module):
            found |= paths_of(value, f"{prefix}.{name}" if prefix else name)
    return found


def test_without_a_trace_nodes_have_no_scope():
    with nn.unrolled():
        y, _ = nn.LSTM(3, 4)(sequence())
    assert all(node.scope is None for node in nodes(y))
    assert {(o.path, o.step) for o in operations(y)} == {("", None)}


def test_the_trace_ends_with_its_block_also_after_an_error():
    with pytest.raises(ZeroDivisionError), viz.trace():
        1 / 0  # noqa: B018  # raises
    assert observing.get() is None


@pytest.mark.parametrize("name", LAYERS)
def test_unrolled_layers_record_module_and_step(name):
    layer = LAYERS[name]()
    with viz.trace(layer), nn.unrolled():
        y, last = layer(sequence())
    found = operations(y, *(s for s in states_of(last) if s.requires_grad))
    assert {o.path for o in found} <= paths_of(layer)
    assert {o.step for o in found} == {None, 0, 1, 2}
    for o in found:  # what happens at a step happens in a cell
        assert o.step is None or CELL & set(o.path.split(".")), o


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_does_the_same_as_any_other(name):
    layer = LAYERS[name]()
    with viz.trace(layer), nn.unrolled():
        y, _ = layer(sequence(4))
    found = operations(y)
    steps = {
        (path, t): [o.name for o in found if o.path == path and o.step == t]
        for path in paths_of(layer)
        for t in range(4)
    }
    for path in paths_of(layer):
        assert len(steps[path, 1]) == len(steps[path, 2])
        assert sorted(steps[path, 1]) == sorted(steps[path, 2])


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "stacked", "reverse", "recurrent_lstm"])
def test_a_fused_layer_is_in_its_cell_at_no_step(name):
    layer = LAYERS[name]()
    with viz.trace(layer):
        y, _ = layer(sequence())
    fused = [o for o in operations(y) if o.name in ("rnn", "gru", "lstm")]
    assert fused
    for o in fused:
        assert o.step is None
        assert o.path.split(".")[-1] in CELL


@pytest.mark.parametrize("name", CELLS)
def test_the_weights_of_a_cell_are_used_in_that_cell(name):
    """The innermost path: of every operation that reads a parameter directly."""
    layer = nn.Recurrent(CELLS[name](3, 4))
    owners = {
        id(p): path
        for path, m in layer.named_modules()
        for p in vars(m).values()
        if isinstance(p, nn.Parameter)
    }
    with viz.trace(layer), nn.unrolled():
        y, _ = layer(sequence())
    graph = viz.graph(y)
    for o in graph.operations:
        for i in o.inputs:
            if i.source is not None and id(graph.sources[i.source]) in owners:
                assert o.path == owners[id(graph.sources[i.source])]


def test_reversed_steps_are_counted_in_time():
    layer = nn.Recurrent(nn.RNNCell(3, 4), reverse=True)
    with viz.trace(layer), nn.unrolled():
        y, _ = layer(sequence())
    steps = [o.step for o in operations(y) if o.step is not None]
    assert list(dict.fromkeys(steps)) == [2, 1, 0]


def test_a_closure_as_a_cell_runs_in_its_layer():
    layer = nn.Recurrent(halve)
    with viz.trace(layer):
        y, _ = layer(sequence(), ts.zeros(3))
    assert {(o.path, o.step) for o in operations(y)} == {("", None), *(("", t) for t in range(3))}


def test_names_of_several_outermost_modules():
    first, second, third = nn.Linear(3, 3), nn.Linear(3, 3), nn.GRU(3, 3)
    with viz.trace():
        y = third(second(first(second(sequence()))))[0]
    assert list(dict.fromkeys(o.path for o in operations(y))) == [
        "Linear", "Linear_2", "GRU.l0",
    ]  # fmt: skip
    assert {leaf.name for leaf in viz.graph(y).leaves if leaf.kind == "parameter"} == {
        *("Linear.weight", "Linear.bias", "Linear_2.weight", "Linear_2.bias"),
        *(f"GRU.{n}" for n, _ in third.named_parameters()),
    }


def test_directions_and_layers_are_called_as_their_weights_end():
    lstm = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    with viz.trace(nn.Sequential(lstm, nn.Tanh())), nn.unrolled():
        y, _ = lstm(sequence())
    graph = viz.graph(y)
    assert {o.path for o in graph.operations if o.step is not None} == {
        *("0.l0", "0.l0_reverse", "0.l1", "0.l1_reverse")
    }
    for o in graph.operations:
        for i in o.inputs:
            leaf = None if i.source is None else graph[i.source]
            if isinstance(leaf, viz.Leaf) and leaf.kind == "parameter":
                assert leaf.name.endswith(o.path.removeprefix("0."))


def test_parameters_are_called_as_in_the_state_dict():
    model = Tagger()
    with viz.trace(model):
        y = model(np.zeros((3, 1), int))
    leaves = viz.graph(y).leaves
    assert {leaf.name for leaf in leaves if leaf.kind == "parameter"} == set(model.state_dict())


def test_a_module_that_stands_in_no_tree_is_named_below_its_caller():
    class Odd(nn.Module):
        def forward(self, x):
            return nn.Tanh()(x)

    with viz.trace():
        y = Odd()(sequence())
    assert [o.path for o in operations(y)] == ["Odd.Tanh"]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_scopes_nest_and_the_innermost_step_counts(steps):
    x = ts.tensor(1.0, requires_grad=True)

    def nested(x, rest):
        if not rest:
            return x * 2
        with viz.at_step(rest[0]):
            return nested(x * 2, rest[1:])

    with viz.trace():
        y = nested(x, steps)
        after = x * 3
    assert [o.step for o in operations(y)] == [*steps, steps[-1]]
    assert after.node.scope.step is None


def test_a_trace_inside_a_trace_goes_on_with_its_scope():
    net = nn.Linear(3, 3)
    with viz.trace(), viz.at_step(5):
        with viz.profile() as inner:
            y = net(sequence())
        z = net(y)
    assert {(o.path, o.step) for o in operations(z)} == {("Linear", 5)}
    assert {c.path for c in inner.calls} == {"Linear"}


def test_other_threads_are_not_traced_unless_they_take_the_context_along():
    net, found = nn.Linear(3, 3), {}

    def work(key):
        found[key] = net(sequence())

    with viz.trace():
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=work, args=["alone"]),
            threading.Thread(target=context.run, args=[work, "along"]),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {o.path for o in operations(found["alone"])} == {""}
    assert {o.path for o in operations(found["along"])} == {"Linear"}


@pytest.fixture
def _often_switched():
    """Threads that take turns after every few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work, count=4):
    """The exceptions that threads end with, each in a copy of this context."""
    found = []

    def one():
        try:
            work()
        except Exception as error:
            found.append(error)

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=[one]) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.usefixtures("_often_switched")
def test_one_trace_serves_several_threads_at_once():
    net, trace = nn.Linear(3, 3), viz.trace()

    def work():
        for _ in range(100):
            with trace:
                y = net(sequence())
            assert observing.get() is None
            assert {o.path for o in operations(y)} == {"Linear"}

    assert in_threads(work) == []


@pytest.mark.usefixtures("_often_switched")
def test_threads_under_one_trace_name_their_modules_differently():
    made, names = [], []

    def work():
        for _ in range(50):
            made.append(net := nn.Linear(3, 3))
            names.append(operations(net(sequence()))[0].path)

    with viz.trace(nn.Sequential(*(nn.Tanh() for _ in range(1000)))):  # naming takes its time
        assert in_threads(work) == []
    assert len(set(names)) == 200


def test_a_trace_may_be_entered_again_also_within_itself():
    net, trace = nn.Linear(3, 3), viz.trace()
    with trace:
        y = net(sequence())
    with trace, viz.at_step(1):
        with trace:
            y = net(y)
        y = net(y)
    assert observing.get() is None
    assert {(o.path, o.step) for o in operations(y)} == {("Linear", None), ("Linear", 1)}


def test_a_trace_keeps_values_as_long_as_the_graph_lives():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    with viz.trace() as t:
        y = net(sequence())
        parts = ts.split(y * 2, 2, axis=-1)
    g = viz.graph(*parts)
    before = next(o.id for o in g.operations if o.name == "tanh")
    np.testing.assert_array_equal(host(g.value(before)), host(y))
    np.testing.assert_array_equal(host(g.value(g.outputs[1][0])[1]), host(parts[1]))
    del y, parts, g
    assert not t.values


@pytest.mark.parametrize("look", [viz.trace, viz.profile])
def test_who_looks_on_takes_a_module(look):
    with pytest.raises(TypeError, match=f"{look.__name__} takes the module"):
        look("lstm")


@pytest.mark.parametrize("look", [viz.trace, viz.profile])
def test_an_enter_that_fails_leaves_nothing_on(look):
    class Broken(nn.Module):
        def _parts(self):
            raise ValueError("no parts")

    with pytest.raises(ValueError, match="no parts"), look(Broken()):
        pass
    assert observing.get() is None
    with look():
        assert observing.get() is not None
    assert observing.get() is None
