"""Weights to and from PyTorch, Keras and ONNX: the other side's equations give the same outputs.

The oracles are NumPy loops written from the documentation of Keras 3 and of ONNX's operators,
which share no line with the library. All weights are random, so that no two gates are alike.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import io, nn

T, N, I, H = 5, 3, 4, 6  # noqa: E741  # the letters of the equations
EXACT = {"rtol": 1e-14, "atol": 1e-14}

KINDS = {
    "rnn": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
    "gru": (nn.GRU, {}),
    "gru_after": (nn.GRU, {"reset_after": True}),
    "lstm": (nn.LSTM, {}),
}
FORMS = [
    pytest.param(
        kind,
        {"bias": bias, "bidirectional": both, "num_layers": layers},
        id=f"{kind}-{'bias' if bias else 'plain'}-{'both' if both else 'ahead'}-{layers}",
    )
    for kind, bias, both, layers in itertools.product(KINDS, (True, False), (False, True), (1, 2))
]
every_form = pytest.mark.parametrize(("kind", "options"), FORMS)


def build(kind, options, rng, dtype="float64"):
    make, own = KINDS[kind]
    layer = make(I, H, **own, **options, dtype=dtype)
    layer.load_state_dict({n: rng.normal(0, 0.7, a.shape) for n, a in layer.state_dict().items()})
    return layer


def outputs(layer, x):
    with ts.no_grad():
        return layer(x)[0].numpy()


def unchanged(layer, before):
    assert all(np.array_equal(array, before[name]) for name, array in layer.state_dict().items())


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def softplus(x):
    return np.log1p(np.exp(x))


def clipped(function, bound):
    return lambda a: function(np.clip(a, -bound, bound))


# -- the equations of Keras 3 -----------------------------------------------------------------


def keras_step(kind, kernel, recurrent, bias, x, state):
    """One step of SimpleRNN, GRU or LSTM, as their documentation and `call` have it."""
    units = recurrent.shape[0]
    blocks = [slice(k * units, (k + 1) * units) for k in range(4)]
    h = state[0]
    if kind in ("rnn", "relu"):
        bias = 0 if bias is None else bias
        h = (np.tanh if kind == "rnn" else relu)(x @ kernel + bias + h @ recurrent)
        return h, (h,)
    if kind == "lstm":
        z = x @ kernel + h @ recurrent + (0 if bias is None else bias)
        i, f, c, o = (z[:, block] for block in blocks)
        c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(c)
        h = sigmoid(o) * np.tanh(c)
        return h, (h, c)
    zs, rs, hs = blocks[:3]
    if kind == "gru_after":
        input_bias, recurrent_bias = (0, 0) if bias is None else bias
        matrix_x, matrix_inner = x @ kernel + input_bias, h @ recurrent + recurrent_bias
        z = sigmoid(matrix_x[:, zs] + matrix_inner[:, zs])
        r = sigmoid(matrix_x[:, rs] + matrix_inner[:, rs])
        hh = np.tanh(matrix_x[:, hs] + r * matrix_inner[:, hs])
    else:
        matrix_x = x @ kernel + (0 if bias is None else bias)
        z = sigmoid(matrix_x[:, zs] + h @ recurrent[:, zs])
        r = sigmoid(matrix_x[:, rs] + h @ recurrent[:, rs])
        hh = np.tanh(matrix_x[:, hs] + (r * h) @ recurrent[:, hs])
    h = z * h + (1 - z) * hh
    return h, (h,)


def keras_model(kind, options, weights, x):
    """A model of layers that return sequences, on x (T, N, I), from its `get_weights()`."""
    weights = iter(weights)
    for _ in range(options["num_layers"]):
        sides = []
        for reverse in (False, True)[: 1 + options["bidirectional"]]:
            kernel, recurrent = next(weights), next(weights)
            bias = next(weights) if options["bias"] else None
            state = (np.zeros((N, H)),) * 2
            ys = []
            for step in x[::-1] if reverse else x:
                y, state = keras_step(kind, kernel, recurrent, bias, step, state)
                ys.append(y)
            sides.append(np.stack(ys[::-1] if reverse else ys))
        x = np.concatenate(sides, axis=-1)
    assert not list(weights)
    return x


def keras_shapes(kind, options):
    gates = {"rnn": 1, "relu": 1, "gru": 3, "gru_after": 3, "lstm": 4}[kind]
    sides = 1 + options["bidirectional"]
    for k in range(options["num_layers"]):
        for _ in range(sides):
            yield H * sides if k else I, gates * H
            yield H, gates * H
            if options["bias"]:
                yield (2, gates * H) if kind == "gru_after" else (gates * H,)


@every_form
def test_keras_computes_the_same_from_our_weights(kind, options, rng):
    layer, x = build(kind, options, rng), rng.normal(size=(T, N, I))
    weights = io.to_keras(layer)
    assert [a.shape for a in weights] == list(keras_shapes(kind, options))
    np.testing.assert_allclose(keras_model(kind, options, weights, x), outputs(layer, x), **EXACT)


@every_form
def test_we_compute_the_same_from_keras_weights(kind, options, rng):
    layer, x = build(kind, options, rng), rng.normal(size=(T, N, I))
    weights = [rng.normal(0, 0.7, shape) for shape in keras_shapes(kind, options)]
    io.from_keras(layer, weights)
    np.testing.assert_allclose(outputs(layer, x), keras_model(kind, options, weights, x), **EXACT)


@every_form
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_keras_weights_come_back_exactly(kind, options, dtype, rng):
    shapes = keras_shapes(kind, options)
    weights = [rng.normal(0, 0.7, shape).astype(dtype) for shape in shapes]
    layer = build(kind, options, rng, dtype)
    io.from_keras(layer, weights)
    for back, array in zip(io.to_keras(layer), weights, strict=True):
        assert back.dtype == array.dtype
        assert back.flags.c_contiguous
        assert np.array_equal(back, array)


# -- the equations of ONNX --------------------------------------------------------------------


def onnx_node(node, x):
    """The operator on X (T, N, I), as its documentation has it: Y (T, D, N, H)."""
    attributes = node["attributes"]
    hidden, direction = attributes["hidden_size"], attributes["direction"]
    known = {"Tanh": np.tanh, "Sigmoid": sigmoid, "Relu": relu, "Softplus": softplus}
    acts = [known[name] for name in attributes["activations"]]
    bound = attributes.get("clip", np.inf)
    count = 2 if direction == "bidirectional" else 1
    per = len(acts) // count
    Y = np.empty((len(x), count, x.shape[1], hidden))
    for d in range(count):
        W = np.split(node["W"][d], len(node["W"][d]) // hidden)
        R = np.split(node["R"][d], len(W))
        P = np.split(node["P"][d], 3) if "P" in node else np.zeros((3, hidden))  # i o f
        B = node["B"][d] if "B" in node else np.zeros(2 * len(W) * hidden)
        Wb, Rb = np.split(B[: len(B) // 2], len(W)), np.split(B[len(B) // 2 :], len(W))
        reverse = direction == "reverse" or d == 1
        h = c = np.zeros((x.shape[1], hidden))
        for t in reversed(range(len(x))) if reverse else range(len(x)):
            X, (f, *gh) = x[t], [clipped(a, bound) for a in acts[d * per : (d + 1) * per]]
            if node["op_type"] == "RNN":
                h = f(X @ W[0].T + h @ R[0].T + Wb[0] + Rb[0])
            elif node["op_type"] == "GRU":  # z r h
                (g,) = gh
                z = f(X @ W[0].T + h @ R[0].T + Rb[0] + Wb[0])
                r = f(X @ W[1].T + h @ R[1].T + Rb[1] + Wb[1])
                if attributes["linear_before_reset"]:
                    n = g(X @ W[2].T + r * (h @ R[2].T + Rb[2]) + Wb[2])
                else:
                    n = g(X @ W[2].T + (r * h) @ R[2].T + Rb[2] + Wb[2])
                h = (1 - z) * n + z * h
            else:  # i o f c
                g, last = gh[0], acts[d * per + 2]  # ONNX Runtime does not clip the cell
                i = f(X @ W[0].T + h @ R[0].T + P[0] * c + Wb[0] + Rb[0])
                forget = f(X @ W[2].T + h @ R[2].T + P[2] * c + Wb[2] + Rb[2])
                new = g(X @ W[3].T + h @ R[3].T + Wb[3] + Rb[3])
                c = (1 - i if attributes.get("input_forget") else forget) * c + i * new
                o = f(X @ W[1].T + h @ R[1].T + P[1] * c + Wb[1] + Rb[1])
                h = o * last(c)
            Y[t, d] = h
    return Y


def onnx_graph(nodes, x):
    for node in nodes:
        y = onnx_node(node, x)  # (T, D, N, H) -> (T, N, D*H)
        x = y.transpose(0, 2, 1, 3).reshape(len(x), x.shape[1], -1)
    return x


def onnx_nodes(kind, options, rng, dtype="float64"):
    """Nodes with random weights, written by hand."""
    op, gates = {"gru": ("GRU", 3), "gru_after": ("GRU", 3), "lstm": ("LSTM", 4)}.get(
        kind, ("RNN", 1)
    )
    count = 1 + options["bidirectional"]
    for k in range(options["num_layers"]):
        attributes = {
            "hidden_size": H,
            "direction": ("forward", "bidirectional")[count - 1],
            "activations": count
            * {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}[
                op
            ],
        }
        if kind == "relu":
            attributes["activations"] = ["Relu"] * count
        if op == "GRU":
            attributes["linear_before_reset"] = int(kind == "gru_after")
        shapes = {
            "W": (count, gates * H, H * count if k else I),
            "R": (count, gates * H, H),
            "B": (count, 2 * gates * H),
        }
        if not options["bias"]:
            del shapes["B"]
        arrays = {name: rng.normal(0, 0.7, s).astype(dtype) for name, s in shapes.items()}
        yield {"op_type": op, **arrays, "attributes": attributes}


@every_form
def test_onnx_computes_the_same_from_our_weights(kind, options, rng):
    layer, x = build(kind, options, rng), rng.normal(size=(T, N, I))
    nodes = io.to_onnx(layer)
    for node, form in zip(nodes, onnx_nodes(kind, options, rng), strict=True):
        assert node.keys() == form.keys()
        assert node["op_type"] == form["op_type"]
        assert node["attributes"] == form["attributes"]
        assert all(node[k].shape == form[k].shape for k in "WRB" if k in form)
    np.testing.assert_allclose(onnx_graph(nodes, x), outputs(layer, x), **EXACT)


@every_form
def test_we_compute_the_same_from_onnx_weights(kind, options, rng):
    layer, x = build(kind, options, rng), rng.normal(size=(T, N, I))
    nodes = list(onnx_nodes(kind, options, rng))
    io.from_onnx(layer, nodes)
    np.testing.assert_allclose(outputs(layer, x), onnx_graph(nodes, x), **EXACT)


@every_form
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_our_weights_come_back_from_onnx_exactly(kind, options, dtype, rng):
    layer, other = build(kind, options, rng, dtype), build(kind, options, rng, dtype)
    nodes = io.to_onnx(layer)
    assert all(node[k].dtype == dtype for node in nodes for k in "WRB" if k in node)
    io.from_onnx(other, nodes)
    unchanged(other, layer.state_dict())


def test_biases_that_are_one_on_one_side_only(rng):
    lstm = nn.LSTM(I, H, dtype="float64")
    io.from_keras(lstm, io.to_keras(lstm))
    assert lstm.bias_ih_l0.data.any()
    assert not lstm.bias_hh_l0.data.any()

    gru = nn.GRU(I, H, dtype="float64")
    (node,) = io.to_onnx(gru)
    assert not np.split(node["B"][0], 2)[1].any()
    node["B"] = rng.normal(size=node["B"].shape)
    io.from_onnx(gru, [node])
    z, r, n = np.split(sum(np.split(node["B"][0], 2)), 3)
    np.testing.assert_array_equal(gru.bias_ih_l0.data, np.concatenate([r, z, n]))


# -- other shapes of layers -------------------------------------------------------------------


def test_cells_and_hand_made_layers(rng):
    x = rng.normal(size=(T, N, I))
    cell, layer = nn.LSTMCell(I, H, dtype="float64"), nn.LSTM(I, H, dtype="float64")
    io.from_keras(cell, io.to_keras(layer))
    (node,) = io.to_onnx(nn.Recurrent(cell, reverse=True))
    assert node["attributes"]["direction"] == "reverse"
    ours = outputs(nn.Recurrent(cell, reverse=True), x)
    np.testing.assert_allclose(onnx_graph([node], x), ours, **EXACT)
    np.testing.assert_allclose(outputs(nn.Recurrent(cell), x), outputs(layer, x), **EXACT)

    both = nn.Bidirectional(
        nn.Recurrent(nn.GRUCell(I, H, dtype="float64")),
        nn.Recurrent(nn.LSTMCell(I, 3, dtype="float64"), reverse=True),
    )
    weights = [a * 2 for a in io.to_keras(both)]
    io.from_keras(both, weights)
    assert all(map(np.array_equal, io.to_keras(both), weights))
    with pytest.raises(ValueError, match="two directions of an ONNX node are of one kind"):
        io.to_onnx(both)


@pytest.mark.parametrize("bias", [True, False])
def test_peepholes(bias, rng):
    x = rng.normal(size=(T, N, I))
    cells = [nn.PeepholeLSTMCell(I, H, bias, dtype="float64") for _ in range(2)]
    both = nn.Bidirectional(nn.Recurrent(cells[0]), nn.Recurrent(cells[1], reverse=True))
    (node,) = io.to_onnx(both)
    np.testing.assert_allclose(onnx_graph([node], x), outputs(both, x), **EXACT)
    for name in {"W", "R", "B", "P"} & node.keys():
        node[name] = rng.normal(size=node[name].shape)
    io.from_onnx(both, [node])
    np.testing.assert_allclose(onnx_graph([node], x), outputs(both, x), **EXACT)
    assert all(np.array_equal(io.to_onnx(both)[0][name], node[name]) for name in "WRP")
    with pytest.raises(ValueError, match=r"missing P \(2, 18\)"):
        io.from_onnx(both, [{**node, "P": None}])
    with pytest.raises(TypeError, match="got PeepholeLSTMCell"):
        io.to_keras(both)


@pytest.mark.parametrize("peepholes", [True, False])
def test_coupled_gates(peepholes, rng):
    """ONNX computes i and f = 1 - i, we f and i = 1 - f."""
    x = rng.normal(size=(T, N, I))
    cells = [nn.CoupledLSTMCell(I, H, peepholes=peepholes, dtype="float64") for _ in range(2)]
    both = nn.Bidirectional(nn.Recurrent(cells[0]), nn.Recurrent(cells[1], reverse=True))
    (node,) = io.to_onnx(both)
    assert node["attributes"]["input_forget"] == 1
    np.testing.assert_allclose(onnx_graph([node], x), outputs(both, x), **EXACT)
    uncoupled = {**node, "attributes": {**node["attributes"], "input_forget": 0}}
    np.testing.assert_allclose(onnx_graph([uncoupled], x), outputs(both, x), **EXACT)
    for name in {"W", "R", "B", "P"} & node.keys():
        node[name] = rng.normal(size=node[name].shape)
    io.from_onnx(both, [node])
    np.testing.assert_allclose(onnx_graph([node], x), outputs(both, x), **EXACT)
    with pytest.raises(ValueError, match="input_forget is 0, the layer has 1"):
        io.from_onnx(both, [uncoupled])
    with pytest.raises(ValueError, match=r"input_forget=1 has no count.*with nn\.CoupledLSTMCell"):
        io.from_onnx(nn.LSTMCell(I, H), node_of(nn.LSTMCell(I, H), attributes={"input_forget": 1}))
    odd = nn.CoupledLSTMCell(I, H, activations=(ts.tanh, ts.tanh, ts.tanh))
    with pytest.raises(ValueError, match="with gates of Tanh"):
        io.to_onnx(odd)


def test_activations_by_name(rng):
    x = rng.normal(size=(T, N, I))
    for cell in (
        nn.GRUCell(I, H, activations=(ts.sigmoid, ts.relu), dtype="float64"),
        nn.LSTMCell(I, H, activations=(ts.tanh, ts.sigmoid, ts.softplus), dtype="float64"),
        nn.RNNCell(I, H, nonlinearity=ts.softplus, dtype="float64"),
    ):
        layer = nn.Recurrent(cell)
        (node,) = io.to_onnx(layer)
        np.testing.assert_allclose(onnx_graph([node], x), outputs(layer, x), **EXACT)
        node["W"] = rng.normal(size=node["W"].shape)
        io.from_onnx(layer, [node])
        np.testing.assert_allclose(onnx_graph([node], x), outputs(layer, x), **EXACT)
        with pytest.raises(ValueError, match=r"attribute activations is .* \(the default\), the"):
            io.from_onnx(layer, [{k: v for k, v in node.items() if k != "attributes"}])


def test_functions_of_your_own_are_taken_for_those_of_the_node(rng):
    """So a node that clips is read by cells that clip."""
    x = 3 * rng.normal(size=(T, N, I))

    def clip(function):
        return lambda a: function(ts.clamp(a, -0.5, 0.5))

    (node,) = node_of(nn.LSTM(I, H, dtype="float64"), attributes={"clip": 0.5})
    functions = clip(ts.sigmoid), clip(ts.tanh), ts.tanh
    layer = nn.Recurrent(nn.LSTMCell(I, H, activations=functions, dtype="float64"))
    io.from_onnx(layer, [node])
    np.testing.assert_allclose(onnx_graph([node], x), outputs(layer, x), **EXACT)
    with pytest.raises(ValueError, match=r"^to_onnx cannot.*\n.*activations without a name"):
        io.to_onnx(layer)
    node["attributes"]["activations"] = ["Sigmoid", "Tanh", "Relu"]
    with pytest.raises(ValueError, match="activations is"):
        io.from_onnx(layer, [node])


def test_layers_in_a_list(rng):
    x = rng.normal(size=(T, N, I))
    parts = [
        nn.LSTM(I, H, 2, bidirectional=True, dtype="float64"),
        nn.Recurrent(nn.LSTMCell(2 * H, H, dtype="float64")),
    ]
    layers = nn.ModuleList(parts)
    weights = [3 * a for a in io.to_keras(layers)]
    io.from_keras(layers, weights)
    assert all(map(np.array_equal, weights, io.to_keras(parts[0]) + io.to_keras(parts[1])))
    ours = outputs(parts[1], outputs(parts[0], x))
    np.testing.assert_allclose(onnx_graph(io.to_onnx(layers), x), ours, **EXACT)


def test_values_are_cast_to_the_layers_dtype_and_copied(rng):
    layer = nn.GRU(I, H)
    weights = [rng.normal(size=a.shape) for a in io.to_keras(layer)]
    io.from_keras(layer, weights)
    assert all(
        b.dtype == np.float32 and np.array_equal(b, a.astype(np.float32))
        for a, b in zip(weights, io.to_keras(layer), strict=True)
    )
    (node,) = io.to_onnx(layer)  # whose two biases are summed after the cast
    node["B"] = rng.normal(size=node["B"].shape).astype("float16")
    io.from_onnx(layer, [node])
    z, r, n = np.split(sum(np.split(node["B"][0].astype("float32"), 2)), 3)
    np.testing.assert_array_equal(layer.bias_ih_l0.data, np.concatenate([r, z, n]))
    for array in [*io.to_keras(layer), *(io.to_onnx(layer)[0][k] for k in "WRB")]:
        array[...] = 0  # nobody else's memory
    assert layer.weight_ih_l0.data.all()


def test_onnx_attributes_as_its_reader_gives_them(rng):
    """Bytes for strings, and what a node leaves out has ONNX's default."""
    lstm = nn.LSTM(I, H, bidirectional=True)
    (node,) = io.to_onnx(lstm)
    node["attributes"] = {
        "direction": b"bidirectional",
        "activations": [b"sigmoid", b"tanh", b"tanh"] * 2,
    }
    io.from_onnx(lstm, [node])
    io.from_onnx(lstm, [{"W": node["W"], "R": node["R"], "B": node["B"]}])
    gru = nn.GRU(I, H, bias=False)
    (node,) = io.to_onnx(gru)
    io.from_onnx(gru, [{"W": node["W"], "R": node["R"], "B": None}])


