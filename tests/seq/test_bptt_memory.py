"""Memory of back-propagation through time, counted in bytes."""

import gc
import tracemalloc

import numpy as np
import pytest

from tinygrad_seq import nn, seq


def peak(cell, steps, method):
    x = np.ones((2, 4), "f4")
    gc.collect()
    tracemalloc.reset_peak()
    seq.bptt(cell, (x for _ in range(steps)), lambda t, y: y.sum(), method=method)
    return tracemalloc.get_traced_memory()[1]


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("method", "steps"), [(seq.Truncated(10), 3000), (seq.RTRL(), 150)], ids=repr
)
def test_a_long_stream_takes_flat_memory(traced, method, steps):
    cell = nn.GRUCell(4, 6)
    peak(cell, steps, method)  # gradients and caches are there from now on
    short, long = peak(cell, steps, method), peak(cell, 3 * steps, method)
    assert long < short + 2000  # far below a byte per step of what a graph would keep


def test_full_grows_with_time_and_random_windows_with_their_length(traced):
    cell = nn.GRUCell(4, 6)
    peak(cell, 100, seq.Full())
    short, long = (peak(cell, steps, seq.Full()) for steps in (500, 2000))
    random = peak(cell, 2000, seq.Randomised(0.9))  # some window of 2000 steps has 60 of them
    assert long > 2.5 * short
    assert random < 0.5 * long
