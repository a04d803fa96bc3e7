"""What the tests of the backends share."""

import pytest

from tinygrad_seq.backend import threads


@pytest.fixture
def with_threads(monkeypatch):
    def use(number):
        monkeypatch.setenv("TINYGRAD_SEQ_THREADS", str(number))
        threads.count.cache_clear()

    yield use
    monkeypatch.undo()
    threads.count.cache_clear()