# -- what is refused --------------------------------------------------------------------------


def keras_weights(**options):
    return io.to_keras(nn.LSTM(I, H, **options))


@pytest.mark.parametrize(
    ("layer", "weights", "message"),
    [
        (nn.LSTM(I, H), keras_weights(bias=False), r"3 arrays: kernel \(4, 24\), .*\n  got 2: "),
        (nn.LSTM(I, H, bias=False), keras_weights(), r"expected 2 arrays.*\n  got 3: "),
        (nn.LSTM(I, H, 2), [keras_weights(), keras_weights()], r"layer 1 bias .*\n  got 2: list"),
        (
            nn.LSTM(I, H, 2, bidirectional=True),
            [a.T for a in keras_weights(num_layers=2, bidirectional=True)],
            r"layer 1 reverse kernel has shape \(24, 12\), expected \(12, 24\)",
        ),
        (nn.RNN(I, H), [np.zeros((I, H), int), np.zeros((H, H)), np.zeros(H)], "kernel must be fl"),
        (
            nn.GRU(I, H),
            io.to_keras(nn.GRU(I, H, reset_after=True)),
            "GRU with reset_after=True, another function: build with that",
        ),
        (
            nn.GRU(I, H, reset_after=True, bidirectional=True),
            io.to_keras(nn.GRU(I, H, bidirectional=True)),
            "GRU with reset_after=False, another function: build with that",
        ),
        (nn.LSTM(I, H, proj_size=2), [], r"no place for weight_hr_l0 \(2, 6\): build with proj_si"),
    ],
)
def test_keras_weights_that_do_not_fit_change_nothing(layer, weights, message):
    before = layer.state_dict()
    with pytest.raises(ValueError, match=message) as error:
        io.from_keras(layer, weights)
    assert str(error.value).startswith("from_keras changed nothing, because:\n")
    unchanged(layer, before)


