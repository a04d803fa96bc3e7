"""Derived loops as CUDA kernels, run as C: against the cell unrolled."""

from __future__ import annotations

import numpy as np
import pytest
from device import counts, fake, host

import tinygrad_seq as ts
from tinygrad_seq import nn, ops
from tinygrad_seq.backend import backend_named, use_backend
from tinygrad_seq.recurrence import explained, flat, found, scan, unroll
from tinygrad_seq.recurrence.print_cuda import CudaPrinter
from tinygrad_seq.recurrence.scan_cuda import CudaScan

D, H, N, T = 3, 4, 3, 5
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module", autouse=True)
def gpu():
    with fake(), use_backend("cupy"):
        yield backend_named("cupy")


def weight(*shape):
    return ts.Tensor(RNG.standard_normal(shape) / 2, requires_grad=True)


def gated():
    """Several gates cut from one product, and a bias."""
    W, U, b = weight(D, 3 * H), weight(H, 3 * H), weight(3 * H)

    def cell(x, h):
        f, i, g = ops.split(x @ W + h @ U + b, 3, axis=-1)
        h = ts.sigmoid(f) * h + ts.sigmoid(i) * ts.tanh(g)
        return h, h

    return cell, 1


def four():
    """Products of their own with one left side, whose gradients are a sum of products."""
    Ws, Us = [weight(D, H) for _ in range(4)], [weight(H, H) for _ in range(4)]

    def cell(x, state):
        h, c = state
        i, f, g, o = (x @ W + h @ U for W, U in zip(Ws, Us, strict=True))
        c = ts.sigmoid(f) * c + ts.sigmoid(i) * ts.tanh(g)
        h = ts.sigmoid(o) * ts.tanh(c)
        return h, (h, c)

    return cell, 2


def readout():
    """A product behind the state, that is the output or a part of it."""
    W, U, V = weight(D, H), weight(H, H), weight(H, 2)

    def cell(x, h):
        h = ts.tanh(x @ W + h @ U)
        return h @ V, h

    return cell, 1


def projected():
    """A state that is a product and nothing else."""
    W, U, R = weight(D, H), weight(2, H), weight(H, 2)

    def cell(x, state):
        r, c = state
        c = c + ts.tanh(x @ W + r @ U)
        r = c @ R
        return r, (r, c)

    return cell, (2, H)


def normalised():
    """Sums over a row, between which there are numbers for each row."""
    W, U = weight(D, H), weight(H, H)

    def cell(x, h):
        a = x @ W + h @ U
        d = a - ts.mean(a, axis=-1, keepdims=True)
        h = ts.tanh(d / ts.sqrt(ts.mean(d * d, axis=-1, keepdims=True) + 1e-5))
        return h, h

    return cell, 1


def normalised_exponentials():
    """A sum over a row that the whole row is divided by."""
    W, U = weight(D, H), weight(H, H)

    def cell(x, h):
        a = ts.exp(ts.tanh(x @ W + h @ U))
        h = a / ts.sum(a, axis=-1, keepdims=True)
        return h, h

    return cell, 1


def uneven():
    """Pieces of several widths, an output narrower than the state."""
    W, U = weight(D, H + 2), weight(H, H + 2)

    def cell(x, h):
        g, k = ops.split(x @ W + h @ U, [H], axis=-1)
        k = ts.sigmoid(k)
        return k, ts.tanh(g) * ts.sum(k, axis=-1, keepdims=True)

    return cell, 1


def sliced():
    """A state of pieces, of which products read some; gradients with zeros in places."""
    W, U = weight(D, H), weight(2, H)

    def cell(x, h):
        a = ts.tanh(x @ W + h[:, 1:3] @ U)
        h = ops.concatenate([a[:, :2], 0.5 * h[:, 2:]], axis=-1)
        return h, h

    return cell, 1


def swapped():
    """States that change places, and no product in the loop."""
    W = weight(D, H)

    def cell(x, state):
        a, b = state
        return a * b, (b, a + x @ W)

    return cell, 2


def shared():
    """One result for two parts of the state, and a part that is only added."""
    W, U = weight(D, H), weight(H, H)

    def cell(x, state):
        a, b = state
        h = ts.tanh(x @ W + a @ U + b)
        return h, (h, h)

    return cell, 2


def unread():
    """A part of the state that is handed on."""
    W, U = weight(D, H), weight(H, H)

    def cell(x, state):
        h = ts.tanh(x @ W + state[0] @ U)
        return h, (h, state[1])

    return cell, 2


def branching():
    """Booleans, also saved; kinks; numbers by name."""
    W, U = weight(D, H), weight(H, H)

    def cell(x, h):
        a = x @ W + h @ U
        h = ts.where(ts.sin(a) > 0.1, ts.relu(a), 0.5 * ts.elu(a, 0.7)) + ts.leaky_relu(h)
        return h, ts.maximum(ts.minimum(h, 2.0), -2.0)

    return cell, 1


