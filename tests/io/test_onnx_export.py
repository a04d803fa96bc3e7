"""Whole models to ONNX: ONNX Runtime gives the model's numbers, at any batch and length."""

from __future__ import annotations

import functools
import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import io, nn, ops, seq
from tinygrad_seq.autograd import Primitive
from tinygrad_seq.io.onnx.handlers import HANDLERS

onnxruntime = pytest.importorskip("onnxruntime")
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
IDS, LENGTHS = (io.Input("time", "batch", dtype="int64"), io.Input("batch", dtype="int64"))
X = io.Input("time", "batch", 6)


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def run(path, **feeds):
    return session(path).run(None, feeds)


def flat(result):
    if isinstance(result, tuple):
        return [array for part in result for array in flat(part)]
    return [result.detach().numpy() if isinstance(result, ts.Tensor) else np.asarray(result)]


def agree(got, wanted):
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, **CLOSE)


def scaled(module, rng, size=0.7):
    """Weights larger than they start, so that every gate moves."""
    state = {n: rng.normal(0, size, a.shape) for n, a in module.state_dict().items()}
    module.load_state_dict(state)
    return module


# -- random models ----------------------------------------------------------------------------


class Tagger(nn.Module):
    def __init__(self, layer, width, head):
        self.embed = nn.Embedding(11, 6)
        self.recur = layer
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, head))

    def forward(self, ids, state=None, lengths=None):
        y, last = self.recur(self.embed(ids), state, lengths=lengths)
        return ts.log_softmax(self.head(self.drop(self.norm(y)))), last


@st.composite
def layers(draw):
    """A recurrent layer and how its state and its output look: (layer, parts, L * D, width)."""
    kind = draw(st.sampled_from(["tanh", "relu", "gru", "gru_after", "lstm", "projected"]))
    hidden = draw(st.integers(2, 5))
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
    }
    own = {
        "tanh": {},
        "relu": {"nonlinearity": "relu"},
        "gru": {},
        "gru_after": {"reset_after": True},
        "lstm": {},
        "projected": {"proj_size": 1},
    }[kind]
    make = nn.RNN if kind in ("tanh", "relu") else nn.GRU if kind[0] == "g" else nn.LSTM
    layer = make(6, hidden, **own, **options)
    size = 1 if kind == "projected" else hidden
    parts = [size, hidden] if make is nn.LSTM else [size]
    directions = 2 if options["bidirectional"] else 1
    return layer, parts, options["num_layers"] * directions, size * directions


