"""What grows with the length of a sequence, counted in nodes and bytes, never in seconds."""

import gc
import tracemalloc

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.autograd.reach import reachable


def peak_of(f):
    gc.collect()
    tracemalloc.start()
    f()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_the_unrolled_graph_is_linear_in_time():
    layer = nn.LSTM(2, 3)
    counts = []
    for steps in (10, 20, 40):
        with nn.unrolled():
            y, _ = layer(ts.ones((steps, 1, 2)))
        counts.append(len(reachable([y.node])))
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_memory_of_a_step_is_linear_in_time(kind):
    layer = getattr(nn, kind)(4, 8)

    def step(steps):
        x = np.ones((steps, 4, 4), "f4")
        return lambda: layer(x)[0].sum().backward()

    step(10)()
    small, large = peak_of(step(200)), peak_of(step(2000))
    assert large < 1.2 * 10 * small


def test_inference_keeps_nothing_for_backward():
    layer, x = nn.LSTM(4, 8), np.ones((2000, 4, 4), "f4")

    @ts.no_grad()
    def infer():
        layer(x)

    infer()
    kept = peak_of(lambda: layer(x))
    assert peak_of(infer) < 0.5 * kept


def test_truncated_bptt_over_a_long_stream_takes_flat_memory():
    layer, window = nn.GRU(4, 8), np.ones((5, 2, 4), "f4")

    def peak_over(windows):
        gc.collect()
        tracemalloc.reset_peak()
        state = None
        for _ in range(windows):
            y, state = layer(window, state)
            y.sum().backward()
            state = state.detach()
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    # Stretches of equal length, each after a collection: so the interpreter's free lists, which a
    # collection empties, are filled as far in each, and only what grows makes a difference.
    _, before, _, after = (peak_over(60) for _ in range(4))
    tracemalloc.stop()
    assert after < before + 800  # one object for each of 60 windows would be seen


def test_checkpointed_segments_give_the_full_gradient_in_less_memory():
    layer = nn.LSTM(8, 16, dtype="f8")
    x = ts.tensor(np.random.default_rng(0).normal(size=(900, 4, 8)), requires_grad=True)

    def full():
        return layer(x)[0][-1].sum()

    def segments():
        h, c = ts.zeros((1, 4, 16), dtype="f8"), ts.zeros((1, 4, 16), dtype="f8")
        for part in ts.split(x, 30):
            y, h, c = ts.recompute(run, part, h, c)
        return y.sum()

    def run(part, h, c):
        y, (h, c) = layer(part, (h, c))
        return y[-1], h, c

    inputs = [x, *layer.parameters()]
    one, other = (ts.autograd.grad(f(), inputs) for f in (full, segments))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-10, atol=1e-13)

    def memory(f):
        return peak_of(lambda: ts.autograd.grad(f(), list(layer.parameters())))

    assert memory(segments) < 0.25 * memory(full)
