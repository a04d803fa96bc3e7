"""Cells that do more than compute: each runs as it would unrolled, whatever was run before it."""

import pickle
import random
from contextlib import nullcontext
from types import ModuleType

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn

settings = ModuleType("settings")

pytestmark = pytest.mark.usefixtures("backend")


def drawn(*shape):
    values = np.random.default_rng(0).normal(size=shape)
    return ts.tensor(values, requires_grad=True)


def plain():
    """A cell whose first step is that of most cells below, which are run after it."""
    w = drawn(3, 3)

    def cell(x, h):
        h = ts.tanh(x @ w + h)
        return h, h

    return cell, w


def stepping(change):
    """A cell that does something else after a few steps; ``change()`` says when."""
    w = drawn(3, 3)

    def cell(x, h):
        h = ts.tanh(x @ w + h) if change() else x - h
        return h, h

    return cell, w


def counting():
    steps = []
    return stepping(lambda: steps.append(0) or len(steps) < 4)


def counting_on_itself():
    def change():
        cell.steps += 1
        return cell.steps < 4

    cell, w = stepping(change)
    cell.steps = 0
    return cell, w


def counting_in_an_attribute():
    class Cell(nn.Module):
        def __init__(self):
            self.weight, self.steps = nn.Parameter(drawn(3, 3).data), 0

        def forward(self, x, h):
            self.steps += 1
            h = ts.tanh(x @ self.weight + h) if self.steps < 4 else x - h
            return h, h

    cell = Cell()
    return cell, cell.weight


def counting_on_its_class():
    class Cell(nn.Module):
        steps = 0

        def __init__(self):
            self.weight = nn.Parameter(drawn(3, 3).data)

        def forward(self, x, h):
            type(self).steps += 1
            h = ts.tanh(x @ self.weight + h) if self.steps < 4 else x - h
            return h, h

    cell = Cell()
    return cell, cell.weight


def counting_in_a_slot():
    class Counter:
        __slots__ = ("steps",)

    counter = Counter()
    counter.steps = 0

    def change():
        counter.steps += 1
        return counter.steps < 4

    return stepping(change)


def counting_on_a_function_from_the_first_step():
    def change():
        change.steps = getattr(change, "steps", 0) + 1
        return change.steps < 4

    return stepping(change)


def counting_on_a_module():
    settings.steps = 0

    def change():
        settings.steps += 1
        return settings.steps < 4

    return stepping(change)


def counting_in_a_buffer():
    steps = np.zeros(1)
    return stepping(lambda: np.add(steps, 1, out=steps)[0] < 4)


def summing_in_an_array():
    w, total = drawn(3, 3), ts.zeros(3, dtype="float64").data  # of the device

    def cell(x, h):
        total[...] += 1
        h = ts.tanh(x @ w + h) * ts.tensor(total.copy())
        return h, h

    return cell, w


def tossing_a_coin():
    coin = random.Random(1)
    return stepping(lambda: coin.random() < 0.7)


def tossing_the_librarys_coin():
    ts.manual_seed(1)
    return stepping(lambda: ts.backend.generator().random() < 0.7)


def tossing_numpys_coin():
    np.random.seed(1)  # noqa: NPY002  # the old generator too
    return stepping(lambda: np.random.random() < 0.7)  # noqa: NPY002  # the old generator too


def reading_a_generator():
    turns = iter([True, True, True, False, True])
    return stepping(lambda: next(turns))


def remembering():
    w, seen = drawn(3, 3), {}

    def cell(x, h):
        before = seen.get("h")
        h = seen["h"] = ts.tanh(x @ w + h)
        return (h if before is None else h + before), h

    return cell, w


def choosing_weights():
    weights, turns = [drawn(3, 3), drawn(3, 3) * 2], [0]

    def cell(x, h):
        turns[0] += 1
        h = ts.tanh(x @ weights[turns[0] > 3] + h)
        return h, h

    return cell, weights[0]


def hooking():
    w = drawn(3, 3)

    def cell(x, h):
        a = x @ w + h
        if a.requires_grad:
            a.register_hook(lambda g: 0.5 * g)
        h = ts.tanh(a)
        return h, h

    return cell, w