@given(layers(), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_random_models_at_three_sizes(tmp_path_factory, drawn, with_lengths, with_state, seed):
    layer, parts, count, width = drawn
    rng = np.random.default_rng(seed)
    model = scaled(Tagger(layer, width, 4), rng)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    axes = ("batch", "time") if layer.batch_first else ("time", "batch")
    names = [f"state{k}" for k in range(len(parts))]
    state = {n: io.Input(count, "batch", size) for n, size in zip(names, parts, strict=True)}
    inputs = {"ids": io.Input(*axes, dtype="int64")}
    if with_state:
        inputs["state"] = state if len(parts) > 1 else state["state0"]
    if with_lengths:
        inputs["lengths"] = LENGTHS
    io.export_onnx(model, path, inputs, ["scores", *(f"last{k}" for k in range(len(parts)))])
    assert model.training  # as it was
    model.eval()
    for steps, batch in ((4, 3), (1, 1), (9, 2)):
        shape = (batch, steps) if layer.batch_first else (steps, batch)
        feeds = {"ids": rng.integers(0, 11, shape)}
        arguments = dict(feeds)
        if with_state:
            given = {
                n: rng.normal(size=(count, batch, size)).astype("float32")
                for n, size in zip(names, parts, strict=True)
            }
            tensors = tuple(map(ts.Tensor, given.values()))
            arguments["state"] = tensors if len(parts) > 1 else tensors[0]
            feeds |= given if len(parts) > 1 else {"state": given["state0"]}
        if with_lengths:
            feeds["lengths"] = arguments["lengths"] = rng.integers(1, steps + 1, batch)
        with ts.no_grad():
            agree(run(path, **feeds), flat(model(**arguments)))


@pytest.mark.parametrize("make", [nn.RNN, nn.GRU, nn.LSTM])
def test_token_by_token_equals_the_whole(make, tmp_path, rng):
    model = scaled(Tagger(make(6, 4, num_layers=2), 4, 3), rng).eval()
    state = {"h": io.Input(2, "batch", 4), "c": io.Input(2, "batch", 4)}
    names = ["h", "c"] if make is nn.LSTM else ["state"]
    io.export_onnx(
        model,
        tmp_path / "step.onnx",
        {"ids": IDS, "state": state if make is nn.LSTM else state["h"]},
        ["scores", *(f"last_{n}" for n in names)],
        check=True,
    )
    ids = rng.integers(0, 11, (7, 3))
    with ts.no_grad():
        whole, _ = model(ids)
    step, kept = session(tmp_path / "step.onnx"), [np.zeros((2, 3, 4), np.float32) for _ in names]
    for t in range(7):
        scores, *kept = step.run(
            None, {"ids": ids[t : t + 1], **dict(zip(names, kept, strict=True))}
        )
        np.testing.assert_allclose(scores[0], whole.numpy()[t], **CLOSE)


# -- cells ------------------------------------------------------------------------------------


def clipped(a):
    return ts.tanh(ts.clamp(a, -0.5, 0.5))


class Own(nn.Module):
    """A cell of a user's, with a state of two parts of different sizes."""

    def __init__(self):
        self.up = nn.Linear(6, 4)
        self.along = nn.Linear(4, 4, bias=False)

    def initial_state(self, batch_shape):
        return ts.zeros((*batch_shape, 4)), ts.ones((*batch_shape, 1))

    def forward(self, x, state):
        h, count = state
        h = ts.tanh(self.up(x) + self.along(h)) / count
        return ts.concatenate([h, x[..., :2]], axis=-1), (h, count + 1)


CELLS = {
    "rnn": lambda: nn.RNNCell(6, 4),
    "relu": lambda: nn.RNNCell(6, 4, nonlinearity="relu"),
    "softplus": lambda: nn.RNNCell(6, 4, nonlinearity=ts.softplus),
    "clipped": lambda: nn.RNNCell(6, 4, nonlinearity=clipped),
    "gru": lambda: nn.GRUCell(6, 4),
    "gru_after": lambda: nn.GRUCell(6, 4, reset_after=True),
    "gru_others": lambda: nn.GRUCell(6, 4, activations=(ts.tanh, ts.relu)),
    "lstm": lambda: nn.LSTMCell(6, 4),
    "lstm_others": lambda: nn.LSTMCell(6, 4, activations=(ts.tanh, ts.softplus, ts.relu)),
    "projected": lambda: nn.LSTMCell(6, 4, proj_size=2),
    "peephole": lambda: nn.PeepholeLSTMCell(6, 4),
    "coupled": lambda: nn.CoupledLSTMCell(6, 4),
    "coupled_peephole": lambda: nn.CoupledLSTMCell(6, 4, peepholes=True),
    "leaky": lambda: nn.LeakyCell(6, 4),
    "leaky_learned": lambda: nn.LeakyCell(6, 4, learned=True, alpha=[0.1, 0.2, 0.3, 0.4]),
    "norm_rnn": lambda: nn.LayerNormRNNCell(6, 4),
    "norm_gru": lambda: nn.LayerNormGRUCell(6, 4),
    "norm_lstm": lambda: nn.LayerNormLSTMCell(6, 4),
    "zoneout": lambda: nn.Zoneout(nn.LSTMCell(6, 4), 0.2),
    "variational": lambda: nn.VariationalDropout(nn.GRUCell(6, 4), 0.2, 0.2),
    "weight_norm": lambda: nn.WeightDrop(nn.WeightNorm(nn.LSTMCell(6, 4)), 0.5),
    "within": lambda: nn.VariationalDropout(nn.WeightNorm(nn.LeakyCell(6, 4), "weight_ih"), 0.2),
    "mgu": lambda: nn.MGUCell(6, 4),
    "sru": lambda: nn.SRUCell(6, 4),
    "slstm": lambda: nn.SLSTMCell(6, 4),
    "own": Own,
}
SCANNED = {"clipped", "projected", "leaky", "leaky_learned", "norm_rnn", "norm_gru", "norm_lstm"}
SCANNED |= {"zoneout", "within", "mgu", "sru", "slstm", "own"}


def parts_of(module):
    return len(flat(module(ts.zeros((1, 1, 6)))[1]))


@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "back"])
@pytest.mark.parametrize("name", CELLS)
def test_every_cell(name, reverse, tmp_path, rng):
    module = scaled(nn.Recurrent(CELLS[name](), reverse), rng, 0.3).eval()  # relu has no bound
    outputs = ["y", *(f"last{k}" for k in range(parts_of(module)))]
    forms = ({}, {"lengths": LENGTHS}, {"mask": io.Input("time", "batch", dtype="bool")})
    for more in forms:
        worst = io.export_onnx(module, tmp_path / "m.onnx", {"x": X, **more}, outputs, check=True)
        assert worst < 1e-5
    onnx = pytest.importorskip("onnx")
    io.export_onnx(module, tmp_path / "m.onnx", {"x": X}, outputs)
    kinds = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert ("Scan" in kinds) == (name in SCANNED)
    if name not in SCANNED:
        assert kinds & {"RNN", "GRU", "LSTM"}


