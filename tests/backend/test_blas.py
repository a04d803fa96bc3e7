"""The number of BLAS threads is put back, whoever leaves last."""

import importlib.util
import os
import runpy
import threading

import pytest

from tinygrad_seq.backend import blas, process

functions = blas._openblas()
pytestmark = pytest.mark.skipif(functions is None, reason="NumPy has no OpenBLAS of its own here")


@pytest.fixture(autouse=True)
def _two():
    get, put = functions
    before = get()
    put(2)
    yield
    put(before)


def test_one_thread_inside_and_as_before_after():
    with blas.one_thread() as said:
        assert said
        assert functions[0]() == 1
        with blas.one_thread():
            assert functions[0]() == 1
        assert functions[0]() == 1
    assert functions[0]() == 2


def test_an_error_puts_it_back():
    with pytest.raises(KeyError), blas.one_thread():
        raise KeyError
    assert functions[0]() == 2


@pytest.mark.parametrize("call", [0, 1])
def test_an_interrupt_on_the_way_in_leaves_nothing_behind(call, monkeypatch):
    """One at the call that asks for the number, or at the one that sets it."""

    presses = iter([True])

    def interrupted(*args):
        if next(presses, False):
            raise KeyboardInterrupt
        return functions[call](*args)

    changed = list(functions)
    changed[call] = interrupted
    monkeypatch.setattr(blas, "_openblas", lambda: tuple(changed))
    with pytest.raises(KeyboardInterrupt):
        blas.in_one_thread(lambda said: None)
    with blas.one_thread():
        assert functions[0]() == 1
    assert functions[0]() == 2
    assert not blas._inside


def test_threads_that_overlap_put_it_back():
    first, second = threading.Event(), threading.Event()

    def early():
        with blas.one_thread():
            first.set()
            assert second.wait(30)

    thread = threading.Thread(target=early)
    thread.start()
    assert first.wait(30)
    with blas.one_thread():
        second.set()
        thread.join()
        assert functions[0]() == 1
    assert functions[0]() == 2


def test_nothing_is_set_for_the_process_where_that_is_switched_off(monkeypatch):
    get, _ = functions
    monkeypatch.setattr(process, "allowed", False)
    before = get()
    with blas.one_thread() as said:
        assert not said
        assert get() == before
    if importlib.util.find_spec("numba"):
        from tinygrad_seq.backend.jit import cache

        assert cache.folder() is None


@pytest.mark.parametrize(("given", "allowed"), [("0", False), ("1", True), (None, True)])
def test_the_switch_is_an_environment_variable(monkeypatch, given, allowed):
    monkeypatch.delenv("TINYGRAD_SEQ_PROCESS", raising=False)
    if given is not None:
        monkeypatch.setenv("TINYGRAD_SEQ_PROCESS", given)
    assert runpy.run_path(process.__file__)["allowed"] is allowed


@pytest.mark.parametrize("allowed", [True, False])
def test_freed_memory_is_kept_once_and_only_where_it_may_be(allowed, monkeypatch):
    asked = []
    monkeypatch.setattr(process, "allowed", allowed)
    monkeypatch.setattr(process, "_mallopt", lambda: lambda *setting: asked.append(setting))
    for name in [n for n in os.environ if n.startswith("MALLOC_") or n == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    process.keep_freed_memory.cache_clear()
    process.keep_freed_memory()
    process.keep_freed_memory()
    assert asked == [(-3, 32 << 20), (-1, 256 << 20)] * allowed
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "0")
    process.keep_freed_memory.cache_clear()
    process.keep_freed_memory()
    assert len(asked) == 2 * allowed  # the user's choice stays
