"""What is computed on a device is what NumPy computes: operations, layers, losses, training.

The tests run on the strict fake GPU, with ``-m gpu`` on a real one, and on NumPy where that tells
something. The op table and the layers are held to the oracles on NumPy elsewhere; here the devices
are held to NumPy, values and gradients of both orders.
"""

from __future__ import annotations

import copy
import functools
import pickle

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ops.cases import cases_of
from ops.table import DIFFERENTIABLE, FUNCTIONS, QUESTIONS, bound, host_only

import tinygrad_seq as ts
from tinygrad_seq import data, nn, ops, optim
from tinygrad_seq.autograd import grad
from tinygrad_seq.backend import backend_named, use_backend
from tinygrad_seq.backend.cupy import library
from tinygrad_seq.testing import gradcheck

pytestmark = pytest.mark.usefixtures("backend")
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
FEW = settings(max_examples=6)
ELSEWHERE = pytest.mark.parametrize(
    "backend", ["fake", pytest.param("cupy", marks=pytest.mark.gpu)], indirect=True
)
"""NumPy's numbers need not be compared with themselves."""


def host(t):
    return t.detach().numpy() if isinstance(t, ts.Tensor) else np.asarray(t)


def several(result):
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def on_numpy(test):
    """The same on NumPy."""
    with use_backend("numpy"):
        return test()


def assert_close(found, expected):
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            assert x.shape == y.shape
            assert x.dtype == y.dtype
            np.testing.assert_allclose(x, y, **CLOSE)


# -- operations ---------------------------------------------------------------------------------


def orders(f, args):
    """Values, gradients, and gradients of those, for upstream gradients 1, 2, 3, ..."""
    leaves = [
        ts.Tensor(x, requires_grad=x.dtype.kind == "f") if isinstance(x, np.ndarray) else x
        for x in args
    ]
    outputs = several(f(*leaves))
    upstream = [ts.Tensor(1.0 + np.arange(y.size).reshape(y.shape)) for y in outputs]
    wanted = [x for x in leaves if isinstance(x, ts.Tensor) and x.requires_grad]
    first = grad(list(outputs), wanted, upstream, create_graph=True, allow_unused=True)
    recorded = [g for g in first if g is not None and g.requires_grad]
    second = ()
    if recorded:
        ones = [ts.Tensor(np.cos(np.arange(g.size)).reshape(g.shape)) for g in recorded]
        second = grad(recorded, wanted, ones, allow_unused=True)
    return [None if t is None else host(t) for t in (*outputs, *first, *second)]


@ELSEWHERE
@pytest.mark.parametrize("name", [host_only(name) for name in FUNCTIONS])
@FEW
@given(case=st.data())
def test_operations_to_second_order(name, case):
    args, kwargs = case.draw(cases_of(name, FUNCTIONS[name]))

    def to_here(x):
        return ops.shape.to(x, ts.zeros(1).backend)

    f = to_here if name == "to" else bound(name, kwargs)
    assert_close(orders(f, args), on_numpy(lambda: orders(f, args)))


@pytest.mark.parametrize("name", QUESTIONS)
@FEW
@given(case=st.data())
def test_questions(name, case):
    args, kwargs = case.draw(cases_of(name, QUESTIONS[name]))
    f = bound(name, kwargs)
    found = host(f(*(ts.Tensor(x) for x in args)))
    np.testing.assert_array_equal(found, np.asarray(f(*args)))


def test_results_are_where_their_arguments_are(backend):
    """Also where another backend is chosen by then."""
    x = ts.Tensor([1.0, -2.0], requires_grad=True)
    with use_backend("numpy"):
        y = ts.softmax(x * 2 + 1).sum() + x[[0, 0]].sum() + x.var()
        y.backward()
    assert y.backend == x.backend == x.grad.backend
    assert x.backend == ("numpy" if backend == "numpy" else "cupy")