def gradients(made, mode, lengths=None):
    cell, w = made()
    rng = np.random.default_rng(1)
    x = ts.tensor(rng.normal(size=(5, 2, 3)), requires_grad=True)
    h = ts.tensor(rng.normal(size=(2, 3)), requires_grad=True)
    with mode:
        y, last = nn.Recurrent(cell)(x, h, lengths=lengths)
    found = ts.autograd.grad((y * y).sum() + last.sum(), [x, h, w])
    return [host(part) for part in (y, last, *found)]


@pytest.mark.parametrize(
    "made",
    [
        counting, counting_on_itself, counting_in_an_attribute, counting_in_a_buffer,
        counting_on_its_class, counting_in_a_slot, counting_on_a_function_from_the_first_step,
        counting_on_a_module,
        summing_in_an_array, hooking,
        tossing_a_coin, tossing_the_librarys_coin, tossing_numpys_coin, reading_a_generator,
        remembering, choosing_weights,
    ],
)  # fmt: skip
def test_a_step_that_changes_something_runs_once_for_each_step(made):
    gradients(plain, nullcontext())
    for lengths in (None, [5, 3]):
        both = [gradients(made, mode, lengths) for mode in (nullcontext(), nn.unrolled())]
        for fused, unrolled in zip(*both, strict=True):
            np.testing.assert_array_equal(fused, unrolled)


@pytest.mark.parametrize(
    ("look", "how"),
    [
        (
            lambda n: np.array_equal(n, [[0], [0]]) or np.array_equal(n, [[1], [1]]),
            "np.array_equal",
        ),
        (lambda n: np.count_nonzero(n > 1.5) == 0, "np.count_nonzero"),
        (lambda n: pickle.loads(pickle.dumps(n)).data[0, 0] < 2, "pickle"),
    ],
)
def test_a_branch_on_what_numpy_says_of_a_state_is_noticed(look, how):
    w = drawn(3, 3)

    def cell(x, state):
        h, n = state
        h = ts.tanh(x @ w + h) if look(n.detach()) else x - h
        return h, (h, n + 1)

    x = drawn(5, 2, 3).detach()
    state, found = (ts.zeros(2, 3, dtype="float64"), ts.zeros(2, 1, dtype="float64")), []
    for mode in (nullcontext(), nn.unrolled()):
        with mode:
            found.append(host(nn.Recurrent(cell)(x, state)[0].detach()))
    np.testing.assert_array_equal(*found)
    assert how in nn.derivation(cell, x, state).reason


def test_what_a_cell_keeps_is_that_of_the_last_step():
    class Attending(nn.Module):
        def forward(self, x, h):
            self.weights = ts.softmax(x + h)
            return self.weights, self.weights

    cell = Attending()
    y, _ = nn.Recurrent(cell)(ts.ones(4, 2, 3), ts.zeros(2, 3))
    assert cell.weights.node is not None or not y.requires_grad
    np.testing.assert_array_equal(host(cell.weights), host(y)[-1])
    assert nn.derivation(cell, ts.ones(4, 2, 3), ts.zeros(2, 3)).reason == (
        "it changes weights as it runs"
    )


def embedded(padding=None):
    table = nn.Embedding(5, 3, padding, dtype="float64")

    def cell(x, h):
        h = ts.tanh(table(x) + h)
        return h, h

    return cell, table.weight


def picked():
    w = drawn(5, 3)

    def cell(x, h):
        h = ts.tanh(w[x] + h)
        return h, h

    return cell, w


def one_hot():
    w = drawn(5, 3)

    def cell(x, h):
        h = ts.tanh(ts.one_hot(x, 5, "float32") @ w + h)  # beside float64
        return h, h

    return cell, w