def node_of(layer, **changes):
    (node,) = io.to_onnx(layer)
    attributes = {**node["attributes"], **changes.pop("attributes", {})}
    node = {**node, **changes, "attributes": attributes}
    return [{name: value for name, value in node.items() if value is not ...}]


@pytest.mark.parametrize(
    ("layer", "nodes", "message"),
    [
        (nn.LSTM(I, H, 2), io.to_onnx(nn.LSTM(I, H)), "expected 2 nodes, one a layer; got 1"),
        (nn.LSTM(I, H), node_of(nn.LSTM(I, H), W=...), r"node 0: missing W \(1, 24, 4\)"),
        (
            nn.LSTM(I, H),
            io.to_onnx(nn.LSTM(I, H, bias=False)),
            r"missing B .*build with bias=False",
        ),
        (nn.LSTM(I, H, bias=False), io.to_onnx(nn.LSTM(I, H)), r"unexpected B .*h bias=True"),
        (
            nn.LSTM(I, H),
            node_of(nn.LSTM(I, H), P=np.ones((1, 18))),
            r"unexpected P \(1, 18\): .*Peephole",
        ),
        (
            nn.LSTM(I, H),
            io.to_onnx(nn.LSTM(I, 7)),
            r"R has shape \(1, 28, 7\), expected \(1, 24, 6\)",
        ),
        (nn.LSTM(I, H), io.to_onnx(nn.GRU(I, H)), "its op_type is GRU, the layer is LSTM"),
        (nn.LSTM(I, H), node_of(nn.LSTM(I, H), R=np.ones((1, 24, 6), int)), "R must be floating"),
        (
            nn.Recurrent(nn.LSTMCell(I, H), reverse=True),
            io.to_onnx(nn.LSTM(I, H)),
            "attribute direction is 'forward', the layer has 'reverse'",
        ),
        (
            nn.RNN(I, H),
            io.to_onnx(nn.RNN(I, H, nonlinearity="relu")),
            r"attribute activations is \['Relu'\], the layer has \['Tanh'\]",
        ),
        (
            nn.RNN(I, H, nonlinearity="relu"),
            [{k: v for k, v in io.to_onnx(nn.RNN(I, H))[0].items() if k in "WRB"}],
            r"attribute activations is \['Tanh'\] \(the default\), the layer has \['Relu'\]",
        ),
        (
            nn.GRU(I, H),
            io.to_onnx(nn.GRU(I, H, reset_after=True)),
            "linear_before_reset=1 is the GRU that resets after .*build with reset_after=True",
        ),
        (
            nn.GRU(I, H, reset_after=True),
            [{k: v for k, v in io.to_onnx(nn.GRU(I, H))[0].items() if k in "WRB"}],
            r"linear_before_reset=0 \(the default\) .*build with reset_after=False",
        ),
        (
            nn.LSTM(I, H),
            node_of(nn.LSTM(I, H), attributes={"clip": 3.0}),
            r"attribute clip=3.0 has no counterpart.*activations that clip",
        ),
        (
            nn.LSTM(I, H),
            [{**io.to_onnx(nn.LSTM(I, H))[0], "attributes": ["hidden_size", H]}],
            "its attributes are a list; expected a dict",
        ),
        (
            nn.LSTM(I, H),
            node_of(nn.LSTM(I, H), attributes={"activations": 5}),
            "attribute activations is 5, the layer has",
        ),
        (
            nn.LSTM(I, H),
            node_of(nn.LSTM(I, H), attributes={"hidden_size": np.ones(2)}),
            "attribute hidden_size is array",
        ),
        (
            nn.LSTM(I, H),
            node_of(nn.LSTM(I, H), attributes={"direction": b"\xff"}),
            "attribute direction is '\ufffd'",
        ),
        (nn.LSTM(I, H), node_of(nn.LSTM(I, H), **{"5": 1}), "unexpected 5 int"),
        (
            nn.LSTM(I, H),
            node_of(nn.LSTM(I, H), R=np.full((1, 24, 6), 1e300)),
            r"R holds 1e\+300, which is beyond float32",
        ),
        (
            nn.GRU(I, H),
            node_of(nn.GRU(I, H), attributes={"before": 1}),
            "attribute before=1 has no counterpart",
        ),
        (nn.LSTM(I, H, proj_size=2), [], r"no place for weight_hr_l0 \(2, 6\): build with proj_si"),
    ],
)
def test_onnx_nodes_that_do_not_fit_change_nothing(layer, nodes, message):
    before = layer.state_dict()
    with pytest.raises(ValueError, match=message) as error:
        io.from_onnx(layer, nodes)
    assert str(error.value).startswith("from_onnx changed nothing, because:\n")
    unchanged(layer, before)


