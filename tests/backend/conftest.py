"""What the tests of the backends share."""

import pytest

from tinygrad_seq.backend import blas, threads


@pytest.fixture
def with_threads(monkeypatch):
    def use(number):
        monkeypatch.setenv("TINYGRAD_SEQ_THREADS", str(number))
        threads.count.cache_clear()

    monkeypatch.setattr(threads, "_chosen", None)
    functions = blas._openblas()
    before = functions and functions[0]()
    yield use
    monkeypatch.undo()
    threads.count.cache_clear()
    if before:
        blas.use_threads(before)