def test_rounding_of_float32_stays_float32():
    x = ts.Tensor(np.float32([0.1, 3.0]), requires_grad=True)
    for f in (ops.sigmoid, ops.erf, ops.gelu, ops.log_softmax, ops.arithmetic.quotient, ops.norm):
        y = f(x, 3.0) if f is ops.arithmetic.quotient else f(x)
        y.sum().backward()
        assert y.dtype == x.grad.dtype == np.float32


@pytest.mark.parametrize("scanned", [2, 100])
@FEW
@given(index=st.lists(st.integers(-3, 2), min_size=1, max_size=6), seed=st.integers(0, 99))
@example(index=[0, 1, 0, -3, 1], seed=1)
def test_repeated_positions(scanned, index, seed):
    """What is added adds up; of what is set the last stays; gradients know which."""
    device_index = seed % 2
    before, library.SCANNED = library.SCANNED, scanned
    try:
        check_repeated_positions(index, seed, device_index)
    finally:
        library.SCANNED = before


def check_repeated_positions(index, seed, device_index):
    values = np.random.default_rng(seed).normal(size=(len(index), 2))

    def run():
        x = ts.Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
        v = ts.Tensor(values, requires_grad=True)
        at = ts.Tensor(np.array(index)) if device_index else np.array(index)
        results = (
            ts.index_add(x, at, v),
            ts.index_set(x, at, v),
            ts.index_set(x, (at, 1), v[:, 0]),
        )
        sum((y * ts.arange(6.0, dtype="f8").reshape(3, 2)).sum() for y in results).backward()
        t = ts.zeros(3, 2, dtype="f8")
        t[at] = v.detach()
        return [host(y) for y in (*results, x.grad, v.grad, t)]

    assert_close(run(), on_numpy(run))


def test_a_host_index_out_of_range_raises():
    x = ts.ones(3, 4)
    for index in (np.array([0, 3]), (slice(None), np.array([-5])), [[7]]):
        with pytest.raises(IndexError, match="out of bounds"):
            x[index]


# -- layers -------------------------------------------------------------------------------------

LAYERS = {
    "RNN": (nn.RNN, {}),
    "RNN relu": (nn.RNN, {"nonlinearity": "relu"}),
    "GRU": (nn.GRU, {}),
    "GRU reset after": (nn.GRU, {"reset_after": True}),
    "LSTM": (nn.LSTM, {}),
    "LSTM projected": (nn.LSTM, {"proj_size": 2}),
}


def values_and_gradients(make, x, **options):
    """Everything that a recurrent layer gives, from weights that a seed decides."""
    ts.manual_seed(5)
    layer = make()
    x = ts.Tensor(x, requires_grad=True)
    y, state = layer(x, **options)
    parts = (y, *several(state))
    loss = sum((p * ts.cos(ts.arange(p.size, dtype=p.dtype)).reshape(p.shape)).sum() for p in parts)
    loss.backward()
    return [host(t) for t in (*parts, x.grad, *(p.grad for p in layer.parameters()))]


@ELSEWHERE
@pytest.mark.parametrize("kind", LAYERS)
@FEW
@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 3),
    lengths=st.none() | st.lists(st.integers(1, 4), min_size=3, max_size=3),
    options=st.fixed_dictionaries(
        {"bidirectional": st.booleans(), "bias": st.booleans(), "num_layers": st.integers(1, 2)}
    ),
    seed=st.integers(0, 99),
)
def test_recurrent_layers(kind, sizes, lengths, options, seed):
    """Forward and backward kernels over every option, padding and both directions."""
    layer, more = LAYERS[kind]
    T, N, size = (4, 3, sizes[2]) if lengths else sizes
    make = functools.partial(layer, size, 3, dtype="f8", **more, **options)
    x = np.random.default_rng(seed).normal(size=(T, N, size))
    run = functools.partial(values_and_gradients, make, x, lengths=lengths)
    assert_close(run(), on_numpy(run))


