"""Sharing work between threads: every part once, the same results, errors, forks."""

import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.backend import threads


@given(size=st.integers(1, 50), each=st.integers(1, 60))
def test_the_parts_are_all_of_it_once(size, each):
    seen, lock = [], threading.Lock()

    def work(low, high):
        assert 0 < high - low <= each
        with lock:
            seen.extend(range(low, high))

    threads.at_once(work, size, each)
    assert sorted(seen) == list(range(size))


@pytest.mark.parametrize(("number", "shares"), [(1, 20), (2, 10), (3, 7), (64, 4)])
def test_shares_are_even_and_worth_a_thread(with_threads, number, shares):
    with_threads(number)
    assert threads.share(20, least=4) == shares


def test_the_other_part_runs_elsewhere(with_threads):
    with_threads(2)
    names = set()
    both = threading.Barrier(2, timeout=30)  # passes only if both run at one time

    def work(low, high):
        both.wait()
        names.add(threading.current_thread().name)

    threads.at_once(work, 2, 1)
    assert len(names) == 2


@pytest.mark.parametrize("part", [0, 1])
def test_an_error_in_a_part_is_raised(with_threads, part):
    with_threads(2)

    def work(low, high):
        if low == part:
            raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        threads.at_once(work, 2, 1)


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_gets_a_sentence(with_threads, given):
    with_threads(given)
    with pytest.raises(ValueError, match="TINYGRAD_SEQ_THREADS must be a number above 0"):
        threads.count()


def step(layer, x, lengths):
    layer.zero_grad()
    y, last = layer(x, lengths=lengths)
    h, c = last if isinstance(layer, nn.LSTM) else (last, last)
    (y.sum() + (h * c).sum()).backward()
    return [y, h, c, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("lengths", [None, "drawn"])
@pytest.mark.parametrize("batch", [8, 20, 23, 33])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.LSTM(24, 160),
        lambda: nn.GRU(24, 160, reset_after=True),
        lambda: nn.GRU(24, 160, reset_after=False),
        lambda: nn.RNN(24, 200),
        lambda: nn.RNN(24, 160, nonlinearity="relu"),
    ],
    ids=["LSTM", "GRU after", "GRU", "RNN", "RNN relu"],
)
def test_steps_do_not_depend_on_the_number_of_threads(with_threads, rng, layer, batch, lengths):
    pytest.importorskip("numba")
    layer = layer()
    x = ts.Tensor(rng.standard_normal((40, batch, 24)).astype("f4"))
    lengths = rng.integers(1, 41, batch) if lengths else None
    with_threads(1)
    one = step(layer, x, lengths)
    for number in (2, 3):
        with_threads(number)
        for k, (a, b) in enumerate(zip(one, step(layer, x, lengths), strict=True)):
            if k < 3:  # y, h, c
                np.testing.assert_array_equal(a.data, b.data)
            else:  # a long product, which BLAS sums in an order of its own for each shape
                np.testing.assert_allclose(b.data, a.data, rtol=0, atol=1e-5 * abs(a.data).max())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_child_makes_threads_of_its_own(with_threads):
    with_threads(2)
    threads.at_once(lambda low, high: None, 2, 1)
    child = os.fork()
    if child == 0:  # it would wait for ever for a thread that it does not have
        threads.at_once(lambda low, high: None, 2, 1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