def test_the_second_layer_that_does_not_fit_leaves_the_first_alone(rng):
    layer = nn.GRU(I, H, 2)
    before, nodes = layer.state_dict(), io.to_onnx(nn.GRU(I, H, 2))
    nodes[1]["R"] = nodes[1]["R"][..., :-1]
    with pytest.raises(ValueError, match=r"^from_onnx .*\n  node 1: R has shape \(1, 18, 5\)"):
        io.from_onnx(layer, nodes)
    unchanged(layer, before)


class Leaky(nn.LSTMCell):
    """A cell with equations of its own."""

    def step(self, x, state):
        return super().step(x, state)


class Learned(nn.LSTM):
    """A layer that learns its initial state."""

    def __init__(self):
        super().__init__(I, H)
        self.h_0 = nn.Parameter(np.zeros((1, H), "f"))


@pytest.mark.parametrize("write", [io.to_keras, io.to_onnx])
def test_layers_that_the_other_side_has_not(write):
    for layer in (
        nn.Linear(2, 3),
        Leaky(I, H),
        nn.LeakyCell(I, H, alpha=0.5),
        nn.Recurrent(lambda x, s: (x, s)),
        "lstm",
    ):
        with pytest.raises(TypeError, match=r"knows RNN, .* of them; got (Linear|Leaky|func|str)"):
            write(layer)
    with pytest.raises(ValueError, match=r"has no place for h_0 \(1, 6\)"):
        write(Learned())
    with pytest.raises(ValueError, match="build with proj_size=0"):
        write(nn.LSTM(I, H, 2, proj_size=2))


