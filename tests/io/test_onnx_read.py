"""ONNX files as layers and as models: PyTorch's exporter, our own, and files that are damaged."""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import io, nn, ops
from tinygrad_seq.io.onnx.elementwise import ANY_NUMBER, BINARY, COMPARE, LOGIC, UNARY
from tinygrad_seq.io.onnx.proto import TYPES, GraphProto, Info, ModelProto, Node, decode, encode
from tinygrad_seq.io.onnx.wire import integers, message, varint

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
F32 = np.dtype("float32")


def flat(result):
    if isinstance(result, tuple):
        return [array for part in result for array in flat(part)]
    return [result.detach().numpy()]


def agree(got, wanted):
    got, wanted = flat(got), flat(wanted)
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def written(path, nodes, arrays=(), inputs=(), outputs=(), opset=20):
    """A file of these nodes."""
    graph = GraphProto("g", list(nodes), dict(arrays))
    graph.inputs = [Info(name, F32, list(axes)) for name, axes in inputs]
    graph.outputs = [Info(name, F32, []) for name in outputs]
    path.write_bytes(encode(ModelProto(graph, opset)))
    return path


# -- PyTorch ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True], ids=["time", "batch"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["ahead", "both"])
@pytest.mark.parametrize("kind", ["RNN", "relu", "GRU", "LSTM"])
def test_what_pytorch_exports(kind, bidirectional, batch_first, tmp_path):
    torch, pytest_onnx = pytest.importorskip("torch"), pytest.importorskip("onnx")
    assert pytest_onnx

    options = {"num_layers": 2, "bidirectional": bidirectional, "batch_first": batch_first}
    own = {"nonlinearity": "relu"} if kind == "relu" else {}
    name = "RNN" if kind == "relu" else kind

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(11, 6)
            self.recur = getattr(torch.nn, name)(6, 5, **options, **own)
            self.head = torch.nn.Linear(10 if bidirectional else 5, 3)

        def forward(self, ids):
            y, last = self.recur(self.embed(ids))
            return torch.log_softmax(self.head(y), -1), last

    theirs, ids = Theirs().eval(), torch.arange(12).reshape(4, 3) % 11
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        torch.onnx.export(
            theirs,
            (ids,),
            tmp_path / "theirs.onnx",
            dynamo=False,
            input_names=["ids"],
            dynamic_axes={"ids": [0, 1]},
        )
    file = io.read_onnx(tmp_path / "theirs.onnx")
    assert (len(file.recurrent), len(file.linear), len(file.embedding)) == (2, 1, 1)
    assert file.producer == "pytorch"
    assert list(file.inputs) == ["ids"]
    more = {"reset_after": True} if kind == "GRU" else {}
    ours = getattr(nn, name)(6, 5, **options, **own, **more)
    io.from_onnx(ours, file.nodes())
    state = ours.state_dict()
    for key, value in theirs.recur.state_dict().items():
        np.testing.assert_array_equal(state[key], value.numpy())
    for layer, part in ((file.linear[0], theirs.head), (file.embedding[0], theirs.embed)):
        for key, value in part.state_dict().items():
            np.testing.assert_array_equal(layer.module.state_dict()[key], value.numpy())

    model = file.model()
    for shape in ((4, 3), (1, 1), (7, 2)):
        ids = np.random.default_rng(0).integers(0, 11, shape)
        agree(model(ids), theirs(torch.from_numpy(ids)))
    if kind == "GRU":
        with pytest.raises(ValueError, match="resets after its matrix"):
            io.from_onnx(nn.GRU(6, 5, **options), file.nodes())


# -- our own ----------------------------------------------------------------------------------


class Tagger(nn.Module):
    def __init__(self, layer, width):
        self.embed = nn.Embedding(11, 6)
        self.recur = layer
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, 3))

    def forward(self, ids, state, lengths):
        y, last = self.recur(self.embed(ids), state, lengths=lengths)
        return ts.log_softmax(self.head(self.norm(y))), last


KINDS = {
    "rnn": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
    "gru": (nn.GRU, {}),
    "gru_after": (nn.GRU, {"reset_after": True}),
    "lstm": (nn.LSTM, {}),
}


