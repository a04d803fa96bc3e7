"""The extra ``jit``: compiled kernels in place of the NumPy ones, where numba is installed.

Compiled is what goes step by step in a recurrent layer, in float32; all else (and the LSTM with
projection) falls through to ``recurrence``, which stays the reference. numba is imported at the
first such layer, never before, and each kind is compiled at its first use; the machine code is kept
on disk, so that it is compiled once for a machine.

Switched off by ``use_jit(False)``, or by TINYGRAD_SEQ_JIT=0 in the environment. Where the compiler
fails, one warning says so, and NumPy computes.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, TypeAlias

import numpy

from .. import recurrence, threads
from ..blas import one_thread
from ..recurrence.common import Array, Saved, parameters
from ..recurrence.gru import gru_steps, gru_steps_backward
from ..recurrence.gru_after import gru_after_steps, gru_after_steps_backward
from ..recurrence.lstm import lstm_steps, lstm_steps_backward
from ..recurrence.rnn import relu_steps, relu_steps_backward, tanh_steps, tanh_steps_backward

__all__ = ["KERNELS", "use_jit"]

Kernel: TypeAlias = Callable[..., Any]

ROWS = 8
"""Fewer steps times sequences are left to NumPy: packing the weights would not pay."""

WORK = 8_000_000
"""Fewer multiplications of matrix products are not worth a thread: a tenth of a millisecond."""

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


def usable() -> bool:
    """Whether loops are to be compiled, and numba is installed."""
    return _on and _installed()


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


@functools.cache
def _compiled(kind: str) -> Any:
    """The module of compiled steps; None without numba, or where it does not compile."""
    if importlib.util.find_spec("numba") is None:
        return None
    try:  # compiles, or takes the machine code from the disk
        return importlib.import_module(f".{kind}", __name__)
    except Exception as error:
        warnings.warn(
            f"no compiled {kind.upper()} is to be had here, NumPy computes it instead: {error} "
            "(NUMBA_CACHE_DIR says where machine code is kept; TINYGRAD_SEQ_JIT=0 turns this off)",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def _compiled_for(kind: str, x: Array, *others: Any) -> Any:
    """The module of compiled steps, if it is to compute these: all in float32, and no few rows."""
    if not _on or x.shape[0] * x.shape[1] < ROWS:
        return None
    if not all(a.dtype in (numpy.float32, bool) for a in (x, *others) if hasattr(a, "dtype")):
        return None
    return _compiled(kind)


def _steps(kind: str, reference: Kernel, how: Any, np: Any, x: Array, *rest: Any) -> None:
    """The steps of a forward, with the arguments of the reference; compiled if they may be."""
    projected = kind == "lstm" and rest[3] is not None
    compiled = None if projected else _compiled_for(kind, x, *rest)
    if compiled is None:
        reference(np, x, *rest)
    else:
        compiled.steps(x, *rest, **how)


def _steps_backward(
    kind: str, reference: Kernel, how: Any, np: Any, gy: Array | None, saved: Saved, *rest: Any
) -> None:
    """The steps of a backward, with the arguments of the reference; compiled if they may be."""
    compiled = _compiled_after(kind, saved, gy)
    if compiled is None:
        reference(np, gy, saved, *rest)
    else:
        compiled.steps_backward(gy, saved, *rest, **how)


def _compiled_after(kind: str, saved: Saved, *others: Any) -> Any:
    """As :func:`_compiled_for`, of what a forward saved."""
    return None if saved.R is not None else _compiled_for(kind, saved.x, saved.U, *others)


def _parameters(
    kind: str, np: Any, wanted: Any, saved: Saved, ax_: Array, ah_: Array, h: Array
) -> dict[str, Array]:
    """As ``recurrence.common.parameters``; its products are collected, and made all at once."""
    if _compiled_after(kind, saved) is None:
        return parameters(np, wanted, saved, ax_, ah_, h)
    products = []

    def later(a: Array, b: Array) -> Array:
        products.append((a, b, numpy.empty((len(a), b.shape[1]), a.dtype)))
        return products[-1][2]

    gradients = parameters(np, wanted, saved, ax_, ah_, h, later)
    _multiply(products)
    return gradients


def _multiply(products: list[tuple[Array, Array, Array]]) -> None:
    """Of each (a, b, out): out = a b, rows of a shared between the threads that share the steps."""
    work = sum(a.size * b.shape[1] for a, b, _ in products)

    def rows(k: int, _: int) -> None:
        for a, b, out in products:
            i, j = len(a) * k // parts, len(a) * (k + 1) // parts
            numpy.matmul(a[i:j], b, out[i:j])

    with one_thread() as said:
        parts = -(-work // threads.share(work, WORK)) if said and work else 1
        threads.at_once(rows, parts, 1)


def _both(
    name: str, kind: str, steps: Kernel, steps_backward: Kernel, **how: Any
) -> dict[str, Kernel]:
    """Forward and backward of that name, with compiled steps in place of these."""
    forward, backward = (recurrence.KERNELS[f"{name}_{way}"] for way in ("forward", "backward"))
    return {
        f"{name}_forward": partial(forward, steps=partial(_steps, kind, steps, how)),
        f"{name}_backward": partial(
            backward,
            steps=partial(_steps_backward, kind, steps_backward, how),
            products=partial(_parameters, kind),
        ),
    }


KERNELS: dict[str, Kernel] = {
    **_both("lstm", "lstm", lstm_steps, lstm_steps_backward),
    **_both("gru", "gru", gru_steps, gru_steps_backward),
    **_both("gru_after", "gru_after", gru_after_steps, gru_after_steps_backward),
    **_both("rnn_tanh", "rnn", tanh_steps, tanh_steps_backward, relu=False),
    **_both("rnn_relu", "rnn", relu_steps, relu_steps_backward, relu=True),
}
"""What takes the place of the NumPy kernels of these names."""
