"""The extra ``jit``: compiled kernels in place of the NumPy ones, where numba is installed.

Compiled is what goes step by step in an LSTM without projection, in float32; all else falls
through to ``recurrence``, which stays the reference. numba is imported at the first such LSTM,
never before; the machine code is kept on disk, so that it is compiled once for a machine.

Switched off by ``use_jit(False)``, or by TINYGRAD_SEQ_JIT=0 in the environment. Where the compiler
fails, one warning says so, and NumPy computes.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy

from .. import threads
from ..blas import one_thread
from ..recurrence import lstm as reference
from ..recurrence.common import Array, Saved, parameters

__all__ = ["KERNELS", "use_jit"]

ROWS = 8
"""Fewer steps times sequences are left to NumPy: packing the weights would not pay."""

WORK = 8_000_000
"""Fewer multiplications of a matrix product are not worth a thread: a tenth of a millisecond."""

_on = os.environ.get("TINYGRAD_SEQ_JIT", "1") != "0"


class use_jit:
    """Use the compiled kernels or not, from now on; in ``with``, until its end.

        ts.use_jit(False)        # NumPy alone
        with ts.use_jit(False):  # NumPy alone in here

    It holds for all threads. Without numba it makes no difference: there is only NumPy.
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


@functools.cache
def _compiled() -> Any:
    """The module of compiled steps; None without numba, or where it does not compile."""
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        from . import lstm as compiled  # compiles, or takes the machine code from the disk
    except Exception as error:
        warnings.warn(
            f"the compiled LSTM is not to be had here, NumPy computes it instead: {error} "
            "(NUMBA_CACHE_DIR says where machine code is kept; TINYGRAD_SEQ_JIT=0 turns this off)",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return compiled


def _steps_for(x: Array, *others: Array | None) -> Any:
    """The module of compiled steps, if it is to compute these: all in float32, and no few rows."""
    if not _on or x.shape[0] * x.shape[1] < ROWS:
        return None
    if not all(a.dtype == numpy.float32 for a in (x, *others) if a is not None):
        return None
    return _compiled()


def _steps(
    np: Any,
    x: Array,
    W: Array,
    U: Array,
    bias: Array | None,
    R: Array | None,
    mask: Array | None,
    reverse: bool,
    hs: Array,
    cs: Array,
    v: Array,
    hidden: Array | None,
) -> None:
    """As ``recurrence.lstm.lstm_steps``."""
    compiled = _steps_for(x, W, U, bias) if R is None else None
    if compiled is None:
        reference.lstm_steps(np, x, W, U, bias, R, mask, reverse, hs, cs, v, hidden)
    else:
        compiled.steps(x, W, U, bias, mask, reverse, hs, cs, v)


def _steps_backward(
    np: Any,
    gy: Array | None,
    saved: Saved,
    h_: Array,
    c_: Array,
    a_: Array,
    outer: Array | None,
) -> None:
    """As ``recurrence.lstm.lstm_steps_backward``."""
    compiled = _steps_for(saved.x, saved.U, gy) if outer is None else None
    if compiled is None:
        reference.lstm_steps_backward(np, gy, saved, h_, c_, a_, outer)
    else:
        compiled.steps_backward(gy, saved, h_, c_, a_)


def _product(a: Array, b: Array) -> Array:
    """a b, rows of a shared between the threads that share the steps."""
    rows = threads.share(len(a), WORK // max(1, b.size))
    with one_thread() as said:
        if not said or rows >= len(a):
            return numpy.matmul(a, b)
        out = numpy.empty((len(a), b.shape[1]), a.dtype)
        threads.at_once(lambda i, j: numpy.matmul(a[i:j], b, out[i:j]), len(a), rows)
        return out


def _parameters(
    np: Any, wanted: Any, saved: Saved, ax_: Array, ah_: Array, h: Array
) -> dict[str, Array]:
    """As ``recurrence.common.parameters``."""
    compiled = _steps_for(saved.x, saved.U) if saved.R is None else None
    return parameters(np, wanted, saved, ax_, ah_, h, None if compiled is None else _product)


KERNELS: dict[str, Callable[..., Any]] = {
    "lstm_forward": functools.partial(reference.lstm_forward, steps=_steps),
    "lstm_backward": functools.partial(
        reference.lstm_backward, steps=_steps_backward, products=_parameters
    ),
}
"""What takes the place of the NumPy kernels of these names."""