@pytest.mark.parametrize(
    ("kind", "both", "bias"), list(itertools.product(KINDS, (False, True), (False, True)))
)
def test_a_model_comes_back(kind, both, bias, tmp_path, rng):
    make, own = KINDS[kind]
    width = 2 if both else 1
    layer = make(6, 4, num_layers=2, bidirectional=both, bias=bias, **own)
    model = Tagger(layer, 4 * width)
    part = io.Input(2 * width, "batch", 4)
    names = ["h", "c"] if make is nn.LSTM else ["state"]
    inputs = {
        "ids": io.Input("time", "batch", dtype="int64"),
        "state": {"h": part, "c": part} if make is nn.LSTM else part,
        "lengths": io.Input("batch", dtype="int64"),
    }
    outputs = ["scores", *(f"{n}_after" for n in names)]
    io.export_onnx(model, tmp_path / "m.onnx", inputs, outputs, metadata={"words": "a b"})
    file = io.read_onnx(tmp_path / "m.onnx")
    assert file.metadata == {"words": "a b"}
    assert file.producer == "tinygrad_seq"
    assert file.inputs["ids"] == ["time", "batch"]
    assert file.outputs["scores"] == ["time", "batch", 3]
    fresh = make(6, 4, num_layers=2, bidirectional=both, bias=bias, **own)
    io.from_onnx(fresh, file.nodes())
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(fresh.state_dict()[name], value)
    again = file.model()
    for steps, batch in ((5, 3), (1, 1)):
        ids = rng.integers(0, 11, (steps, batch))
        lengths = rng.integers(1, steps + 1, batch)
        parts = [ts.randn(2 * width, batch, 4) for _ in names]
        state = tuple(parts) if len(parts) > 1 else parts[0]
        given = {"ids": ids, "lengths": lengths, **dict(zip(names, parts, strict=True))}
        agree(again(**given), model(ids, state, lengths))
    again(**given)[0].sum().backward()  # it can be trained on
    assert all(p.grad is not None for p in again.parameters())


CELLS = {
    "peephole": lambda: nn.PeepholeLSTMCell(3, 4),
    "coupled": lambda: nn.CoupledLSTMCell(3, 4, peepholes=True),
    "others": lambda: nn.LSTMCell(3, 4, activations=(ts.sigmoid, ts.relu, ts.softplus)),
    "gru_others": lambda: nn.GRUCell(3, 4, activations=(ts.tanh, ts.relu)),
}


@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "back"])
@pytest.mark.parametrize("name", CELLS)
def test_cells_come_back(name, reverse, tmp_path):
    module = nn.Recurrent(CELLS[name](), reverse)
    x = io.Input("time", "batch", 3)
    outputs = ["y", "h", "c"][: 2 + (name != "gru_others")]
    io.export_onnx(module, tmp_path / "m.onnx", {"x": x}, outputs)
    file = io.read_onnx(tmp_path / "m.onnx")
    assert type(file.recurrent[0].module.cell) is type(module.cell)
    assert file.recurrent[0].module.reverse == reverse
    x = ts.randn(5, 2, 3)
    agree(file.model()(x), module(x))


def test_tied_and_single_layers(tmp_path):
    gemm = Node("Gemm", ["x", "w", "b"], ["y"], {"transB": 1})
    arrays = {"w": np.arange(6, dtype=F32).reshape(2, 3), "b": np.array([1, -1], F32)}
    path = written(tmp_path / "g.onnx", [gemm], arrays, [("x", (4, 3))], ["y"])
    x = np.ones((4, 3), F32)
    file = io.read_onnx(path)
    assert file.linear[0].module.bias is not None
    agree(file.model()(x), ts.Tensor(x @ arrays["w"].T + arrays["b"]))
    half = {"w": arrays["w"].astype("float16")}
    path = written(tmp_path / "h.onnx", [Node("MatMul", ["x", "w"], ["y"])], half, [("x", (2, 2))])
    assert io.read_onnx(path).linear[0].module.weight.dtype == F32


# -- folding ----------------------------------------------------------------------------------


