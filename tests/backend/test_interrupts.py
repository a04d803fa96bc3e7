"""Ctrl-C, handlers of other signals, the end of the process: nothing lost, nothing stuck."""

import functools
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from stress.interrupts import interrupted, moments

import tinygrad_seq as ts
from tinygrad_seq import nn, optim
from tinygrad_seq.autograd import deposit
from tinygrad_seq.autograd.mode import recording
from tinygrad_seq.backend import blas, threads
from tinygrad_seq.data import AddingProblem, RandomWindows
from tinygrad_seq.io import Checkpoint

# Where an interrupt comes as an object is deleted (a generator, a zip file), Python warns of it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def every_moment(function, prepare=lambda: None):
    """Prepare and interrupt a call of ``function`` at each moment, one call after another."""
    function()  # the first one imports, compiles and remembers more than those that follow
    prepare()
    for moment in range(1, moments(function) + 1):
        prepare()
        interrupted(function, moment)
        yield moment


def test_an_interrupt_leaves_no_mode_behind_and_gives_all_gradients_or_none():
    layer = nn.Linear(2, 3)
    x = ts.ones((4, 2))

    def step():
        (layer(x).tanh() * 2).sum().backward()

    counts = set()
    for _ in every_moment(step, prepare=layer.zero_grad):
        assert ts.is_grad_enabled()
        counts.add(sum(p.grad is not None for p in layer.parameters()))
    assert counts == {0, 2}


def test_gradients_that_were_there_get_all_of_the_new_ones_or_nothing():
    x = ts.tensor([1.0, 2.0], requires_grad=True)
    y = ts.tensor([3.0, 4.0], requires_grad=True)
    seen = set()

    def ones():
        x.grad, y.grad = ts.ones(2), ts.ones(2)

    for _ in every_moment(lambda: (x * y).sum().backward(), prepare=ones):
        seen.add((*x.grad.data, *y.grad.data))
    assert seen == {(1, 1, 1, 1), (4, 5, 2, 3)}


def _once(mode):
    with mode:
        pass


def test_entering_a_mode_is_done_or_not():
    for mode in (ts.no_grad, ts.anomaly_mode):
        entered, before = mode(), mode.variable.get()

        for moment in range(1, 1 + moments(functools.partial(_once, entered))):
            interrupted(entered.__enter__, moment)
            if mode.variable.get() != before:  # it was over before the interrupt came
                entered.__exit__(None, None, None)
            assert mode.variable.get() == before


def test_a_mode_is_left_unless_an_interrupt_comes_before_its_exit_begins():
    entered = ts.no_grad()

    @entered
    def decorated():
        pass

    for function in (functools.partial(_once, entered), decorated):
        left = 0
        for moment in range(1, 1 + moments(function)):
            interrupted(function, moment)
            left += not ts.is_grad_enabled()
            recording.set(True)
        assert left == 1


@pytest.mark.skipif(blas._openblas() is None, reason="NumPy has no OpenBLAS of its own here")
def test_an_interrupt_puts_back_the_threads_of_blas():
    get, put = blas._openblas()
    before = get()

    def one(said):
        assert said
        assert get() == 1

    put(2)
    try:
        for _ in every_moment(lambda: blas.in_one_thread(one)):
            assert get() == 2
            assert not blas._inside
    finally:
        put(before)


def test_an_interrupt_leaves_threads_that_help_the_next_time(with_threads):
    with_threads(2)
    both = threading.Barrier(2, timeout=30)

    def parts():
        threads.at_once(lambda low, high: None, 4, 1)

    for _ in every_moment(parts):
        threads.at_once(lambda low, high: both.wait(), 2, 1)  # passes only if two threads come


def test_an_interrupt_waits_for_what_helpers_have_begun(with_threads):
    with_threads(2)
    begun, let_go, ended = threading.Event(), threading.Event(), []
    main = threading.get_ident()

    def work(low, high):
        if threading.get_ident() != main:
            begun.set()
            let_go.wait(30)
            ended.append(low)
            return
        begun.wait(30)
        let_go.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        threads.at_once(work, 2, 1)
    assert len(ended) == 1


def test_no_part_is_done_twice_by_a_helper_that_is_asked_twice(with_threads):
    with_threads(3)
    for _ in range(300):
        done = []
        threads.at_once(lambda low, high, done=done: done.append(low), 6, 1)
        assert sorted(done) == list(range(6))


