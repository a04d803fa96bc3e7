"""How many threads NumPy's matrix products take, where NumPy comes with OpenBLAS."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy

_NAMES = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads")
_lock = threading.Lock()
_inside = 0  # how many are in one_thread() now, and the number of threads to go back to
_before = 1


@contextmanager
def one_thread() -> Iterator[bool]:
    """Let matrix products take one thread in here; gives whether that could be said.

    OpenBLAS's own threads wait for work by spinning, and while they do, others share the processor
    with them. The setting is the process's; it is put back when the last one leaves.
    """
    global _inside, _before
    functions = _openblas()
    if functions is None:
        yield False
        return
    get, put = functions
    with _lock:
        if _inside == 0:
            _before = get()
            put(1)
        _inside += 1
    try:
        yield True
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                put(_before)


@functools.cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """How to read and set the number of threads of the OpenBLAS in NumPy's wheels."""
    here = Path(numpy.__file__).parent
    for folder in (here.parent / "numpy.libs", here / ".dylibs"):
        for path in folder.glob("*openblas*"):
            library = ctypes.CDLL(str(path))  # which is loaded already: this only asks for it
            for name in _NAMES:
                get = getattr(library, name.format("get"), None)
                put = getattr(library, name.format("set"), None)
                if get and put:
                    return get, put
    return None