@pytest.mark.parametrize("name", [n for n in CELLS if n != "own"])
def test_a_single_step_of_every_cell(name, tmp_path, rng):
    cell = scaled(CELLS[name](), rng).eval()
    outputs = ["y", *(f"last{k}" for k in range(len(flat(cell(ts.zeros((1, 6)))[1]))))]
    inputs = {"x": io.Input("batch", 6)}
    assert io.export_onnx(cell, tmp_path / "m.onnx", inputs, outputs, check=True) < 1e-5


def test_padding_that_is_no_number_has_no_effect(tmp_path, rng):
    for cell in (nn.LSTMCell(6, 4), nn.LeakyCell(6, 4)):
        module = nn.Recurrent(cell, reverse=True)
        outputs = ["y", "h", "c"][: 1 + parts_of(module)]
        io.export_onnx(module, tmp_path / "m.onnx", {"x": X, "lengths": LENGTHS}, outputs)
        x = rng.normal(size=(5, 2, 6)).astype("float32")
        x[3:, 1] = np.nan
        lengths = np.array([5, 3])
        with ts.no_grad():
            agree(run(tmp_path / "m.onnx", x=x, lengths=lengths), flat(module(x, lengths=lengths)))


def test_a_function_as_a_cell(tmp_path):
    def decaying_sum(x, state):
        total = 0.5 * state + x
        return total, total

    module = nn.Recurrent(decaying_sum)
    for state in (io.Input("batch", 6), io.Input(6)):  # the second broadcasts at the first step
        inputs = {"x": X, "state": state}
        assert io.export_onnx(module, tmp_path / "m.onnx", inputs, ["y", "h"], check=True) < 1e-5
    with pytest.raises(io.ExportError, match="needs a state before the first step: give state="):
        io.export_onnx(module, tmp_path / "other.onnx", {"x": X}, ["y", "h"])
    assert not (tmp_path / "other.onnx").exists()


@pytest.mark.parametrize("merge", ["concat", "sum", "mean", "product"])
@pytest.mark.parametrize("back", ["lstm", "coupled", "leaky"])
def test_both_directions(merge, back, tmp_path, rng):
    module = nn.Bidirectional(
        nn.Recurrent(nn.LSTMCell(6, 4)), nn.Recurrent(CELLS[back](), reverse=True), merge
    )
    scaled(module, rng)
    outputs = ["y", "h", "c", "h_back", "c_back"][: 4 + (back != "leaky")]
    inputs = {"x": X, "lengths": LENGTHS}
    assert io.export_onnx(module, tmp_path / "m.onnx", inputs, outputs, check=True) < 1e-5


def test_stacks_first_states_and_one_sequence(tmp_path, rng):
    stacked = nn.Stacked(nn.Recurrent(nn.LSTMCell(6, 4)), nn.Recurrent(nn.LeakyCell(4, 3)))
    outputs = ["y", "h", "c", "top"]
    inputs = {"x": X, "lengths": LENGTHS}
    assert io.export_onnx(stacked, tmp_path / "m.onnx", inputs, outputs, check=True) < 1e-5

    class Learned(nn.Module):
        def __init__(self):
            self.layer = nn.LSTM(6, 4, num_layers=2, bidirectional=True)
            self.start = nn.InitialState(self.layer)

        def forward(self, x):
            return self.layer(x, self.start(x.shape[1]))

    model = scaled(Learned(), rng)
    outputs = ["y", "h", "c"]
    assert io.export_onnx(model, tmp_path / "m.onnx", {"x": X}, outputs, check=True) < 1e-5
    for layer in (nn.LSTM(6, 4, bidirectional=True), nn.LSTM(6, 4, proj_size=2)):
        inputs = {"x": io.Input("time", 6)}
        assert io.export_onnx(layer, tmp_path / "m.onnx", inputs, outputs, check=True) < 1e-5


# -- attention, encoder and decoder -----------------------------------------------------------


