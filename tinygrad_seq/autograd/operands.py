"""What goes into an operation and comes out: arrays and Python numbers, in the right dtype."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy

from ..backend import is_array, result_dtype, xp

# What a forward takes as it is. np.float64 is a Python float: weak, as Python numbers are.
PLAIN = frozenset((numpy.ndarray, float, int, bool, type(None)))

_FLOAT64 = numpy.dtype(numpy.float64)


def as_operand(value: Any, beside: Iterable[Any] = (), name: str = "an operation") -> Any:
    """A value given to an operation, as an array or a Python number.

    Lists take the float dtype of the arrays ``beside`` them, as Python numbers do.

    Raises:
        TypeError: it is nothing to compute with (a string, an object, a complex number).
    """
    if is_array(value) and value.dtype.kind in "fiubc":
        return value
    if isinstance(value, float):
        return float(value)
    array = numpy.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} takes tensors, arrays and real numbers; got {type(value).__name__} "
            f"{value!r:.60}"
        )
    weak = isinstance(value, (list, tuple)) and array.dtype.kind == "f"
    return array.astype(result_dtype(*beside)) if weak else array


def settle(out: Any, values: Iterable[Any]) -> Any:
    """A result as an array, which is float64 only if one of the ``values`` it came from was."""
    if type(out) is not numpy.ndarray:
        out = xp(out).asarray(out)
    if out.dtype is _FLOAT64:
        for value in values:
            if getattr(value, "dtype", None) is _FLOAT64:
                return out
        return out.astype(result_dtype(*values))
    return out


def all_finite(value: Any) -> bool:
    """Whether a value, or each of a tuple, holds no NaN and no Inf."""
    if isinstance(value, (tuple, list)):
        return all(all_finite(v) for v in value)
    if not is_array(value) or value.dtype.kind != "f":
        return True
    return bool(xp(value).isfinite(value).all())