def states():
    """Pairs of a thing with a state, and another state of it."""
    model = nn.Linear(2, 2)
    other = {name: value + 1 for name, value in model.state_dict().items()}
    yield model, other

    def stepped(make, steps):
        parameters = [ts.ones(3, requires_grad=True), ts.ones(2, requires_grad=True)]
        made = make(parameters)
        for _ in range(steps):
            for p in parameters:
                p.grad = ts.ones(p.shape)
            made.step()
        return made

    yield tuple(stepped(lambda p: optim.Adam([{"params": [q]} for q in p], 0.1), k) for k in (1, 3))
    yield tuple(
        stepped(lambda p: optim.StepLR(optim.SGD(p, lr=1.0), step_size=1), k) for k in (0, 2)
    )
    for make in (
        lambda: RandomWindows(np.arange(100), steps=5, batch_size=2, seed=1),
        lambda: AddingProblem(10, 4, seed=3),
    ):
        one, two = make(), make()
        next(iter(two))
        yield one, two


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b)


@pytest.mark.parametrize("kind", range(5))
def test_an_interrupt_loads_all_of_a_state_or_nothing(kind):
    thing, new = list(states())[kind]
    old = thing.state_dict()
    new = new if isinstance(new, dict) else new.state_dict()
    assert not same(old, new)
    seen = set()
    load = thing.load_state_dict
    for _ in every_moment(lambda: load(new), prepare=lambda: load(old)):
        state = thing.state_dict()
        assert same(state, old) or same(state, new)
        seen.add(same(state, new))
    assert False in seen  # interrupts came before anything was loaded, too
    load(new)
    assert same(thing.state_dict(), new)


def test_an_interrupt_restores_all_of_a_checkpoint_or_nothing(tmp_path):
    def parts():
        model = nn.Linear(2, 2)
        return {"model": model, "optimizer": optim.Adam(list(model.parameters()))}

    saved = parts()
    saved["model"](ts.ones((1, 2))).sum().backward()
    saved["optimizer"].step()
    Checkpoint(**saved).save(tmp_path / "run.npz")
    here = Checkpoint(**parts())

    def state():
        return {name: part.state_dict() for name, part in here.parts.items()}

    old = state()
    here.restore(tmp_path / "run.npz")
    new = state()

    def back():
        for name, part in here.parts.items():
            part.load_state_dict(old[name])

    seen = set()
    for _ in every_moment(lambda: here.restore(tmp_path / "run.npz"), prepare=back):
        assert same(state(), old) or same(state(), new)
        seen.add(same(state(), old))
    assert True in seen


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals of POSIX")
def test_the_handler_of_a_signal_may_call_backward_while_backward_deposits(monkeypatch):
    x = ts.tensor(1.0, requires_grad=True)
    x.grad = ts.tensor(10.0)

    class Interrupting(ts.Tensor):
        """Sends a signal as the sum with the gradient before is formed."""

        def __add__(self, other):
            x.grad = ts.tensor(10.0)
            os.kill(os.getpid(), signal.SIGUSR1)
            return ts.tensor(10.0) + other

    handled, other = [], x * 2

    def handler(number, frame):
        handled.append(number)
        other.backward()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        x._grad = Interrupting(10.0)
        (x * 3).backward()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled
    assert x.grad.item() == 15.0
    assert not deposit._depositing._is_owned()


AFTERWARDS = """
import atexit, os, threading
os.environ["TINYGRAD_SEQ_THREADS"] = "2"
from tinygrad_seq.backend import threads

def train(when):
    done = []
    threads.at_once(lambda low, high: done.append((low, high)), 5, 2)
    print(when, sorted(done), flush=True)

def later():
    threading.main_thread().join()
    train("after the main thread")

atexit.register(train, "at exit")
if {warm}:
    train("before")
threading.Thread(target=later).start()
"""


@pytest.mark.parametrize("warm", [False, True])
def test_work_is_done_after_the_main_thread_has_ended_and_at_exit(warm):
    ended = subprocess.run(
        [sys.executable, "-c", AFTERWARDS.format(warm=warm)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr
    lines = ["before"] * warm + ["after the main thread", "at exit"]
    assert ended.stdout.splitlines() == [f"{when} [(0, 2), (2, 4), (4, 5)]" for when in lines]