ATTENTIONS = {
    "dot": lambda: nn.DotAttention(),
    "unscaled": lambda: nn.DotAttention(scaled=False),
    "bilinear": lambda: nn.BilinearAttention(6, 6),
    "additive": lambda: nn.AdditiveAttention(6, 6, 5),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention(name, tmp_path):
    module = ATTENTIONS[name]()
    keys = io.Input("source", "batch", 6)
    inputs = {"queries": X, "keys": keys, "values": io.Input("source", "batch", 3)}
    for more in ({}, {"lengths": LENGTHS}, {"mask": io.Input("source", "batch", dtype="bool")}):
        given = {**inputs, **more}
        assert io.export_onnx(module, tmp_path / "m.onnx", given, ["c", "a"], check=True) < 1e-5
    single = {"queries": io.Input("batch", 6), "keys": keys}
    assert io.export_onnx(module, tmp_path / "m.onnx", single, ["c", "a"], check=True) < 1e-5


@pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize(("attention", "depth"), [(None, 2), ("dot", 1), ("additive", 1)])
def test_encoder_and_decoder_as_two_files(layer, attention, depth, tmp_path, rng):
    make = {
        None: lambda: None,
        "dot": nn.DotAttention,
        "additive": lambda: nn.AdditiveAttention(8, 8, 5),
    }
    model = seq.EncoderDecoder(9, 10, 5, 8, make[attention](), layer, num_layers=depth)
    model = scaled(model, rng).eval()
    start = {"h": io.Input(depth, "batch", 8), "c": io.Input(depth, "batch", 8)}
    parts = ["h", "c"] if layer is nn.LSTM else ["h"]
    names, state = list(parts), start if layer is nn.LSTM else start["h"]
    if attention:
        names += ["keys", "valid"]
        keys = io.Input("source", "batch", 8)
        state = {"h": state, "keys": keys, "valid": io.Input("source", "batch", 1, dtype="bool")}
    source = io.Input("source", "batch", dtype="int64")
    encoder, step = tmp_path / "encoder.onnx", tmp_path / "step.onnx"
    io.export_onnx(model.encode, encoder, {"source": source, "lengths": LENGTHS}, names, check=True)
    given = {"tokens": LENGTHS, "state": state}
    after = [f"{name}_after" for name in names]
    io.export_onnx(model.step, step, given, ["scores", *after], check=True)

    ids, lengths, tokens = (
        rng.integers(0, 9, (6, 4)),
        np.array([6, 2, 1, 4]),
        rng.integers(0, 10, 4),
    )
    kept = run(encoder, source=ids, lengths=lengths)
    with ts.no_grad():
        state = model.encode(ids, lengths)
        agree(kept, flat(state))
        feeds = names if attention or layer is nn.LSTM else ["state"]
        for _ in range(3):
            ours, state = model.step(tokens, state)
            scores, *kept = run(step, tokens=tokens, **dict(zip(feeds, kept, strict=True)))
            np.testing.assert_allclose(scores, ours.numpy(), **CLOSE)
            tokens = scores.argmax(axis=-1)


# -- the op table -----------------------------------------------------------------------------

ELEMENTWISE_ONE = sorted(
    (
        op
        for op in HANDLERS
        if getattr(op, "elementwise", False)
        and op.arguments == ("x",)
        and op is not ops.index.ids_below  # of integers: a subclass of Embedding is exported below
    ),
    key=lambda op: op.name,
)
ELEMENTWISE_TWO = sorted(
    (op for op in HANDLERS if getattr(op, "elementwise", False) and op.arguments == ("a", "b")),
    key=lambda op: op.name,
)
A = io.Input("time", "batch", 6)


def exported(function, tmp_path, inputs, outputs=("y",)):
    """The largest difference, for a function whose results are all tensors."""
    return io.export_onnx(function, tmp_path / "f.onnx", inputs, outputs, check=True)


@pytest.mark.parametrize("op", ELEMENTWISE_ONE, ids=lambda op: op.name)
def test_functions_of_one(op, tmp_path):
    def f(x):
        x = ops.sigmoid(x) * 0.98 + 0.01 + (op is ops.arccosh)  # where every function is defined
        return op(x > 0.5) if op in (ops.invert, ops.logical_not) else op(x)

    assert exported(f, tmp_path, {"x": A}) < 2e-5


@pytest.mark.parametrize("op", [ops.relu, ops.elu, ops.leaky_relu, ops.silu, ops.gelu, ops.sign,
                                ops.expm1, ops.floor, ops.round, ops.absolute, ops.softplus],
                         ids=lambda op: op.name)  # fmt: skip
def test_functions_on_both_sides_of_zero(op, tmp_path):
    assert exported(lambda x: op(ops.clamp(x * 3, -3, 3)), tmp_path, {"x": A}) < 2e-5


BOOLEANS = {ops.bitwise_and, ops.bitwise_or, ops.bitwise_xor, ops.logical_and, ops.logical_or}
BOOLEANS |= {ops.logical_xor}


@pytest.mark.parametrize("op", ELEMENTWISE_TWO, ids=lambda op: op.name)
def test_functions_of_two(op, tmp_path):
    def floats(a, b):
        a, b = (a > 0, b > 0) if op in BOOLEANS else (ops.exp(a * 0.3), ops.exp(b * 0.3))
        return op(a, b), op(a[0], b)  # broadcast along time

    assert exported(floats, tmp_path, {"a": A, "b": A}, ["y", "z"]) < 2e-5
    if op in BOOLEANS | {ops.logaddexp}:
        return

    def integers(a, b):
        a, b = (ops.floor(x * 5).astype(np.int64) for x in (a, b))
        b = ops.where(b == 0, 3, b) if op is not ops.power else ops.absolute(b) % 3
        return op(a, b), op(a, 3), op(2.5, b + 50)

    assert exported(integers, tmp_path, {"a": A, "b": A}, ["y", "z", "w"]) < 2e-5


def small(x):
    return x[:, :, :3]


def broken(x):
    x = ops.where(x > 1, math.nan, x)
    return ops.where(x > 0.5, math.inf, ops.where(x < -1, -math.inf, x))


FUNCTIONS = {
    "log1p far": lambda x: ops.log1p(ops.exp(x * 5)),
    "log1p near": lambda x: ops.log1p(x * 1e-3) * 1e3,
    "expm1 near": lambda x: ops.expm1(x * 1e-3) * 1e3,
    "round decimals": lambda x: ops.round(x, 1),
    "remainder sign": lambda x: (x % -0.7, (ops.floor(x * 5).astype(int)) % -3),
    "floor_divide sign": lambda x: (x // -0.7, ops.floor(x * 9).astype(int) // -4),
    "nan_to_num": lambda x: ops.nan_to_num(broken(x), posinf=3.0, neginf=-2.0),
    "sinc": lambda x: (ops.sinc(x), ops.sinc(x * 0), ops.hypot(x * 0, x * 0), ops.cbrt(x)),
    "clamp": lambda x: (ops.clamp(x, -0.5), ops.clamp(x, max=0.5), ops.clamp(x, -0.5, 0.5)),
    "where": lambda x: ops.where(x > 0, x, 0.1 * x),
    "comparisons": lambda x: (x == x, x != 0, x >= 0, (x > 0) == (x > 1)),
    "astype": lambda x: ((x * 3).astype(int), (x > 0).astype(np.float32), (x * 3).astype(bool)),
    "mean": lambda x: (x.mean(), x.mean(-1), x.mean((0, 2), keepdims=True)),
    "sum": lambda x: (x.sum(0), (x > 0).sum(), ops.sum(x, axis=(0, 1, 2), keepdims=True)),
    "max": lambda x: (x.max(), x.max(-1), x.min(0, keepdims=True)),
    "prod": lambda x: ops.prod(x, axis=-1),
    "var": lambda x: (x.var(-1), x.var(0) + x.std(), ops.var(x, axis=2, ddof=1, keepdims=True)),
    "logsumexp": lambda x: (x.logsumexp(-1), x.logsumexp(0, keepdims=True)),
    "norm": lambda x: (x.norm(axis=-1), x.norm(1, axis=0), x.norm(3, axis=2), x.norm(math.inf)),
    "all": lambda x: ((x > 0).all(), (x > 0).any(0), ops.all(x > -9, axis=1, keepdims=True)),
    "argmax": lambda x: (x.argmax(-1), x.argmin(0), x.argmax(), ops.argmax(x, 2, True)),
    "cumsum": lambda x: (x.cumsum(0), x.cumsum(), ops.cumprod(x, axis=-1)),
    "softmax": lambda x: (ops.softmax(x), ops.log_softmax(x, axis=0)),
    "matmul": lambda x: (x @ x.swapaxes(1, 2), x @ np.arange(6.0), x[0, 0] @ x[0, 0]),
    "einsum": lambda x: (ops.einsum("tni,sni->nts", x, x), ops.einsum("...i->...", x)),
    "tensordot": lambda x: (ops.tensordot(x, x, (2, 2)), ops.inner(x[0], -x[0]), ops.outer(x, x)),
    "reshape": lambda x: (x.reshape(-1), x.reshape(x.shape[0], -1), x.reshape(-1, 3, 2)),
    "flatten and back": lambda x: (2 * x.reshape(-1, 6)).reshape(x.shape) + x,
    "reshape with both": lambda x: x.reshape(x.shape[1], x.shape[0], 6),
    "shape arithmetic": lambda x: x.reshape(x.shape[0] * x.shape[1] * 2, 3),
    "transpose": lambda x: (x.T, x.transpose(1, 0, 2), ops.moveaxis(x, 0, -1), x.mT),
    "axes": lambda x: (ops.expand_dims(x, (0, 2)), ops.squeeze(x[:, :, None], 2), x.ravel()),
    "broadcast_to": lambda x: ops.broadcast_to(x[:1], x.shape) + x,
    "join": lambda x: (ops.concatenate([x, x], 0), ops.stack([x, -x], 1), ops.hstack([x, x])),
    "join with a constant": lambda x: ops.concatenate([x, x * 0 + np.arange(6.0)], axis=-1),
    "split": lambda x: (ops.split(x, 3, axis=-1), x.split([1, 4], 2), small(x).unstack(2)),
    "indices": lambda x: (x[0], x[-1], x[:, -1], x[..., 2], x[:, None, 0], x[0, 0, 0]),
    "slices": lambda x: (x[..., 1:4], x[..., ::2], x[..., ::-1], x[..., -2:], x[..., 4:1:-1]),
    "slices of open axes": lambda x: (x[1:], x[:-1], x[-1:], x[:2], x[::2], x[::-1]),
    "differences along time": lambda x: x[1:] - x[:-1],
    "take": lambda x: (x[..., np.array([2, 0, 2])], x.take([[1], [3]], -1), ops.flip(x, 0)),
    "take_along_axis": lambda x: ops.take_along_axis(x, x.argmax(-1)[..., None], -1),
    "one_hot": lambda x: ops.one_hot(x.argmax(-1), 6) * x,
    "triangles": lambda x: (ops.tril(x[0]), ops.triu(x, 1), ops.tril(x, -1)),
    "pad": lambda x: (ops.pad(x, ((1, 2), (0, 0), (3, 0))), ops.pad(small(x), 1, "edge")),
    "order": lambda x: (ops.sort(x), x.argsort(0), *ops.topk(x, 2), ops.sort(x, axis=None)),
    "repeats": lambda x: (ops.tile(x, (1, 1, 2)), ops.repeat(small(x), 2, axis=2)),
    "numpy": lambda x: (np.tanh(x), np.concatenate([x, x]), np.ones(6) @ x.swapaxes(1, 2)),
    "made in a shape": lambda x: (
        ts.zeros(x.shape[1], 4),
        ts.ones(x.shape) + x,
        ts.full(x.shape, 2),
    ),
    "made like": lambda x: (ts.zeros_like(x), ts.ones_like(x, dtype=int), ts.full_like(x, 0.5)),
    "arange": lambda x: (ts.arange(x.shape[0]), ts.arange(1, x.shape[1] + 1, dtype="float32") * 2),
    "arange steps": lambda x: ts.arange(0, x.shape[0], 2) * 1.5,
    "clone": lambda x: x.detach().clone() * 2,
    "a constant": lambda x: (x, ts.tensor([1.0, 2.0]), np.arange(3)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, tmp_path):
    x = ts.randn(3, 5, 6)
    count = len(flat(FUNCTIONS[name](x)))
    outputs = [f"y{k}" for k in range(count)]
    length = 2 if name in ("slices of open axes", "differences along time") else "time"
    inputs = {"x": io.Input("time", "batch", 6)}
    if length == 2:  # long enough for the slices
        inputs = {"x": io.Input("time", "batch", 6), "more": io.Input(2, "batch", 6)}

        def function(x, more):
            return FUNCTIONS[name](ops.concatenate([x, more], axis=0))
    else:
        function = FUNCTIONS[name]
    assert exported(function, tmp_path, inputs, outputs) < 2e-5


def test_operations_without_a_counterpart_are_refused_by_name(tmp_path):
    table = {op for name in ops.__all__ if isinstance(op := getattr(ops, name), Primitive)}
    without = sorted(table - HANDLERS.keys(), key=lambda op: op.name)
    assert len(without) < len(table) / 10
    for op in without:
        arrays = len(op.arguments)
        params = {n: 0 for n, v in op.parameters.items() if v is inspect.Parameter.empty}
        call = functools.partial(lambda op, k, p, x: op(*[x] * k, **p), op, arrays, params)
        refusal(call, tmp_path, f"^{op.name} has no counterpart")


# -- what is refused --------------------------------------------------------------------------


def refusal(function, tmp_path, match, inputs=None, outputs=("y",)):
    path = tmp_path / "refused.onnx"
    with pytest.raises(io.ExportError, match=match):
        io.export_onnx(function, path, inputs or {"x": A}, outputs)
    assert not path.exists()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ts.grad(lambda z: (z * z).sum())(x),
        lambda x: ts.jvp(lambda z: z * z, (x,), (x,))[1],
        lambda x: nn.Recurrent(lambda x, h: (x, h + ts.grad(lambda z: (z * h).sum())(x)))(x, x[0])[
            0
        ],
    ],
    ids=["grad", "jvp", "in a cell"],
)
def test_a_gradient_inside_is_refused(function, tmp_path):
    refusal(function, tmp_path, "computes a gradient")


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x * float(x[0, 0, 0]),
        lambda x: x * x.mean().item(),
        lambda x: x * np.asarray(x),
        lambda x: x + ts.Tensor(x.tolist()),
        lambda x: ts.Tensor(x) * 2,
        lambda x: np.histogram(x)[0],
    ],
)
def test_reading_numbers_is_refused(read, tmp_path):
    refusal(read, tmp_path, r"the model reads numbers of \S+ \(.*\); it may only compute with it")


