"""Sets the number of threads of NumPy's matrix products, if NumPy uses OpenBLAS."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy

from . import process
from .forks import in_forked_child

T = TypeVar("T")

_NAMES = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads")
_lock = threading.RLock()  # a signal handler may run while its thread holds the lock
_inside: dict[int, int] = {}  # id of each active one_thread() -> its thread
_before: dict[str, int] = {}  # "threads": the number to restore


class one_thread:
    """Inside the block matrix products use one thread; yields whether that could be set.

    OpenBLAS's threads spin while they wait for work and so take processor time from others. The
    setting holds for the process; it is restored when the last block ends. An interrupt at the
    first moment of leaving a block would prevent this: see :func:`in_one_thread`.
    """

    def __enter__(self) -> bool:
        functions = _openblas()
        if functions is None or not process.allowed:
            return False
        get, put = functions
        with _lock:
            _inside[id(self)] = threading.get_ident()
            _before.setdefault("threads", get())  # one step, right if interrupted
            put(1)
        return True

    def __exit__(self, *error: object) -> None:
        with _lock:
            _inside.pop(id(self), None)
            _put_back()


def in_one_thread(work: Callable[[bool], T]) -> T:
    """``work(said)`` inside :class:`one_thread`, which ends even if interrupted at any moment."""
    inside = one_thread()
    try:
        return work(inside.__enter__())
    finally:
        try:
            inside.__exit__()
        finally:
            inside.__exit__()  # an interrupt may have ended the first call


def _put_back() -> None:
    functions, before = _openblas(), _before.get("threads")
    if functions and before is not None and not _inside:
        functions[1](before)
        _before.clear()  # last: an interrupt before this still finds the number


@in_forked_child
def _forget_others() -> None:
    """Keep only the forking thread's entry: the child has no other thread."""
    global _lock
    _lock = threading.RLock()
    for key, thread in list(_inside.items()):
        if thread != threading.get_ident():
            del _inside[key]
    _put_back()


def use_threads(number: int) -> bool:
    """Set the number of threads of matrix products; returns whether that could be set."""
    functions = _openblas()
    if functions is None:
        return False
    with _lock:
        if _inside:
            _before["threads"] = number  # to restore later
        else:
            functions[1](number)
    return True


@functools.cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """The functions that read and set the number of threads of the OpenBLAS in NumPy's wheels."""
    here = Path(numpy.__file__).parent
    for folder in (here.parent / "numpy.libs", here / ".dylibs"):
        for path in folder.glob("*openblas*"):
            library = ctypes.CDLL(str(path))  # already loaded: this only returns its handle
            for name in _NAMES:
                get = getattr(library, name.format("get"), None)
                put = getattr(library, name.format("set"), None)
                if get and put:
                    return get, put
    return None
