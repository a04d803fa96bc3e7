"""Memory of back-propagation through time, counted in bytes."""

import gc
import tracemalloc

import numpy as np
import pytest

from tinygrad_seq import nn, seq


@pytest.fixture(autouse=True)
def _traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def peaks(method, stretches, steps):
    """The peak in each stretch of one long stream, each begun with a collection."""
    found = []

    def stream():
        for _ in range(stretches):
            gc.collect()
            tracemalloc.reset_peak()
            for _ in range(steps):
                yield np.ones((2, 4), "f4")
            found.append(tracemalloc.get_traced_memory()[1])

    seq.bptt(nn.GRUCell(4, 6), stream(), lambda t, y: y.sum(), method=method)
    return found


# Stretches of equal length, each after a collection: so the interpreter's free lists, which fill
# up at first, are filled as far in each, and only what grows makes a difference.
@pytest.mark.parametrize(
    ("method", "steps"), [(seq.Truncated(10), 100), (seq.RTRL(), 20)], ids=repr
)
def test_a_long_stream_takes_flat_memory(method, steps):
    *_, before, after = peaks(method, 6, steps)
    assert after < before + 40 * steps  # an array kept for each step would be 150 bytes or more


def test_full_grows_with_time_and_random_windows_do_not():
    def rise(method):
        first, *_, last = peaks(method, 5, 60)
        return last / first

    # Five stretches take about three times as much as one, with what is kept from the start; a
    # window of 30 steps is one in a million.
    assert rise(seq.Full()) > 2 > rise(seq.Randomised(0.6))