def test_nodes_must_be_a_list():
    layer = nn.LSTM(I, H)
    with pytest.raises(TypeError, match="a list of nodes"):
        io.from_onnx(layer, io.to_onnx(layer)[0])


def test_one_cell_in_both_directions():
    cell = nn.GRUCell(I, H)
    layer = nn.Bidirectional(nn.Recurrent(cell), nn.Recurrent(cell, reverse=True))
    weights = io.to_keras(layer)
    io.from_keras(layer, [2 * a for a in weights])
    np.testing.assert_array_equal(io.to_keras(cell)[0], 2 * weights[0])
    weights[3] = weights[3] + 1
    before = layer.state_dict()
    with pytest.raises(ValueError, match=r"weight_ih is shared by two cells, but"):
        io.from_keras(layer, weights)
    unchanged(layer, before)


# -- PyTorch ----------------------------------------------------------------------------------


class Model(nn.Module):
    def __init__(self, gru):
        self.gru = gru
        self.head = nn.Linear(H, 2, dtype="float64")


def test_to_torch_is_the_state_dict():
    layer = nn.LSTM(I, H, 2, bidirectional=True, proj_size=2)
    weights = io.to_torch(layer)
    assert list(weights) == list(layer.state_dict())
    io.from_torch(layer, {name: 2 * array for name, array in weights.items()})
    unchanged(layer, {name: 2 * array for name, array in weights.items()})
    with pytest.raises(ValueError, match="changed nothing, because:\n  missing weight_ih_l0"):
        io.from_torch(layer, {})
    with pytest.raises(TypeError, match="expects a dict"):
        io.from_torch(layer, [1])


