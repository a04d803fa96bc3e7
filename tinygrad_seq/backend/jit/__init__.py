"""The extra ``jit``: loops compiled by numba instead of NumPy's calls, if numba is installed.

The first recurrent layer that can be compiled imports numba. The machine code is kept on disk, so a
loop is compiled once per machine (:mod:`.cache`).

Switched off by ``use_jit(False)``, or by TINYGRAD_SEQ_JIT=0 in the environment.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import threading
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any

from ..forks import compiling, in_forked_child

__all__ = ["tried", "usable", "use_jit"]

_importing = threading.RLock()
_lost = False
_on = os.environ.get("TINYGRAD_SEQ_JIT", "1") != "0"


class use_jit:
    """Switch the compiled kernels on or off, from now on; in ``with``, until its end.

        ts.use_jit(False)        # NumPy alone
        with ts.use_jit(False):  # NumPy alone in here

    It holds for all threads. Without numba it has no effect.
    """

    def __init__(self, on: bool = True) -> None:
        global _on
        self._before = _on
        _on = bool(on)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _on
        _on = self._before


def usable() -> bool:
    """Whether compiling is switched on, possible and numba is installed."""
    return _on and not _lost and _installed()


def tried(module: str, name: str, *arguments: Any) -> Callable[..., None] | None:
    """A compiled function of this package, called once with ``arguments``; None if that fails."""
    try:
        function: Callable[..., None] = getattr(import_module(f".{module}", __name__), name)
        function(*arguments)
    except Exception:  # if the compiler fails in any way, NumPy is used
        return None
    return function


@in_forked_child
def _see_what_is_whole() -> None:
    """Compute loops with NumPy if another thread was importing numba, or compiling.

    In this process its work stays half done, and its locks stay locked.
    """
    global _lost
    for guard in (_importing, *compiling):
        if guard.acquire(blocking=False):
            guard.release()
        else:
            _lost = True


@functools.cache
def _installed() -> bool:
    if importlib.util.find_spec("numba") is None:
        return False
    with _importing, contextlib.suppress(Exception):  # who compiles is told what is amiss
        from . import packing, scan, texts  # noqa: F401  # they import numba
    return True
