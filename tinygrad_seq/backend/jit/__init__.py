"""The extra ``jit``: loops compiled by numba instead of NumPy's calls, if numba is installed.

The first recurrent layer that can be compiled imports numba. The machine code is kept on disk, so a
loop is compiled once per machine (:mod:`.cache`).

Switched off by ``use_jit(False)``, or by TINYGRAD_SEQ_JIT=0 in the environment.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from types import TracebackType

__all__ = ["usable", "use_jit"]

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
    """Whether compiling is switched on and numba is installed."""
    return _on and _installed()


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None