@pytest.mark.parametrize("kind", LAYERS)
def test_second_order_and_steps_one_by_one(kind):
    """The specification, which is run where the backward pass itself is recorded."""
    layer, more = LAYERS[kind]

    def run(unrolled):
        ts.manual_seed(3)
        net = layer(2, 3, dtype="f8", **more)
        x = ts.Tensor(np.random.default_rng(1).normal(size=(3, 2, 2)), requires_grad=True)
        if unrolled:
            with nn.unrolled():
                y, _ = net(x, mask=np.array([[1, 1], [1, 0], [0, 1]], bool))
        else:
            y, _ = net(x, mask=np.array([[1, 1], [1, 0], [0, 1]], bool))
        (g,) = grad((y * y).sum(), [x], create_graph=True)
        return [host(t) for t in (y, g, *grad((g * g).sum(), list(net.parameters())))]

    assert_close(run(False), on_numpy(lambda: run(True)))


MODULES = {
    "layer norm": lambda: nn.LayerNorm(4, dtype="f8"),
    "linear": lambda: nn.Linear(4, 3, dtype="f8"),
    "zoneout": lambda: nn.Recurrent(nn.Zoneout(nn.GRUCell(4, 4, dtype="f8"), 0.3)).eval(),
    "bidirectional": lambda: nn.Bidirectional(
        nn.Recurrent(nn.LSTMCell(4, 2, dtype="f8")),
        nn.Recurrent(nn.GRUCell(4, 3, dtype="f8"), reverse=True),
    ),
}


@ELSEWHERE
@pytest.mark.parametrize("kind", MODULES)
def test_other_modules(kind):
    def run():
        ts.manual_seed(2)
        module = MODULES[kind]()
        x = ts.Tensor(np.random.default_rng(1).normal(size=(3, 2, 4)), requires_grad=True)
        result = module(x)
        y = result[0] if isinstance(result, tuple) else result
        (y * y).sum().backward()
        return [host(t) for t in (y, x.grad, *(p.grad for p in module.parameters()))]

    assert_close(run(), on_numpy(run))


@ELSEWHERE
def test_embedding_counts_every_use_of_a_row():
    def run():
        ts.manual_seed(0)
        table = nn.Embedding(5, 3, padding_idx=0, dtype="f8")
        y = table(np.array([[1, 1, 4], [0, 1, 4]]))
        (y * y).sum().backward()
        return [host(y), host(table.weight.grad)]

    assert_close(run(), on_numpy(run))
    with pytest.raises(IndexError, match="from 0 to 4; got 5"):
        nn.Embedding(5, 3)(np.array([1, 5]))
    with pytest.raises(IndexError, match="from 0 to 4; got -1"):
        nn.Embedding(5, 3)(ts.Tensor(np.array([-1])))


# -- random numbers -----------------------------------------------------------------------------


def test_the_start_is_the_same_bit_by_bit():
    """Weights and batches are drawn on the host, whatever computes."""

    def run():
        ts.manual_seed(7)
        net = nn.LSTM(5, 6, num_layers=2)
        batches = data.RandomWindows(np.arange(50), steps=4, batch_size=3)
        return [*net.state_dict().values(), *(x for batch in batches for x in batch)]

    for x, y in zip(run(), on_numpy(run), strict=True):
        assert x.tobytes() == y.tobytes()


def test_dropout_follows_the_generator_and_its_state():
    drop, x = nn.Dropout(0.25), ts.ones(200, 50)
    ts.manual_seed(1)
    state = ts.get_rng_state()
    first, second = host(drop(x)), host(drop(x))
    ts.set_rng_state(state)
    np.testing.assert_array_equal(host(drop(x)), first)
    assert set(np.unique(first)) == {0, np.float32(1 / 0.75)}
    assert abs((first == 0).mean() - 0.25) < 0.02
    assert 0.3 < ((first == 0) & (second == 0)).mean() / 0.25**2 < 1.7
    assert host(drop(x)).dtype == np.float32