def test_the_value_that_is_read_is_named(tmp_path):
    class Reads(nn.Module):
        def __init__(self):
            self.embed = nn.Linear(6, 4)

        def forward(self, x):
            h = self.embed(x)
            return h if h.max() > 0 else x

    refusal(Reads(), tmp_path, r"reads numbers of Greater \(\)")
    refusal(lambda x: x.numpy(), tmp_path, r"reads numbers of x \(time, batch, 6\)")


@pytest.mark.parametrize(
    "read",
    [
        lambda x: ops.stack([x[t] for t in range(x.shape[0])]),
        lambda x: ops.stack(list(x)),
        lambda x: x * len(x),
        lambda x: x / math.sqrt(x.shape[1]),
        lambda x: x if x.shape[0] > 3 else -x,
        lambda x: x if x.shape[0] == 1 else -x,
        lambda x: x + ts.Tensor(np.zeros(x.shape, np.float32)),
        lambda x: x.squeeze(),
        lambda x: ops.split(x, 2)[0],
    ],
)
def test_reading_an_open_length_is_refused(read, tmp_path):
    refusal(read, tmp_path, r"reads the length of the axis (time|batch) as a number")


def test_no_counterpart_is_refused_by_name(tmp_path):
    class Inner(nn.Module):
        def forward(self, x):
            return ops.arctan2(x, x)

    class Outer(nn.Module):
        def __init__(self):
            self.inner = Inner()

        def forward(self, x):
            return self.inner(x)

    refusal(Outer(), tmp_path, r"inner/arctan2 has no counterpart .*onnx_handler\(arctan2\)")
    refusal(lambda x: x[x > 0], tmp_path, "chooses elements with a mask")
    refusal(lambda x: x[[0, 1], [1, 0]], tmp_path, "several arrays at once")
    refusal(lambda x: x + x[1:], tmp_path, "lengths time and time-1 are not always equal")
    refusal(lambda x: x.reshape(-1, 5), tmp_path, "leaves no length for -1")
    refusal(nn.Embedding(3, 4), tmp_path, "expects integer ids", {"ids": A})
    double = nn.Linear(6, 2, dtype="float64")
    refusal(double, tmp_path, r"weight is float64.*astype\('float32'\)")


