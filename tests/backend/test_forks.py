"""A child of os.fork, made while another thread holds every lock, goes on by itself."""

import os
import threading

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import nn, viz
from tinygrad_seq.autograd import deposit, writes
from tinygrad_seq.backend import blas, generator, jit, threads
from tinygrad_seq.nn import names
from tinygrad_seq.recurrence import trust

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning"),
]


def in_child(work):
    """Whether ``work`` gives True in a forked child, which has a minute."""
    child = os.fork()
    if child == 0:
        timer = threading.Timer(60, os._exit, [3])  # where it hangs
        timer.daemon = True
        timer.start()
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def held_by_another(*locks):
    """Another thread that holds ``locks``, and what lets go of them."""
    ready, enough = threading.Event(), threading.Event()

    def hold():
        for lock in locks:
            lock.acquire()
        ready.set()
        enough.wait()
        for lock in locks:
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()

    def let_go():
        enough.set()
        thread.join()

    return let_go


def train():
    """A step with dropout and a derived loop, whose modules have to be given names."""
    net, layer = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)), nn.GRU(4, 2)
    with viz.trace():
        layer(net(ts.ones((3, 2, 3))))[0].sum().backward()
    layer(ts.ones((3, 2, 4)))
    net[0].weight.detach().copy_(ts.zeros((4, 3)))  # a write, which is noted
    return net[0].weight.grad is not None


def test_a_child_is_not_held_up_by_a_lock_of_another_thread():
    let_go = held_by_another(
        deposit._depositing,
        names._naming,
        writes._writing,
        trust._lock,
        blas._lock,
        generator().bit_generator.lock,
    )
    try:
        assert in_child(train)
    finally:
        let_go()


def test_the_childs_random_numbers_are_those_that_would_have_followed():
    ts.manual_seed(5)
    expected = np.random.default_rng(5).random(3)
    assert in_child(lambda: (generator().random(3) == expected).all())
    assert (generator().random(3) == expected).all()


@pytest.mark.skipif(blas._openblas() is None, reason="NumPy has no OpenBLAS of its own here")
def test_a_child_puts_back_what_another_thread_would_have():
    get, put = blas._openblas()
    before = get()
    inside, enough = threading.Event(), threading.Event()

    def alone():
        with blas.one_thread():
            inside.set()
            enough.wait()

    put(2)
    thread = threading.Thread(target=alone)
    thread.start()
    inside.wait()
    try:
        assert get() == 1
        assert in_child(lambda: get() == 2)
        with blas.one_thread():  # its own is still inside in the child
            assert in_child(lambda: get() == 1)
    finally:
        enough.set()
        thread.join()
        assert get() == 2
        put(before)


def test_a_child_makes_helpers_of_its_own(with_threads):
    with_threads(2)
    both = threading.Barrier(2, timeout=10)  # passes only if two threads come
    threads.at_once(lambda low, high: both.wait(), 2, 1)

    def again():
        threads.at_once(lambda low, high: both.wait(), 2, 1)
        return True

    assert in_child(again)


def test_a_fork_beside_a_thread_that_compiles_leaves_the_loops_to_numpy(monkeypatch):
    lock = threading.RLock()
    monkeypatch.setattr(jit, "compiling", [lock])
    let_go = held_by_another(lock)  # as while numba compiles
    try:
        assert in_child(lambda: not jit.usable() and (train(), True)[1])
    finally:
        let_go()
    assert jit.usable() == in_child(jit.usable)
