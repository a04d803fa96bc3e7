"""RNN, GRU and LSTM against PyTorch: outputs, final states and every gradient, to 1e-10."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn

pytestmark = pytest.mark.usefixtures("backend")

KINDS = {
    "tanh": (nn.RNN, "RNN", {}),
    "relu": (nn.RNN, "RNN", {"nonlinearity": "relu"}),
    "gru": (nn.GRU, "GRU", {}),
    "lstm": (nn.LSTM, "LSTM", {}),
    "lstm_proj": (nn.LSTM, "LSTM", {"proj_size": 2}),
}
CONFIGS = [
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 3, "bidirectional": True, "batch_first": True},
    {"bias": False, "num_layers": 2, "bidirectional": True},
]
STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 4, 6


def parts_of(state):
    return state if isinstance(state, tuple) else (state,)


def build(kind, dtype="float64", **config):
    make, _, extra = KINDS[kind]
    form = {"reset_after": True} if make is nn.GRU else {}
    return make(INPUTS, HIDDEN, **config, **extra, **form, dtype=dtype)


def twins(kind, **config):
    """A layer of ours in float64, and PyTorch's with the same weights."""
    torch = pytest.importorskip("torch")
    _, name, extra = KINDS[kind]
    ours = build(kind, **config)
    theirs = getattr(torch.nn, name)(INPUTS, HIDDEN, **config, **extra, dtype=torch.float64)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    return ours, theirs


def zero_state(layer, batch=(BATCH,)):
    """Arrays of the shapes of the initial state."""
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = (layer.hidden_size,)
    if isinstance(layer, nn.LSTM):
        sizes = (layer.weight_hh_l0.shape[1], layer.hidden_size)
    return tuple(np.zeros((count, *batch, size)) for size in sizes)


def as_state(parts):
    return tuple(parts) if len(parts) > 1 else parts[0]


def check_against_torch(kind, config, batch=(BATCH,), steps=STEPS, given=True, lengths=None):
    """Outputs, final states, gradients of x, of the initial state and of each parameter."""
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(0)
    ours, theirs = twins(kind, **config)
    first = config.get("batch_first", False) and batch
    x = draw.normal(size=(*batch, steps, INPUTS) if first else (steps, *batch, INPUTS))
    state = [draw.normal(size=part.shape) for part in zero_state(ours, batch)] if given else []

    our_x = ts.Tensor(x, requires_grad=True)
    our_s = [ts.Tensor(part, requires_grad=True) for part in state]
    our_y, our_last = ours(our_x, as_state(our_s) if given else None, lengths)
    their_x = torch.tensor(x, requires_grad=True)
    their_s = [torch.tensor(part, requires_grad=True) for part in state]
    packed = their_x
    if lengths is not None:
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            their_x, torch.tensor(lengths), batch_first=bool(first), enforce_sorted=False
        )
    their_y, their_last = theirs(packed, as_state(their_s) if given else None)
    if lengths is not None:
        their_y, _ = torch.nn.utils.rnn.pad_packed_sequence(
            their_y, batch_first=bool(first), total_length=steps
        )

    pairs = [(our_y, their_y), *zip(parts_of(our_last), parts_of(their_last), strict=True)]
    our_loss, their_loss = 0.0, 0.0
    for got, want in pairs:
        assert got.shape == tuple(want.shape)
        np.testing.assert_allclose(host(got), want.detach().numpy(), rtol=0, atol=1e-10)
        upstream = draw.normal(size=got.shape)
        our_loss = our_loss + (got * upstream).sum()
        their_loss = their_loss + (want * torch.tensor(upstream)).sum()
    our_loss.backward()
    their_loss.backward()
    leaves = [("x", our_x, their_x)]
    leaves += [(f"state {k}", *pair) for k, pair in enumerate(zip(our_s, their_s, strict=True))]
    params = dict(theirs.named_parameters())
    leaves += [(name, p, params[name]) for name, p in ours.named_parameters()]
    assert [name for name, _ in ours.named_parameters()] == list(params)
    for name, got, want in leaves:
        np.testing.assert_allclose(
            host(got.grad), host(want.grad), rtol=0, atol=1e-10, err_msg=name
        )


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [True, False], ids=["given", "missing"])
def test_equals_pytorch(kind, config, given):
    check_against_torch(kind, config, given=given)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(), (1,), (2,)], ids=["unbatched", "one", "two"])