def test_arguments_are_checked(tmp_path):
    path = tmp_path / "m.onnx"
    with pytest.raises(ValueError, match="returns 2 tensors; got 1 names"):
        io.export_onnx(nn.GRU(6, 4), path, {"x": X}, ["y"])
    with pytest.raises(ValueError, match="two inputs or outputs are called 'x'"):
        io.export_onnx(nn.Tanh(), path, {"x": X}, ["x"])
    with pytest.raises(TypeError, match=r"the input 'x' is an io.Input"):
        io.export_onnx(nn.Tanh(), path, {"x": ("time", 6)}, ["y"])
    with pytest.raises(TypeError, match="an axis is a length or a name"):
        io.Input("time", 2.5)
    with pytest.raises(TypeError, match="float32, int64, int32 or bool; got float64"):
        io.Input("time", dtype="float64")
    with pytest.raises(ValueError, match="in_features=6"):
        io.export_onnx(nn.Linear(6, 2), path, {"x": io.Input("batch", 5)}, ["y"])
    with pytest.raises(FileNotFoundError):
        io.export_onnx(nn.Tanh(), tmp_path / "none" / "m.onnx", {"x": X}, ["y"])
    assert not path.exists()


# -- handlers, the file -----------------------------------------------------------------------


@pytest.fixture
def handlers():
    """Forget the handlers that a test enters."""
    before = dict(HANDLERS)
    yield
    HANDLERS.clear()
    HANDLERS.update(before)