def test_weights_that_are_laid_out_by_nodes(tmp_path, rng):
    """As PyTorch's exporter has them: gates by Slice and Concat, directions by Unsqueeze."""
    cell = nn.GRUCell(3, 4, reset_after=True)
    layer = nn.Recurrent(cell)
    (node,) = io.to_onnx(layer)
    values = {"0": [0], "4": [4], "8": [8], "12": [12], "shape": [-1, 3], "one": [1]}
    ints = {name: np.array(value, np.int64) for name, value in values.items()}
    weight = cell.weight_ih.detach().numpy()
    nodes = [
        Node("Transpose", ["turned"], ["flat"], {"perm": [1, 0]}),
        Node("Reshape", ["flat", "shape"], ["w"]),
        Node("Slice", ["w", "0", "4", "0", "one"], ["r"]),
        Node("Slice", ["w", "4", "8", "0"], ["z"]),
        Node("Slice", ["w", "8", "12"], ["n"]),
        Node("Concat", ["z", "r", "n"], ["W2"], {"axis": 0}),
        Node("Unsqueeze", ["W2", "0"], ["W"]),
        Node("Identity", ["R1"], ["R"]),
        Node("Cast", ["B1"], ["B"], {"to": 1}),
        Node("GRU", ["x", "W", "R", "B"], ["Y", "h"], dict(node["attributes"]), "the one"),
    ]
    arrays = {
        **ints,
        "turned": np.ascontiguousarray(weight.T),
        "R1": node["R"],
        "B1": node["B"].astype("float64"),
    }
    path = written(tmp_path / "m.onnx", nodes, arrays, [("x", ("t", "n", 3))], ["h"])
    file = io.read_onnx(path)
    assert file.recurrent[0].name == "the one"
    np.testing.assert_array_equal(file.nodes()[0]["W"], node["W"])
    x = ts.randn(5, 2, 3)
    agree(file.model()(x)[0], layer(x)[1])


# -- what is refused --------------------------------------------------------------------------


def test_a_model_of_unknown_nodes_is_refused_by_name_and_its_layers_are_had(tmp_path):
    nodes = [Node("MatMul", ["x", "w"], ["y"]), Node("Det", ["y"], ["z"])]
    path = written(tmp_path / "m.onnx", nodes, {"w": np.eye(3, dtype=F32)}, [("x", (3, 3))], ["z"])
    file = io.read_onnx(path)
    assert len(file.linear) == 1
    with pytest.raises(ValueError, match="Det is not supported"):
        file.model()
    path = written(tmp_path / "m.onnx", nodes[:1], {"w": np.eye(3, dtype=F32)}, opset=9)
    with pytest.raises(ValueError, match="opset 9"):
        io.read_onnx(path).model()
    scan = nn.Recurrent(nn.LeakyCell(3, 4))
    io.export_onnx(scan, path, {"x": io.Input("time", "batch", 3)}, ["y", "h"])
    with pytest.raises(ValueError, match="Scan is not supported"):
        io.read_onnx(path).model()


def test_the_inputs_of_a_model_are_checked(tmp_path):
    io.export_onnx(nn.Linear(3, 2), tmp_path / "m.onnx", {"x": io.Input("batch", 3)}, ["y"])
    model = io.read_onnx(tmp_path / "m.onnx").model()
    with pytest.raises(TypeError, match=r"this model takes x; got 0 by position, and z by name"):
        model(z=ts.ones(2, 3))
    with pytest.raises(TypeError, match="takes x"):
        model(ts.ones(2, 3), ts.ones(2, 3))