def test_checkpointed_segments_draw_the_same_masks():
    x = ts.ones(30, requires_grad=True)
    y = ts.recompute(nn.Dropout(0.5), x)
    y.sum().backward()
    np.testing.assert_array_equal(host(x.grad), host(y))


# -- losses, optimizers, clipping ---------------------------------------------------------------


@ELSEWHERE
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 0.0, 1.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(reduction, weight, smoothing):
    targets = np.array([[0, 3, -100], [2, 2, 1]])
    scores = np.random.default_rng(3).normal(size=(2, 3, 4)) * 4
    scores[0, 2] = np.nan  # ignored
    scores[1, 0] = [1e4, -1e4, 0, 1e4]

    def run():
        x = ts.Tensor(scores, requires_grad=True)
        loss = nn.cross_entropy(
            x, targets, weight=weight, reduction=reduction, label_smoothing=smoothing
        )
        total = loss.sum()
        total.backward(retain_graph=True)
        (g,) = grad(total, [x], create_graph=True)
        (second,) = grad((g * g).sum(), [x])
        return [host(loss), host(x.grad), host(g), host(second)]

    assert_close(run(), on_numpy(run))


def test_a_mean_over_nothing_is_zero():
    x = ts.Tensor(np.full((2, 3), np.nan), requires_grad=True)
    for weight in (None, ts.ones(3, dtype="f8")):
        loss = nn.cross_entropy(x, np.array([-100, -100]), weight=weight)
        x.grad = None
        loss.backward()
        assert loss.item() == 0
        assert not host(x.grad).any()


@ELSEWHERE
def test_other_losses():
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(4, 3)), rng.uniform(size=(4, 3))

    def run():
        p = ts.Tensor(x, requires_grad=True)
        loss = nn.bce_with_logits(p, t, pos_weight=[1.0, 2.0, 3.0]) + nn.mse_loss(p, t)
        loss = loss + nn.nll_loss(ts.log_softmax(p), np.array([0, 2, 1, 1]))
        loss.backward()
        return [host(loss), host(p.grad)]

    assert_close(run(), on_numpy(run))


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.2),
    "Nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.1, momentum=0.5, centered=True),
    "Adam": lambda p: optim.Adam(p, lr=0.1, weight_decay=0.05),
    "amsgrad": lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1),
}


def train(make, steps, skip=(), saved=None, dtype="f8"):
    """Some steps from drawn gradients; at those in ``skip`` one parameter has none."""
    rng = np.random.default_rng(2)
    shapes = [(3, 4), (5,), (), (2, 1, 40)]
    params = [ts.Tensor(rng.normal(size=s).astype(dtype), requires_grad=True) for s in shapes]
    optimizer = make(params)
    for step in range(steps):
        for p in params:
            g = rng.normal(size=p.shape).astype(dtype)
            p.grad = None if step in skip and p is params[1] else ts.Tensor(g)
        if saved == step:  # out and in again
            optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step()
    state = optimizer.state_dict()["state"]
    kept = [np.asarray(state[k][n]) for k in sorted(state) for n in sorted(state[k])]
    return [host(p) for p in params] + kept


@ELSEWHERE
@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("skip", [(), (1, 3)])
def test_optimizers(kind, skip):
    """Also where a parameter has no gradient at times, and a state goes out and in again."""
    run = functools.partial(train, OPTIMIZERS[kind], 6, skip, saved=4)
    assert_close(run(), on_numpy(run))


@ELSEWHERE
def test_clipping():
    def run():
        rng = np.random.default_rng(4)
        params = [ts.zeros(*s, dtype="f8", requires_grad=True) for s in ((3, 2), (4,), ())]
        norms = []
        for limit in (0.5, 100.0):
            for p in params:
                p.grad = ts.Tensor(rng.normal(size=p.shape))
            norms.append(np.float64(float(optim.clip_grad_norm_(params, limit))))
        optim.clip_grad_value_(params, 0.1)
        return norms + [host(p.grad) for p in params]

    assert_close(run(), on_numpy(run))