@pytest.mark.usefixtures("handlers")
def test_a_handler_of_ones_own(tmp_path):
    @ts.primitive
    def cube(x, /):
        return x * x * x

    class Twice(nn.Module):
        def forward(self, x):
            return ts.Tensor(2 * x.numpy())  # which reads numbers

    refusal(cube, tmp_path, "cube has no counterpart")
    refusal(Twice(), tmp_path, "reads numbers")

    @io.onnx_handler(cube)
    def _(graph, x):
        return graph.node("Pow", [x, 3.0], x.shape)

    @io.onnx_handler(Twice)
    def _(graph, module, x):
        return x * 2

    model = nn.Sequential(nn.Linear(6, 4), Twice())
    assert exported(lambda x: cube(model(x)), tmp_path, {"x": A}) < 1e-5

    @io.onnx_handler(cube)
    def _(graph, x):
        return graph.node("Pow", [x, 2.0], x.shape)

    with pytest.raises(io.ExportError, match="the output z differs from the model's by"):
        exported(lambda x: cube(x), tmp_path, {"x": A}, ["z"])
    assert session(tmp_path / "f.onnx").get_outputs()[0].name == "y"  # the file before


def test_a_subclass_with_its_own_forward_is_not_its_parent(tmp_path):
    class Shifted(nn.Embedding):
        def forward(self, ids):
            return super().forward(ids) + 1.0

    class Doubled(nn.GRU):
        def forward(self, x, state=None, lengths=None, mask=None):
            return super().forward(2 * x, state, lengths, mask)

    class Same(nn.LayerNorm):
        pass

    assert exported(Same(6), tmp_path, {"x": A}) < 1e-5
    assert exported(Shifted(5, 3), tmp_path, {"ids": IDS}) < 1e-5
    assert exported(Doubled(6, 4), tmp_path, {"x": A}, ["y", "h"]) < 1e-5