@pytest.mark.parametrize(
    "made",
    [embedded, lambda: embedded(1), picked, one_hot],
    ids=["embedded", "with padding_idx", "picked", "one_hot"],
)
def test_ids_are_read_at_every_step(made):
    ids = np.array([[0, 1], [0, 1], [4, 1], [2, 2]])  # the first two steps are equal
    for dtype in ("int64", "int32"):
        (cell, w), found = made(), []
        x, h = ts.tensor(ids.astype(dtype)), ts.tensor(np.zeros((2, 3)))
        for mode in (nullcontext(), nn.unrolled()):
            with mode:
                y, _ = nn.Recurrent(cell)(x, h)
            found.append([y, ts.autograd.grad((y * y).sum(), [w])[0]])
        for fused, unrolled in zip(*found, strict=True):
            np.testing.assert_allclose(host(fused), host(unrolled), rtol=1e-12)
        assert nn.derivation(cell, x, h).kind != "unrolled"


def written_at():
    """A write into a slot, by positions that are computed."""
    w = drawn(3, 3)

    def cell(x, h):
        at = ts.argsort(h, axis=-1)
        h = ts.put_along_axis(0.5 * h, at[:, :2], ts.tanh(x @ w)[:, :2])
        return h, h

    return cell, w


def beside_zeros():
    w = drawn(3, 3)

    def cell(x, h):
        nothing, one = ts.zeros_like(h[:, :1]), ts.ones_like(h[:, :1])
        h = ts.tanh(x @ w + ts.concatenate([nothing, h[:, 1:]], -1) + one)
        return ts.concatenate([h, ts.full_like(h[:, :1], 2.0)], -1), h

    return cell, w


def hot():
    w = drawn(3, 3)

    def cell(x, h):
        h = ts.tanh(x @ w + ts.one_hot(ts.argmax(h, axis=-1), 3, "float64") @ w + h)
        return h, h

    return cell, w


def recomputing():
    w = drawn(3, 3)

    def cell(x, h):
        h = ts.recompute(lambda a: ts.tanh(a @ w), x + h)
        return h, h

    return cell, w


def losing():
    """Its output is a loss, a fused operation."""
    w = drawn(3, 3)

    def cell(x, h):
        h = ts.tanh(x @ w + h)
        return nn.cross_entropy(h, np.array([0, 2]), reduction="none"), h

    return cell, w


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("made", [written_at, beside_zeros, hot, recomputing, losing])
def test_what_reads_no_numbers_is_a_loop(made):
    for lengths in (None, [5, 3]):
        both = [gradients(made, mode, lengths) for mode in (nullcontext(), nn.unrolled())]
        for fused, unrolled in zip(*both, strict=True):
            np.testing.assert_allclose(fused, unrolled, rtol=1e-11, atol=1e-14)
        cell, _ = made()
        found = nn.derivation(cell, ts.zeros(5, 2, 3, dtype="float64"), drawn(2, 3), lengths)
        assert found.kind != "unrolled"


def test_a_layer_inside_a_cell_keeps_its_own_loop():
    inner = nn.Recurrent(nn.RNNCell(3, 3))

    def cell(x, h):
        y, h = inner(ts.stack([x, x + 1]), h)
        return y[-1], h

    found = nn.derivation(cell, ts.zeros(5, 2, 3), ts.zeros(2, 3))
    assert found == ("unrolled", "it reads a sequence itself, by the layer rnn", "")


def put(x):
    """Written in place, at positions that are fixed, and at positions that are computed."""
    made = ts.zeros(2, 3, dtype="float64")
    made[:, :1] = x.detach()[:, :1]
    return made


def put_at(x):
    made = ts.zeros(2, 3, dtype="float64")
    made[np.arange(2), ts.argmax(x, -1)] = 1.0
    return made