def test_clipping_says_when_asked_that_a_gradient_is_no_number():
    p = ts.ones(2, requires_grad=True)
    p.grad = ts.Tensor([np.inf, 1.0])
    with pytest.raises(RuntimeError, match="the norm of the gradients is inf"):
        optim.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)


# -- a model, end to end ------------------------------------------------------------------------


class CharModel(nn.Module):
    def __init__(self, vocabulary, dropout=0.0):
        self.embed = nn.Embedding(vocabulary, 8)
        self.recur = nn.LSTM(8, 16, num_layers=2, dropout=dropout)
        self.read = nn.Linear(16, vocabulary)

    def forward(self, ids, state=None):
        h, state = self.recur(self.embed(ids), state)
        return self.read(h), state


TEXT = "the quick brown fox jumps over the lazy dog. " * 8


def start(dropout=0.0):
    tokenizer = data.CharTokenizer.from_text(TEXT)
    batches = data.Streams(tokenizer.encode(TEXT), steps=8, batch_size=4)
    model = CharModel(len(tokenizer), dropout)
    return model, optim.Adam(model.parameters(), lr=0.03), batches


def epoch(model, optimizer, batches, losses):
    state = None
    for inputs, targets in batches:
        scores, state = model(inputs, state)
        loss = nn.cross_entropy(scores, targets)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state = tuple(s.detach() for s in state)
        losses.append(loss.detach())


def test_the_character_model_learns_as_on_numpy():
    def run():
        ts.set_default_dtype("f8")
        ts.manual_seed(0)
        parts, losses = start(), []
        for _ in range(2):
            epoch(*parts, losses)
        return [np.array([loss.item() for loss in losses]), *parts[0].state_dict().values()]

    found, expected = run(), on_numpy(run)
    assert found[0][-5:].mean() < 0.8 * found[0][0]
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-9)  # rounding grows as it trains


def test_a_run_is_the_same_bit_by_bit_when_repeated():
    def run():
        ts.manual_seed(0)
        parts = start(dropout=0.2)
        epoch(*parts, [])
        return parts[0].state_dict()

    first, second = run(), run()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_checkpoints_know_no_device(backend, tmp_path, ending):
    """A run saved here goes on bit for bit here, and loads on NumPy with the same numbers."""
    if ending == "safetensors":
        pytest.importorskip("safetensors")
    ts.manual_seed(0)
    model, optimizer, batches = start(dropout=0.2)
    epoch(model, optimizer, batches, [])
    saved = ts.Checkpoint(model=model, optimizer=optimizer, data=batches)
    saved.save(tmp_path / f"run.{ending}", scores=ts.ones(2), note=3)
    at_saving = model.state_dict()
    epoch(model, optimizer, batches, [])

    ts.manual_seed(99)
    again, optimizer2, batches2 = start(dropout=0.2)
    parts = ts.Checkpoint(model=again, optimizer=optimizer2, data=batches2)
    notes = parts.restore(tmp_path / f"run.{ending}")
    assert notes["scores"].backend == ts.ones(1).backend
    epoch(again, optimizer2, batches2, [])
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value)
    with use_backend("numpy"):
        elsewhere, optimizer3, batches3 = start(dropout=0.2)
        parts = ts.Checkpoint(model=elsewhere, optimizer=optimizer3, data=batches3)
        parts.restore(tmp_path / f"run.{ending}")
    for name, value in elsewhere.state_dict().items():
        np.testing.assert_array_equal(value, at_saving[name])