@pytest.mark.parametrize("bias", [True, False])
def test_the_published_gru_is_not_pytorchs(bias):
    model = Model(nn.GRU(I, H, bias=bias, dtype="float64"))
    for act in (io.to_torch, lambda m: io.from_torch(m, m.state_dict())):
        with pytest.raises(ValueError, match=r"gru is the published GRU.*with reset_after=True"):
            act(model)
        with pytest.raises(ValueError, match="this module is the published GRU"):
            act(nn.GRUCell(I, H, bias=bias))


@pytest.mark.parametrize(("kind", "options"), [form for form in FORMS if form.values[0] != "gru"])
def test_pytorch_computes_the_same(kind, options, rng):
    torch = pytest.importorskip("torch")
    make, own = KINDS[kind]
    own = {name: value for name, value in own.items() if name != "reset_after"}
    theirs = getattr(torch.nn, make.__name__)(I, H, **own, **options, dtype=torch.float64)
    ours, x = build(kind, options, rng), rng.normal(size=(T, N, I))
    for step in ("there", "back"):
        if step == "there":
            io.from_torch(ours, dict(theirs.named_parameters()))  # these require grad
        else:
            ours = build(kind, options, rng)
            arrays = io.to_torch(ours)
            theirs.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
        y = theirs(torch.from_numpy(x))[0].detach().numpy()
        np.testing.assert_allclose(outputs(ours, x), y, **EXACT)


def test_bfloat16_comes_in_exactly():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Linear(3, 2, dtype=torch.bfloat16)
    ours = nn.Linear(3, 2)
    io.from_torch(ours, theirs.state_dict())
    assert np.array_equal(ours.weight.data, theirs.weight.detach().float().numpy())