def test_what_no_layer_here_computes_is_told(tmp_path):
    """Such a file is not damaged, and the error does not say so."""
    (node,) = io.to_onnx(nn.Recurrent(nn.LSTMCell(3, 4)))
    arrays = {name: node[name] for name in ("W", "R", "B")}
    for more, words in (
        ({"clip": 3.0}, "attribute clip=3.0 has no counterpart"),
        ({"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "HardSigmoid.*are not supported"),
        ({"layout": 1}, "layout=1"),
    ):
        lstm = Node("LSTM", ["x", *arrays], ["y"], {**node["attributes"], **more}, "the one")
        path = written(tmp_path / "m.onnx", [lstm], arrays)
        with pytest.raises(io.CheckpointError, match=f"(?s)LSTM 'the one'.*|{words}") as caught:
            io.read_onnx(path)
        assert re.search(words, str(caught.value))
        assert "damaged" not in str(caught.value)


def test_a_graph_with_a_gap_is_no_model(tmp_path):
    path = written(tmp_path / "m.onnx", [Node("Tanh", ["x"], ["y"], name="t")], outputs=["y"])
    with pytest.raises(ValueError, match="Tanh 't' reads 'x', which no node computes"):
        io.read_onnx(path).model()
    path = written(tmp_path / "m.onnx", [], outputs=["y"])
    with pytest.raises(ValueError, match="no node computes the outputs y"):
        io.read_onnx(path).model()


def exported(path):
    model = Tagger(nn.LSTM(6, 4, bidirectional=True), 8)
    part = io.Input(2, "batch", 4)
    inputs = {
        "ids": io.Input("time", "batch", dtype="int64"),
        "state": {"h": part, "c": part},
        "lengths": io.Input("batch", dtype="int64"),
    }
    io.export_onnx(model, path, inputs, ["scores", "h1", "c1"])
    return path.read_bytes()


@given(st.data())
def test_damaged_files_give_one_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(exported(folder / "m.onnx"))
    kind = data.draw(st.sampled_from(["cut", "flip", "insert", "swap"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if kind == "cut":
        content = content[:at]
    elif kind == "flip":
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
            content[place] = data.draw(st.integers(0, 255))
    elif kind == "insert":
        content[at:at] = data.draw(st.binary(min_size=1, max_size=12))
    else:
        content = content[at:] + content[:at]
    (folder / "d.onnx").write_bytes(content)
    try:
        file = io.read_onnx(folder / "d.onnx")
    except io.CheckpointError as error:
        assert "cannot be read as ONNX" in str(error)  # noqa: PT017  # others may come through
        return
    with contextlib.suppress(ValueError):
        file.model()


@pytest.mark.parametrize("content", [b"", b"no model", b"\x00" * 64, b"\x0a" + b"\xff" * 20])
def test_other_files_give_one_error(content, tmp_path):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(io.CheckpointError, match="cannot be read as ONNX"):
        io.read_onnx(tmp_path / "m.onnx")
    with pytest.raises(FileNotFoundError):
        io.read_onnx(tmp_path / "none.onnx")


def graph_of(*fields):
    return message((1, 9), (7, message(*fields)), (8, message((1, ""), (2, 20))))


def array(name, *shape):
    values = bytes(4 * int(np.prod(shape)))
    return message((1, list(shape)), (2, 1), (8, name), (9, values))


@functools.cache
def hostile():
    """Small files that would take much memory, or lead elsewhere, if they were believed."""
    tensor = [(2, 1), (8, "w")]
    nested = message((2, "deepest"))
    for _ in range(2000):
        attribute = message((1, "body"), (6, nested), (20, 5))
        nested = message((1, message((4, "If"), (5, attribute))))
    many = message((1, ["w"] * 40), (2, "w2"), (4, "Concat"), (5, message((1, "axis"), (20, 2))))
    doubling = [
        message(
            (1, [f"d{k}"] * 2), (2, f"d{k + 1}"), (4, "Concat"), (5, message((1, "axis"), (20, 2)))
        )
        for k in range(40)
    ]
    one = message((1, 1024), (2, 1), (8, "d0"), (9, bytes(4096)))
    elsewhere = message((1, "location"), (2, "/etc/passwd"))
    packed = message((1, "ints"), (8, b"\x01" * 3_000_000), (20, 7))
    return {
        "a huge shape": graph_of((5, message((1, [2**40, 2**20]), *tensor, (9, b"")))),
        "a negative shape": graph_of((5, message((1, [-1, 4]), *tensor, (9, bytes(16))))),
        "a shape that overflows": graph_of((5, message((1, [2**62, 4]), *tensor, (9, bytes(16))))),
        "a long length": b"\x3a" + varint(2**60),
        "an endless number": b"\x3a" + b"\xff" * 30,
        "graphs within graphs": message((7, nested), (8, message((2, 20)))),
        "weights elsewhere": graph_of((5, message((1, 4), *tensor, (13, elsewhere), (14, 1)))),
        "doubling constants": graph_of((5, one), (1, doubling)),
        "an unknown type": graph_of((5, message((1, 1), (2, 99), (8, "w"), (9, bytes(4))))),
        "many fields": graph_of((1, [b""] * 600_000)),
        "many numbers": graph_of((1, message((4, "Slice"), (5, packed)))),
        "no constant": graph_of((1, message((1, ["x", "w", "r"]), (2, "y"), (4, "LSTM")))),
        "weights that do not fit": graph_of(
            (5, [array("w", 1, 4, 40_000), array("r", 1, 1, 40_000)]),
            (1, message((1, ["x", "w", "r"]), (2, "y"), (4, "LSTM"))),
        ),
        "weights of no elements": graph_of(
            (5, [array("w", 1, 0, 2**40), array("r", 1, 0, 0)]),
            (1, message((1, ["x", "w", "r"]), (2, "y"), (4, "LSTM"))),
        ),
        "a name that is no text": graph_of((2, b"\xff\xfe"), (1, many)),
    }


@pytest.mark.parametrize("name", hostile())
def test_hostile_files_are_refused_within_their_own_size(name, tmp_path):
    content = hostile()[name]
    (tmp_path / "m.onnx").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(io.CheckpointError, match="cannot be read as ONNX"):
            io.read_onnx(tmp_path / "m.onnx")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**26 + 10 * len(content)


# -- the format -------------------------------------------------------------------------------


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_packed_numbers(numbers):
    packed = b"".join(varint(n) for n in numbers)
    assert integers([memoryview(packed)]).tolist() == numbers
    assert integers([n % 2**64 for n in numbers]).tolist() == numbers


def test_packed_numbers_in_many_pieces():
    numbers = np.random.default_rng(0).integers(-(2**62), 2**62, 40_000)
    packed = b"".join(varint(int(n)) for n in numbers)
    np.testing.assert_array_equal(integers([memoryview(packed)]), numbers)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "fields"])
@pytest.mark.parametrize("dtype", sorted(dtype.name for dtype in TYPES))
def test_arrays_of_the_onnx_package(dtype, raw, rng):
    onnx = pytest.importorskip("onnx")
    array = rng.integers(0, 2 if dtype == "bool" else 100, (3, 4)).astype(dtype)
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    values = array.tobytes() if raw else array.reshape(-1).tolist()
    tensor = onnx.helper.make_tensor("a", kind, array.shape, values, raw=raw)
    graph = onnx.helper.make_graph([], "g", [], [], [tensor])
    read = decode(onnx.helper.make_model(graph).SerializeToString()).graph.arrays["a"]
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_attributes_there_and_back(tmp_path):
    onnx = pytest.importorskip("onnx")
    attributes = {
        "i": -3,
        "f": 0.5,
        "s": "αβ",
        "ints": [1, -2, 3],
        "floats": [0.5, -1.5],
        "strings": ["a", "b"],
        "t": np.arange(3, dtype=np.int64),
        "none": [],
    }
    path = written(tmp_path / "m.onnx", [Node("Own", ["a"], ["b"], attributes, "n")])
    (node,) = decode(path.read_bytes()).graph.nodes
    assert (node.op_type, node.inputs, node.outputs, node.name) == ("Own", ["a"], ["b"], "n")
    np.testing.assert_array_equal(node.attributes.pop("t"), attributes["t"])
    assert node.attributes == {k: v for k, v in attributes.items() if k != "t"}
    theirs = {
        a.name: onnx.helper.get_attribute_value(a) for a in onnx.load(path).graph.node[0].attribute
    }
    assert theirs["s"].decode() == "αβ"
    assert (theirs["i"], list(theirs["ints"]), list(theirs["floats"])) == (
        -3,
        [1, -2, 3],
        [0.5, -1.5],
    )
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(theirs["t"]), attributes["t"])


def test_functions_of_one_number_come_back(tmp_path):
    x, path = np.array([0.25, 0.5, 0.75], "f4"), tmp_path / "f.onnx"
    for op in UNARY | ANY_NUMBER:
        if op is not ops.gelu:  # which has an attribute
            io.export_onnx(lambda x, op=op: op(x), path, {"x": io.Input("time")}, ["y"])
            given = 1 / x if op is ops.arccosh else x
            agree(io.read_onnx(path).model()(given), op(ts.tensor(given)))


@pytest.mark.parametrize("op", BINARY | COMPARE | LOGIC, ids=lambda op: op.name)
def test_functions_of_two_come_back(op, tmp_path):
    def f(a, b):
        return op(a > 0, b > 0) if op in LOGIC else op(a, b)

    form, path = io.Input("time"), tmp_path / "f.onnx"
    a, b = np.array([-1, -1, 0, 2, 2], "f4"), np.array([-1, 2, 1, -1, 2], "f4")  # each with each
    io.export_onnx(f, path, {"a": form, "b": form}, ["y"])
    agree(io.read_onnx(path).model()(a, b), f(ts.tensor(a), ts.tensor(b)))