def test_what_the_file_says(tmp_path, rng):
    onnx = pytest.importorskip("onnx")
    model = Tagger(nn.LSTM(6, 4, bidirectional=True), 8, 3)
    inputs = {"ids": IDS, "lengths": LENGTHS}
    path = tmp_path / "m.onnx"
    io.export_onnx(model, path, inputs, ["scores", "h", "c"], metadata={"vocabulary": "αβγ"})
    file = onnx.load(path)
    onnx.checker.check_model(file, full_check=True)
    assert [o.version for o in file.opset_import if o.domain == ""] == [20]
    assert (file.producer_name, file.producer_version) == ("tinygrad_seq", ts.__version__)
    assert {p.key: p.value for p in file.metadata_props} == {"vocabulary": "αβγ"}
    assert file.graph.name == "Tagger"
    axes = [d.dim_param or d.dim_value for d in file.graph.output[0].type.tensor_type.shape.dim]
    assert axes == ["time", "batch", 3]
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in file.graph.initializer}
    np.testing.assert_array_equal(arrays["embed.weight"], model.embed.weight.detach().numpy())
    assert {"head.0.weight.T", "head.0.bias", "recur.W", "recur.R", "recur.B"} <= set(arrays)
    assert all(a.dtype in (np.float32, np.int64) for a in arrays.values())
    assert not any(n.op_type == "Dropout" for n in file.graph.node)


def test_weights_stand_in_the_file_once(tmp_path):
    onnx = pytest.importorskip("onnx")
    linear = nn.Linear(6, 6)
    io.export_onnx(lambda x: linear(linear(linear(x))), tmp_path / "m.onnx", {"x": X}, ["y"])
    file = onnx.load(tmp_path / "m.onnx")
    assert len(file.graph.initializer) == 2


def test_modes_come_back(tmp_path):
    model = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    model[1].training = False
    modes = [m.training for m in model.modules()]
    io.export_onnx(model, tmp_path / "m.onnx", {"x": X}, ["y"], check=True)
    assert [m.training for m in model.modules()] == modes
    dropped = nn.Dropout(0.5)  # reached by a function, which shows no modules
    io.export_onnx(lambda x: dropped(x), tmp_path / "m.onnx", {"x": X}, ["y"])
    assert dropped.training


def test_fixed_axes_are_numbers(tmp_path):
    model = nn.GRU(6, 4)
    io.export_onnx(model, tmp_path / "m.onnx", {"x": io.Input(5, 2, 6)}, ["y", "h"], check=True)
    loop = {"x": io.Input(5, "batch", 6)}
    assert (
        exported(lambda x: ops.stack([x[t] * t for t in range(x.shape[0])]), tmp_path, loop) < 1e-5
    )


def test_without_onnx_runtime_check_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install onnxruntime"):
        io.export_onnx(nn.Tanh(), tmp_path / "m.onnx", {"x": X}, ["y"], check=True)
    assert io.export_onnx(nn.Tanh(), tmp_path / "m.onnx", {"x": X}, ["y"]) is None


def test_combinations_of_options_do_not_share_state(tmp_path):
    """Exporting twice gives the same bytes."""
    model = Tagger(nn.GRU(6, 4), 4, 3)
    files = []
    for k in range(2):
        io.export_onnx(model, tmp_path / f"{k}.onnx", {"ids": IDS}, ["scores", "h"])
        files.append((tmp_path / f"{k}.onnx").read_bytes())
    assert files[0] == files[1]
