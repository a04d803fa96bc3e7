"""The float dtype of Python numbers, how dtypes combine, and the form that compiled code reads."""

from __future__ import annotations

from typing import Any

import numpy

FLOAT64 = numpy.dtype(numpy.float64)
FLOAT16 = numpy.dtype(numpy.float16)
_default = numpy.dtype(numpy.float32)


def default_dtype() -> numpy.dtype[Any]:
    """The float dtype of tensors made from Python numbers and lists (float32 at start)."""
    return _default


def set_default_dtype(dtype: Any) -> None:
    """Set the float dtype of tensors made from Python numbers and lists.

    Raises:
        TypeError: ``dtype`` is not a floating dtype.
    """
    global _default
    chosen = numpy.dtype(dtype)
    if chosen.kind != "f":
        raise TypeError(f"the default dtype must be floating (float32, float64); got {chosen}")
    _default = chosen


def fitted(values: numpy.ndarray[Any, Any], dtype: Any, what: str) -> numpy.ndarray[Any, Any]:
    """Loaded values, on the host, in another dtype.

    Raises:
        ValueError: a finite value overflows in ``dtype``.
    """
    with numpy.errstate(over="ignore"):
        cast = values.astype(dtype, copy=False)
    if not numpy.can_cast(values.dtype, dtype):
        lost = numpy.isinf(cast) & numpy.isfinite(values)
        if lost.any():
            raise ValueError(f"{what} holds {values[lost][0]}, which is beyond {cast.dtype}")
    return cast


def floating(x: Any) -> Any:
    """Floats, complex numbers and Python numbers unchanged; other arrays as float64."""
    return x if getattr(x, "dtype", FLOAT64).kind in "fc" else x.astype(numpy.float64)


def plain(x: Any) -> Any:
    """The array, or a copy in the form that code is compiled for: C order, aligned, writeable."""
    return x if x.flags.carray else x.copy()


def wider(x: Any) -> Any:
    """float16 as float32 and integers as float64, for sums and squares."""
    return x.astype(numpy.float32) if _is_half(x) else floating(x)


def narrowed(y: Any, x: Any) -> Any:
    """A result computed from ``wider(x)``, converted back if x was float16."""
    return y.astype(FLOAT16) if _is_half(x) else y


def _is_half(x: Any) -> bool:
    return getattr(x, "dtype", None) is FLOAT16


def result_dtype(*values: Any) -> numpy.dtype[Any]:
    """The float dtype of a computation on ``values``: the widest float array among them.

    Integers and Python numbers are weak: they never widen a float, and alone they give the
    default float.
    """
    floats = [v.dtype for v in values if hasattr(v, "dtype") and v.dtype.kind == "f"]
    return numpy.result_type(*floats) if floats else _default