@pytest.mark.parametrize("steps", [1, 4])
def test_equals_pytorch_at_the_small_ends(kind, batch, steps):
    config = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    check_against_torch(kind, config, batch=batch, steps=steps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_lengths_equal_pytorchs_packed_sequences(kind, config):
    check_against_torch(kind, config, lengths=[2, 5, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_second_order_equals_pytorch(kind):
    """Gradients of the squared norm of the first gradients: of x, the state and each weight."""
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(1)
    ours, theirs = twins(kind, bidirectional=True)
    x, state = draw.normal(size=(3, 2, INPUTS)), zero_state(ours, (2,))
    state = [draw.normal(size=part.shape) for part in state]
    up = draw.normal(size=ours(x)[0].shape[-1])

    our_in = [ts.Tensor(v, requires_grad=True) for v in (x, *state)]
    our_all = our_in + list(ours.parameters())
    y, _ = ours(our_in[0], as_state(our_in[1:]))
    first = ts.autograd.grad((y * up).sum(), our_all, create_graph=True)
    sum((g * g).sum() for g in first).backward()

    their_in = [torch.tensor(v, requires_grad=True) for v in (x, *state)]
    their_all = their_in + list(theirs.parameters())
    y, _ = theirs(their_in[0], as_state(their_in[1:]))
    first = torch.autograd.grad((y * torch.tensor(up)).sum(), their_all, create_graph=True)
    sum((g * g).sum() for g in first).backward()
    for got, want in zip(our_all, their_all, strict=True):
        np.testing.assert_allclose(host(got.grad), host(want.grad), rtol=0, atol=1e-9)


def test_weights_move_both_ways_unchanged():
    torch = pytest.importorskip("torch")
    ours = nn.LSTM(INPUTS, HIDDEN, num_layers=2, bidirectional=True, proj_size=3)
    theirs = torch.nn.LSTM(INPUTS, HIDDEN, num_layers=2, bidirectional=True, proj_size=3)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(host(getattr(ours, name)), host(value))
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})


def test_pytorchs_gru_is_refused_by_the_published_form():
    torch = pytest.importorskip("torch")
    weights = torch.nn.GRU(INPUTS, HIDDEN, bidirectional=True).state_dict()
    with pytest.raises(ValueError, match="build with reset_after=True"):
        nn.GRU(INPUTS, HIDDEN, bidirectional=True).load_state_dict(weights)
    nn.GRU(INPUTS, HIDDEN, bidirectional=True, reset_after=True).load_state_dict(weights)


def test_the_published_gru_has_one_bias_a_gate():
    layer = nn.GRU(INPUTS, HIDDEN, num_layers=2)
    assert [n for n in layer.state_dict() if "bias" in n] == ["bias_ih_l0", "bias_ih_l1"]
    with pytest.raises(ValueError, match="build with reset_after=False"):
        nn.GRU(INPUTS, HIDDEN, num_layers=2, reset_after=True).load_state_dict(layer.state_dict())


@pytest.mark.parametrize("make", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_layer_is_its_cells_unrolled(make):
    """Two bidirectional layers, composed by hand from Recurrent over the layer's own cells."""
    layer = make(INPUTS, HIDDEN, num_layers=2, bidirectional=True, dtype="float64")
    x = np.random.default_rng(0).normal(size=(STEPS, BATCH, INPUTS))
    y, last = layer(x)
    by_hand, finals = x, []
    for level in layer.levels:
        ahead, state = nn.Recurrent(level.forwards.cell)(by_hand)
        back, state_back = nn.Recurrent(level.backwards.cell, reverse=True)(by_hand)
        by_hand = ts.concatenate([ahead, back], axis=-1)
        finals += [parts_of(state), parts_of(state_back)]
    np.testing.assert_array_equal(host(y), host(by_hand))
    for k, part in enumerate(parts_of(last)):
        np.testing.assert_array_equal(host(part), np.stack([host(f[k]) for f in finals]))


@pytest.mark.parametrize("make", [nn.RNN, nn.GRU, nn.LSTM])
def test_an_empty_batch_works(make):
    layer = make(INPUTS, HIDDEN, num_layers=2, bidirectional=True)
    y, last = layer(np.zeros((STEPS, 0, INPUTS), "float32"), lengths=[])
    assert y.shape == (STEPS, 0, 2 * HIDDEN)
    assert all(part.shape == (4, 0, HIDDEN) for part in parts_of(last))
    y.sum().backward()
    assert all((host(p.grad) == 0).all() for p in layer.parameters())


def test_dropout_acts_between_layers_in_training_only():
    layer = nn.LSTM(INPUTS, HIDDEN, num_layers=2, dropout=0.5, dtype="float64")
    x = np.random.default_rng(0).normal(size=(STEPS, BATCH, INPUTS))
    plain = nn.LSTM(INPUTS, HIDDEN, num_layers=2, dtype="float64")
    plain.load_state_dict(layer.state_dict())
    y, (h, c) = layer(x)
    y_plain, (h_plain, c_plain) = plain(x)
    # The first layer is untouched; only what the second reads has changed.
    np.testing.assert_array_equal(host(h)[0], host(h_plain)[0])
    np.testing.assert_array_equal(host(c)[0], host(c_plain)[0])
    assert np.abs(host(y) - host(y_plain)).max() > 1e-3
    again, _ = layer(x)
    assert not np.array_equal(host(y), host(again))
    layer.eval()
    np.testing.assert_array_equal(host(layer(x)[0]), host(y_plain))
    layer.train()
    ts.manual_seed(3)
    one = host(layer(x)[0])
    ts.manual_seed(3)
    np.testing.assert_array_equal(host(layer(x)[0]), one)


def test_dropout_draws_a_new_mask_for_every_step():
    """The second layer copies its input (relu, identity weights), so the mask can be read off."""
    layer = nn.RNN(1, 50, num_layers=2, nonlinearity="relu", bias=False, dropout=0.5)
    with ts.no_grad():
        layer.weight_ih_l0.copy_(np.ones((50, 1), "f4"))
        layer.weight_hh_l0.copy_(np.zeros((50, 50), "f4"))
        layer.weight_ih_l1.copy_(np.eye(50, dtype="f4"))
        layer.weight_hh_l1.copy_(np.zeros((50, 50), "f4"))
    y, _ = layer(np.ones((3, 1, 1), "f4"))
    masks = host(y)[:, 0]
    assert set(np.unique(masks)) == {0.0, 2.0}
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[1], masks[2])


def test_dropout_of_a_single_layer_warns():
    with pytest.warns(UserWarning, match="no effect with num_layers=1") as told:
        nn.GRU(INPUTS, HIDDEN, dropout=0.1)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.GRU(INPUTS, HIDDEN, num_layers=2, dropout=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_stays_float32_everywhere(kind, monkeypatch):
    """No operation gives a float64 array, in the forward or the backward pass."""
    layer = build(kind, dtype=None, num_layers=2, bidirectional=True, dropout=0.3)
    x = np.random.default_rng(0).normal(size=(STEPS, BATCH, INPUTS)).astype("f4")
    x = ts.Tensor(x, requires_grad=True)
    layer(x, lengths=[3, 5, 1])  # derived once: its gradients are those of the loop from now on
    kinds = watch_dtypes(monkeypatch)
    y, last = layer(x, lengths=[3, 5, 1])
    loss = (y * y).sum() + sum(part.sum() for part in parts_of(last))
    loss.backward()
    assert y.dtype == np.float32
    assert all(part.dtype == np.float32 for part in parts_of(last))
    assert all(tensor.grad.dtype == np.float32 for tensor in (x, *layer.parameters()))
    assert kinds == {np.dtype("float32")}


def watch_dtypes(monkeypatch):
    """The floating dtypes of all that primitives and their rules return from now on."""
    seen = set()
    pullback = ts.Primitive.pullback

    def watched_pullback(*args):
        for source, gradient in pullback(*args):
            seen.add(gradient.dtype)
            yield source, gradient

    monkeypatch.setattr(ts.Primitive, "pullback", watched_pullback)
    for primitive in ts.autograd.PRIMITIVES.values():

        def watched(*args, _forward=primitive.forward, **kwargs):
            out = _forward(*args, **kwargs)
            for value in out if isinstance(out, tuple | list) else [out]:
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    seen.add(value.dtype)
            return out

        monkeypatch.setattr(primitive, "forward", watched)
    return seen


@pytest.mark.parametrize("kind", ["tanh", "gru", "lstm", "lstm_proj"])
def test_saturated_gates_stay_finite(kind):
    layer = build(kind, dtype=None, num_layers=2)
    signs = np.random.default_rng(0).choice([-1e4, 1e4], size=(STEPS, BATCH, INPUTS))
    x = ts.Tensor(signs.astype("f4"), requires_grad=True)
    y, _ = layer(x)
    y.sum().backward()
    assert np.isfinite(host(y)).all()
    assert all(np.isfinite(host(t.grad)).all() for t in (x, *layer.parameters()))


def test_a_float32_layer_is_close_to_its_float64_twin():
    single = nn.LSTM(INPUTS, HIDDEN, num_layers=2, bidirectional=True)
    double = copy.deepcopy(single).astype("float64")
    x = np.random.default_rng(0).normal(size=(STEPS, BATCH, INPUTS))
    np.testing.assert_allclose(
        host(single(x.astype("f4"))[0]), host(double(x)[0]), rtol=0, atol=1e-6
    )


def test_flat_names_read_and_set_the_parameters_of_the_cells():
    layer = nn.GRU(INPUTS, HIDDEN, num_layers=2, bidirectional=True)
    assert layer.weight_ih_l1_reverse is layer.levels[1].backwards.cell.weight_ih
    assert layer.weight_ih_l1_reverse.name == "weight_ih_l1_reverse"
    new = nn.Parameter(np.zeros((3 * HIDDEN, HIDDEN), "f4"))
    layer.weight_hh_l0_reverse = new
    assert dict(layer.named_parameters())["weight_hh_l0_reverse"] is new
    assert layer.levels[0].backwards.cell.weight_hh is new
    assert "weight_hh_l0_reverse" in dir(layer)
    with pytest.raises(TypeError, match="weight_hh is a Parameter"):
        layer.weight_hh_l0 = np.zeros((3 * HIDDEN, HIDDEN))
    with pytest.raises(AttributeError, match="no attribute 'weight_ih_l2'"):
        _ = layer.weight_ih_l2
    with pytest.raises(AttributeError, match="no attribute 'bias_hh_l0'"):
        _ = layer.bias_hh_l0  # the published GRU has none


def test_a_subclass_may_add_parameters_and_modules():
    class Tagger(nn.LSTM):
        def __init__(self):
            super().__init__(INPUTS, HIDDEN)
            self.start = nn.Parameter(np.zeros((1, 1, HIDDEN), "f4"))
            self.head = nn.Linear(HIDDEN, 2)

    names = [name for name, _ in Tagger().named_parameters()]
    assert names == [*nn.LSTM(INPUTS, HIDDEN).state_dict(), "start", "head.weight", "head.bias"]


def test_copies_are_independent():
    layer = nn.LSTM(INPUTS, HIDDEN, bidirectional=True)
    x = np.ones((2, 1, INPUTS), "f4")
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(host(twin(x)[0]), host(layer(x)[0]))
        with ts.no_grad():
            twin.weight_hh_l0.copy_(twin.weight_hh_l0 * 2 + 1)
        assert not np.array_equal(host(twin.weight_hh_l0), host(layer.weight_hh_l0))


def test_repr_is_the_call_that_makes_it():
    layer = nn.GRU(4, 6, 2, bias=False, batch_first=True, bidirectional=True, reset_after=True)
    assert repr(layer) == (
        "GRU(4, 6, num_layers=2, bias=False, reset_after=True, batch_first=True, "
        "bidirectional=True)  # 1,008 parameters"
    )


F4 = np.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: m(np.ones((35, 20, 30), F4)),
            ValueError,
            r"LSTM expects input_size=28 on the last axis; got x of shape \(35, 20, 30\)",
        ),
        (lambda m: m(np.ones((5, 2, 28))), TypeError, "LSTM expects x of float32.*float64"),
        (lambda m: m(np.ones((5, 2, 28), int)), TypeError, "LSTM expects x of float32.*int64"),
        (lambda m: m(np.ones((2, 5, 2, 28), F4)), ValueError, r"of shape \(T, N, 28\), or"),
        (lambda m: m(np.ones(28, F4)), ValueError, r"\(T, 28\) for one sequence; got \(28,\)"),
        (lambda m: m(np.ones((0, 2, 28), F4)), ValueError, "at least one step"),
        (
            lambda m: m(np.ones((5, 2, 28), F4), np.ones((1, 2, 8), F4)),
            TypeError,
            r"LSTM expects its state as a tuple \(h_0, c_0\); got a ndarray",
        ),
        (
            lambda m: m(np.ones((5, 2, 28), F4), (np.ones((1, 2, 8), F4), None)),
            TypeError,
            r"\(h_0, c_0\)",
        ),
        (
            lambda m: m(np.ones((5, 2, 28), F4), (np.ones((2, 8), F4), np.ones((1, 2, 8), F4))),
            ValueError,
            r"LSTM expects h_0 of shape \(1, 2, 8\); got \(2, 8\)",
        ),
        (
            lambda m: m(np.ones((5, 2, 28), F4), (np.ones((1, 2, 8), F4), np.ones((1, 2, 8)))),
            TypeError,
            "LSTM expects c_0 of float32, as its weights; got float64",
        ),
        (lambda m: m(np.ones((5, 28), F4), lengths=[3]), ValueError, "lengths need a batch"),
    ],
)
def test_what_does_not_fit_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call(nn.LSTM(28, 8))