def detached():
    """A state that no gradient goes through."""
    W, U = weight(D, H), weight(H, H)

    def cell(x, h):
        h = ts.tanh(x @ W + h.detach() @ U)
        return h, h

    return cell, 1


def narrow():
    """A state of one column beside a wide one."""
    W, U, v = weight(D, H), weight(H, H), weight(H, 1)

    def cell(x, state):
        h, m = state
        m = 0.5 * m + h @ v
        h = ts.tanh(x @ W + h @ U + m)
        return h, (h, m)

    return cell, (H, 1)


def two_layers():
    first, second = (kind(H, H, dtype=np.float64) for kind in (nn.LSTMCell, nn.GRUCell))
    W = weight(D, H)

    def cell(x, state):
        y, lower = first(x @ W, state[0])
        y, upper = second(y, state[1])
        return y, (lower, upper)

    return cell, "nested"


def reading():
    """A softmax over the slots of a memory, and a row over its deviation."""
    W, U, keys = weight(D, H), weight(H, H), weight(6, H)

    def cell(x, h):
        read = ts.softmax(h @ keys.T, -1) @ keys
        h = ts.tanh(x @ W + read @ U)
        return h, h / (0.1 + ts.std(h, axis=-1)[:, None])

    return cell, 1


def library(kind, parts, **options):
    return lambda: (kind(D, H, dtype=np.float64, **options), parts)


CELLS = {
    "RNN": library(nn.RNNCell, 1),
    "LSTM": library(nn.LSTMCell, 2),
    "LSTM projected": library(nn.LSTMCell, (2, H), proj_size=2),
    "GRU": library(nn.GRUCell, 1),
    "GRU reset after": library(nn.GRUCell, 1, reset_after=True),
    "peephole": library(nn.PeepholeLSTMCell, 2),
    "coupled": library(nn.CoupledLSTMCell, 2),
    "RNN normalised": library(nn.LayerNormRNNCell, 1),
    "GRU normalised": library(nn.LayerNormGRUCell, 1),
    "LSTM normalised": library(nn.LayerNormLSTMCell, 2),
    "leaky": library(nn.LeakyCell, 1),
}
CELLS |= {
    make.__name__: make
    for make in (
        gated, four, readout, projected, normalised, normalised_exponentials, uneven, sliced,
        swapped, shared, unread, branching, detached, narrow, two_layers, reading,
    )
}  # fmt: skip


def inputs(parts, rows=(N,)):
    """x of all steps and a state, both with gradients."""

    def drawn(*shape):
        return ts.Tensor(RNG.standard_normal(shape), requires_grad=True)

    if parts == "nested":
        state = ((drawn(*rows, H), drawn(*rows, H)), drawn(*rows, H))
    else:
        widths = (H,) * parts if isinstance(parts, int) else parts
        state = tuple(drawn(*rows, w) for w in widths)
        state = state if len(widths) > 1 else state[0]
    return drawn(T, *rows, D), state


def gradients(results, unused, leaves):
    """Of a sum with weights that differ everywhere; some results are not used."""
    total = 0.0
    for k, part in enumerate(results):
        if k not in unused and part.requires_grad:
            upstream = np.cos(np.arange(part.size) + k).reshape(part.shape)
            total = total + ts.sum(part * ts.Tensor(upstream))
    return ts.autograd.grad(total, leaves, allow_unused=True)


def agree(cell, parts, reverse=False, valid=None, unused=(), rows=(N,)):
    """A loop in kernels equals the cell step by step, in values and in all gradients."""
    x, state = inputs(parts, rows)
    known = found(cell, x, state, valid is not None, reverse)
    assert isinstance(known.scan, CudaScan), known.reason
    weights = [s for s in known.reads.sources if isinstance(s, ts.Tensor)]
    leaves = [x, *flat(state), *weights]
    both = []
    for way in (scan, unroll):
        y, last = way(cell, x, state, valid, reverse)
        results = [y, *flat(last)]
        both.append([*results, *gradients(results, unused, leaves)])
    with ts.no_grad():
        y, last = scan(cell, x, state, valid, reverse)
    both.append([y, *flat(last)])
    for other in (both[1], both[2]):
        for a, b in zip(both[0], other, strict=False):
            a, b = (np.zeros(()) if v is None else host(v) for v in (a, b))
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


VALID = np.arange(T)[:, None] < np.array([5, 2, 3])
HOLES = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1], [1, 0, 0]], bool)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("valid", [None, VALID, HOLES], ids=["whole", "lengths", "holes"])
def test_a_loop_in_kernels_is_the_cell(name, valid):
    cell, parts = CELLS[name]()
    for reverse in (False, True):
        agree(cell, parts, reverse, valid)


@pytest.mark.parametrize("name", ["LSTM", "four", "narrow"])
def test_results_that_nothing_reads(name):
    cell, parts = CELLS[name]()
    for unused in ((0,), (1, 2), (0, 2)):
        agree(cell, parts, unused=unused, valid=VALID)


