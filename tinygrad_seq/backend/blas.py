"""How many threads NumPy's matrix products take, where NumPy comes with OpenBLAS."""

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
_lock = threading.RLock()  # the handler of a signal may come in while its thread holds it
_inside: dict[int, int] = {}  # id of each one_thread() that holds now -> its thread
_before: dict[str, int] = {}  # "threads": the number to go back to


class one_thread:
    """Let matrix products take one thread in here; gives whether that could be said.

    OpenBLAS's own threads wait for work by spinning, and while they do, others share the processor
    with them. The setting is the process's; it is put back when the last one leaves. An interrupt
    at the first moment of leaving a block would leave it as it is: see :func:`in_one_thread`.
    """

    def __enter__(self) -> bool:
        functions = _openblas()
        if functions is None or not process.allowed:
            return False
        get, put = functions
        with _lock:
            _inside[id(self)] = threading.get_ident()
            _before.setdefault("threads", get())  # one step: an interrupted one was right already
            put(1)
        return True

    def __exit__(self, *error: object) -> None:
        with _lock:
            _inside.pop(id(self), None)
            _put_back()


def in_one_thread(work: Callable[[bool], T]) -> T:
    """``work(said)`` within :class:`one_thread`, which an interrupt at any moment leaves."""
    inside = one_thread()
    try:
        return work(inside.__enter__())
    finally:
        try:
            inside.__exit__()
        finally:
            inside.__exit__()  # an interrupt may have ended the first


def _put_back() -> None:
    functions, before = _openblas(), _before.get("threads")
    if functions and before is not None and not _inside:
        functions[1](before)
        _before.clear()  # afterwards: whoever interrupts here finds the number still


@in_forked_child
def _forget_others() -> None:
    """Of the threads that were inside, only the forking one has followed."""
    global _lock
    _lock = threading.RLock()
    for key, thread in list(_inside.items()):
        if thread != threading.get_ident():
            del _inside[key]
    _put_back()


def use_threads(number: int) -> bool:
    """Let matrix products take so many threads from now on; gives whether that could be said."""
    functions = _openblas()
    if functions is None:
        return False
    with _lock:
        if _inside:
            _before["threads"] = number  # to go back to
        else:
            functions[1](number)
    return True


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