def test_a_tuple_for_a_state_of_one_part_is_told():
    with pytest.raises(TypeError, match="GRU expects its state as one tensor; got a tuple of 2"):
        nn.GRU(3, 4)(np.ones((2, 1, 3), F4), (np.ones((1, 1, 4), F4), np.ones((1, 1, 4), F4)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.LSTM(0, 4), ValueError, "LSTM expects input_size of at least 1; got 0"),
        (lambda: nn.LSTM(3, -4), ValueError, "hidden_size of at least 1; got -4"),
        (lambda: nn.GRU(3, 4, 0), ValueError, "GRU expects num_layers of at least 1; got 0"),
        (lambda: nn.GRU(3, 4, 2, dropout=1.5), ValueError, "dropout between 0 and 1; got 1.5"),
        (
            lambda: nn.RNN(3, 4, nonlinearity="elu"),
            ValueError,
            '"tanh" or "relu", or a function of tensors; got \'elu\'',
        ),
        (lambda: nn.LSTM(3, 4, proj_size=9), ValueError, "smaller than hidden_size=4; got 9"),
        (lambda: nn.LSTM(3, 4, proj_size=-1), ValueError, "proj_size must be 0, for none"),
        (lambda: nn.LSTM(3, 4, dtype=int), TypeError, "floating dtype"),
    ],
)
def test_settings_are_checked(make, error, message):
    with pytest.raises(error, match=message):
        make()