def test_a_model_moves_in_the_middle_of_training(backend):
    """There and back: the same parameters, whose optimizer goes on with what it remembers."""

    def run(move):
        with use_backend("numpy"):
            ts.set_default_dtype("f8")
            ts.manual_seed(0)
            model, optimizer, batches = start()
            epoch(model, optimizer, batches, [])
            before = list(model.parameters())
            assert model.to(move) is model
            assert all(p.backend == move for p in model.parameters())
            epoch(model, optimizer, batches, [])
            model.to("numpy")
            epoch(model, optimizer, batches, [])
        assert all(p is q for p, q in zip(before, model.parameters(), strict=True))
        return model.state_dict()

    found, expected = run("numpy" if backend == "numpy" else "cupy"), run("numpy")
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-7, atol=1e-9)


def test_to_and_back_is_on_the_graph(backend):
    name = ts.zeros(1).backend
    x = ts.Tensor([1.0, 2.0], requires_grad=True).to("numpy").detach().requires_grad_()
    y = x.to(name)
    assert y.backend == name
    assert (y is x) == (backend == "numpy")
    (y * y).to("numpy").sum().backward()
    assert x.grad.backend == "numpy"
    np.testing.assert_array_equal(x.grad.numpy(), [2, 4])
    assert backend_named(name).to_host(y.data).tolist() == [1, 2]


# -- the rest of the library --------------------------------------------------------------------


@ELSEWHERE
def test_transforms():
    def f(x):
        return ts.sin(x * x).sum() * x

    def run():
        x, v = ts.Tensor(np.array([0.3, -1.2])), ts.Tensor(np.array([1.0, 2.0]))
        value, slope = ts.value_and_grad(lambda x: f(x).sum())(x)
        results = [value, slope, ts.jacobian(f)(x), ts.hessian(lambda x: f(x).sum())(x)]
        results += [ts.jvp(f, (x,), (v,))[1], ts.hvp(lambda x: f(x).sum(), x, v)]
        return [host(t) for t in results]

    assert_close(run(), on_numpy(run))


def test_starting_values_learned_states_and_noise():
    def run():
        ts.manual_seed(4)
        net = nn.LSTM(3, 4, num_layers=2, dtype="f8")
        nn.init.recurrent_(net, nn.init.orthogonal)
        nn.init.bias_(net, 1.0, gate="f")
        first = nn.InitialState(net)
        y, _ = net(ts.ones(5, 2, 3, dtype="f8"), first(2))
        (y * y).sum().backward()
        return [host(y), *(host(p.grad) for p in (*first.parameters(), *net.parameters()))]

    assert_close(run(), on_numpy(run))
    ts.manual_seed(4)
    noisy = nn.Zoneout(nn.VariationalDropout(nn.LSTMCell(3, 4), 0.3, 0.3), (0.2, 0.2))
    y, _ = nn.Recurrent(noisy)(ts.ones(5, 2, 3))
    y.sum().backward()
    assert np.isfinite(host(noisy.cell.cell.weight_hh.grad)).all()


def test_precision_and_copies(backend):
    net = nn.GRU(3, 4).astype("f8")
    copied, pickled = copy.deepcopy(net), pickle.loads(pickle.dumps(net))
    x = ts.ones(2, 1, 3, dtype="f8")
    for other in (copied, pickled):
        np.testing.assert_array_equal(host(other(x)[0]), host(net(x)[0]))
    assert copied.weight_hh_l0.backend == x.backend


def test_anomalies_are_named():
    x = ts.Tensor([-1.0, 2.0], requires_grad=True)
    with (
        np.errstate(all="ignore"),
        ts.anomaly_mode(),
        pytest.raises(FloatingPointError, match="log of shapes"),
    ):
        ts.log(x)


def test_gradients_are_checked_on_the_device():
    """The public checker: analytic gradients here, against differences of forwards here."""
    ts.manual_seed(1)
    gradcheck(nn.LSTM(2, 3, dtype="f8"), np.random.default_rng(0).normal(size=(3, 2, 2)))


def test_every_differentiable_operation_was_looked_at():
    assert set(DIFFERENTIABLE) <= set(FUNCTIONS)