@pytest.mark.host("arrays of NumPy")
@pytest.mark.parametrize(
    "choose",
    [
        lambda x: x.detach().clone(),
        lambda x: ts.tensor(x.detach()),
        lambda x: ts.Tensor(x.detach(), dtype="float32"),
        lambda x: ts.zeros(2, 3, dtype="float64").copy_(x.detach()),
        put,
        put_at,
        lambda x: ts.take(np.eye(3), ts.argmax(x, -1), 0),
        lambda x: ts.take_along_axis(np.eye(3)[:2], ts.argmax(x, -1, keepdims=True), 1),
        lambda x: ts.index_set(np.zeros((2, 3)), (slice(None), ts.argmax(x, -1)[0]), 1.0),
        lambda x: ts.interp(x, np.arange(4.0), np.array([1.0, 3.0, 2.0, 0.0])),
    ],
    ids=[
        "clone", "tensor", "another dtype", "copy_", "written", "written at computed positions",
        "take", "take_along_axis", "index_set", "interp",
    ],
)  # fmt: skip
def test_an_array_that_a_value_of_the_step_made_or_indexes_is_no_constant(choose):
    """Also if the first two steps choose the same of it."""
    w, values = drawn(3, 3), np.zeros((5, 2, 3))
    values[:2, :, 0], values[2:4, :, 1], values[4:, :, 2] = 1, 2, 3
    x, h, found = ts.tensor(values, requires_grad=True), ts.tensor(np.zeros((2, 3))), []

    def cell(x, h):
        h = ts.tanh(x @ w + choose(x) + h)
        return h, h

    for mode in (nullcontext(), nn.unrolled()):
        with mode:
            y, _ = nn.Recurrent(cell)(x, h)
        found.append([y, *ts.autograd.grad((y * y).sum(), [w, x])])
    for fused, unrolled in zip(*found, strict=True):
        np.testing.assert_allclose(host(fused), host(unrolled), rtol=1e-12)


@pytest.mark.parametrize("wrong", [-1, 5])
def test_an_id_out_of_range_is_refused_in_a_loop_too(wrong):
    cell, _ = embedded()
    ids = ts.tensor(np.array([[0, 1], [1, 1], [4, wrong]]))
    with pytest.raises(IndexError, match=rf"Embedding expects ids from 0 to 4; got {wrong}"):
        nn.Recurrent(cell)(ids, ts.tensor(np.zeros((2, 3))))


def test_a_state_of_booleans_and_a_number_that_is_infinite():
    w = drawn(3, 3)

    def cell(x, state):
        h, done = state
        a = ts.maximum(x @ w + h, -np.inf)
        h = ts.where(done, h, a - ts.logsumexp(a, -1, keepdims=True))
        return h, (h, done | (h[:, :1] > -0.5))

    rng, found = np.random.default_rng(1), []
    x = ts.tensor(rng.normal(size=(5, 2, 3)), requires_grad=True)
    start = ts.tensor(rng.normal(size=(2, 3))), ts.tensor(np.zeros((2, 1), bool))
    for mode in (nullcontext(), nn.unrolled()):
        with mode:
            y, (_, done) = nn.Recurrent(cell)(x, start)
        found.append([y, done, *ts.autograd.grad((y * y).sum(), [x, w])])
    for fused, unrolled in zip(*found, strict=True):
        np.testing.assert_allclose(host(fused), host(unrolled), rtol=1e-12)
    assert nn.derivation(cell, x, start).kind != "unrolled"


@pytest.mark.host("the maps are the host's")
def test_columns_of_large_arrays_get_compiled_maps_of_their_own():
    """A convolution by slices along the last axis of a state ``(N, C, L)``."""
    pytest.importorskip("numba")
    rng = np.random.default_rng(2)
    factor = rng.uniform(1, 2)

    def cell(x, h):
        p = ts.pad(h, ((0, 0), (0, 0), (1, 1)))
        h = ts.tanh(p[:, :, :5] - factor * p[:, :, 2:] + x[:, :, None])
        return h.reshape(h.shape[0], -1), h

    arrays = [rng.normal(size=shape).astype("f4") for shape in [(4, 3, 2), (3, 2, 5)]]
    found = []
    for mode in (nullcontext, nn.unrolled):
        x, h = (ts.tensor(a, requires_grad=True) for a in arrays)
        with ts.use_jit(), mode():
            y, last = nn.Recurrent(cell)(x, h)
            found.append([y, *ts.autograd.grad((y * y).sum() + ts.sin(last).sum(), [x, h])])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(host(a.detach()), host(b.detach()), rtol=1e-4, atol=1e-5)
    with ts.use_jit():
        assert nn.derivation(cell, *map(ts.tensor, arrays)).kind == "numpy and numba"