@pytest.mark.parametrize("name", ["GRU", "gated", "projected"])
def test_one_sequence_alone(name):
    cell, parts = CELLS[name]()
    agree(cell, parts, rows=(1,))


def test_a_state_without_a_batch():
    W, u = weight(D, H), weight(H)

    def cell(x, h):
        h = ts.tanh(x @ W + h * u)
        return h, h

    agree(cell, 1, rows=())


def test_float32_stays():
    cell = nn.LSTMCell(D, H)
    x, state = ts.ones(T, N, D), (ts.zeros(N, H), ts.zeros(N, H))
    assert isinstance(found(cell, x, state, False, False).scan, CudaScan)
    y, last = scan(cell, x, state)
    assert {part.dtype for part in (y, *last)} == {np.dtype("float32")}
    expected, _ = unroll(cell, x, state)
    np.testing.assert_allclose(host(y), host(expected), rtol=1e-5, atol=1e-6)


def test_what_has_no_kernel_is_computed_by_calls():
    """Of the namespace: as on NumPy, and it can be asked why; it does not wait either."""
    W, U, keys = weight(D, 2 * H), weight(H, 2 * H), weight(6, H)

    def cell(x, h):
        read = ts.tanh(ts.cumsum(h @ keys.T, -1)) @ keys
        z, a = ops.split(x @ W + read @ U, 2, axis=-1)
        h = ts.sigmoid(z) * h + ts.tanh(a)
        return h, h

    x, h = inputs(1)
    known = found(cell, x, h, True, False)
    assert known.scan is not None
    assert not isinstance(known.scan, CudaScan)
    assert "cumsum" in explained(cell, x, h, True).reason
    counts.reset()
    y, last = scan(cell, x, h, VALID)
    slopes = gradients([y, last], (), [x, h, W, keys])
    assert counts.waits == counts.downloads == 0
    expected = unroll(cell, x, h, VALID)
    slopes_expected = gradients(expected, (), [x, h, W, keys])
    for a, b in zip([y, last, *slopes], [*expected, *slopes_expected], strict=True):
        np.testing.assert_allclose(host(a), host(b), rtol=1e-12, atol=1e-12)


def test_one_source_serves_all_sizes():
    """Sizes are arguments: a model of another width, batch or length compiles nothing anew."""

    def sources(hidden, rows, steps):
        cell = nn.LSTMCell(3, hidden)
        state = (ts.zeros(rows, hidden), ts.zeros(rows, hidden))
        derived = found(cell, ts.ones(steps, rows, 3), state, False, False).derived
        printed = [CudaPrinter(derived.plan, way) for way in ("forward", "backward")]
        bodies = [source.body for p in printed for source in p.sources.values()]
        return [body.replace(" ", "") for body in bodies]

    first, second = sources(4, 3, 5), sources(7, 2, 4)
    assert len(first) == 2
    assert first == second


def per_step(cell, parts, valid=None):
    """Launches that one more step costs, forward and backward; nothing may wait or be copied."""
    costs = []
    for steps in (3, 13):
        x, state = inputs(parts)
        x = ts.Tensor(host(x)[:1].repeat(steps, 0), requires_grad=True)
        seen = None if valid is None else np.resize(valid, (steps, N))
        for _ in range(2):  # the first pass compares the loop with the cell
            counts.reset()
            y, _ = scan(cell, x, state, seen)
            ahead = dict(vars(counts))
            upstream = ts.ones(*y.shape, dtype=np.float64)
            counts.reset()
            y.backward(upstream)
            back = dict(vars(counts))
        assert ahead["waits"] == ahead["downloads"] == back["waits"] == back["uploads"] == 0
        costs.append((ahead["launches"], back["launches"], ahead["uploads"]))
    ahead, back, uploads = ((b - a) / 10 for a, b in zip(*costs, strict=True))
    assert uploads == 0
    return ahead, back


BUDGET = {
    "RNN": (2, 2),
    "LSTM": (2, 2),
    "LSTM projected": (3, 4),
    "GRU": (4, 4),
    "GRU reset after": (2, 2),
    "peephole": (2, 2),
    "coupled": (2, 2),
    "gated": (2, 2),
    "four": (2, 5),
    "swapped": (1, 1),
    "leaky": (2, 2),
    "normalised": (6, 6),
    "RNN normalised": (6, 6),
    "GRU normalised": (8, 8),
    "LSTM normalised": (10, 10),
}
"""Products, sums over rows, and one kernel for each cluster between them."""


@pytest.mark.parametrize("name", BUDGET)
def test_launches_per_step(name):
    cell, parts = CELLS[name]()
    assert per_step(cell, parts) == BUDGET[name]


def test_padding_costs_no_launch_where_a_kernel_writes_the_state():
    cell, parts = CELLS["LSTM"]()
    assert per_step(cell, parts, VALID) == BUDGET["LSTM"]
