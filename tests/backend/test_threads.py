"""Sharing work between threads: every part once, the same results, errors, forks."""

import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.backend import blas, threads


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


@pytest.mark.parametrize("given", ["-1", "two", "1.5", ",2", " "])
def test_a_wrong_number_gets_a_sentence(with_threads, given):
    with_threads(given)
    with pytest.raises(ValueError, match="TINYGRAD_SEQ_THREADS must be a number of threads, 0 for"):
        threads.count()


@pytest.mark.parametrize("given", ["3", "3 ", "3,2", " 3 , 2"])
def test_forms_of_a_number(with_threads, given):
    with_threads(given)
    assert ts.get_num_threads() == 3


def test_0_is_one_for_each_core(with_threads):
    with_threads(0)
    assert ts.get_num_threads() == len(threads.cores())


def test_a_number_set_comes_before_the_environment(with_threads):
    with_threads(5)
    ts.set_num_threads(np.int64(2))
    assert ts.get_num_threads() == 2
    functions = blas._openblas()
    assert functions is None or functions[0]() == 2
    for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError)):
        with pytest.raises(error):
            ts.set_num_threads(wrong)
    assert ts.get_num_threads() == 2


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


def test_a_part_may_share_work_itself_and_so_may_several_threads(with_threads):
    with_threads(2)
    seen, lock = [], threading.Lock()

    def outer(low, high):
        def inner(first, last):
            with lock:
                seen.extend((low, k) for k in range(first, last))

        threads.at_once(inner, 5, 1)

    users = [threading.Thread(target=threads.at_once, args=(outer, 3, 1)) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join(60)
        assert not user.is_alive()
    assert sorted(seen) == sorted([(i, k) for i in range(3) for k in range(5)] * 4)


def test_a_helper_warns_as_the_caller_does(with_threads):
    with_threads(2)
    both = threading.Barrier(2, timeout=30)

    def work(low, high):
        both.wait()
        np.zeros(1) / np.zeros(1)

    with np.errstate(invalid="ignore"):
        threads.at_once(work, 2, 1)
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        threads.at_once(work, 2, 1)


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
