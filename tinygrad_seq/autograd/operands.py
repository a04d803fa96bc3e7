"""Arguments and results of an operation: arrays and Python numbers, in the right dtype."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import numpy

from ..backend import backend_of, current, is_array, one_backend, result_dtype, xp
from ..backend.dtypes import FLOAT16, FLOAT64
from ..messages import explain
from .graph import Variable
from .observe import known

# Numbers that a forward takes as they are, weak. NumPy's integers and np.float64 become such.
PLAIN = frozenset((float, int, bool))
# What a shape, axes or an index mostly holds: no array that would have to be copied.
STATIC = PLAIN | {type(None), type(...), slice}

REAL = "fiubc"  # kinds of dtypes; complex numbers are for complex-step checks on arrays alone

F = TypeVar("F", bound=Callable[..., Any])


def as_operand(value: Any, beside: Sequence[Any] = (), name: str = "an operation") -> Any:
    """A value given to an operation, as an array or a Python number.

    Lists take the float dtype and the device of the arrays ``beside`` them, as numbers do.

    Raises:
        TypeError: it is nothing to compute with (a string, an object, a complex number, a masked
            array).
    """
    refuse_masked(value, name)
    if is_array(value) and value.dtype.kind in REAL:
        return value
    if isinstance(value, (float, numpy.integer)):
        return value.item() if isinstance(value, numpy.generic) else value
    refuse_several(value)
    array = numpy.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} takes tensors, arrays and real numbers; got {type(value).__name__} "
            f"{value!r:.60}"
        )
    weak = isinstance(value, (list, tuple)) and array.dtype.kind == "f"
    array = array.astype(listed_dtype(value, *beside)) if weak else array
    return backend_of(*beside).from_host(array)


def on_host(value: Any) -> numpy.ndarray[Any, Any]:
    """The values of a tensor, an array of any library, a number or a list as a NumPy array."""
    array = value._data if isinstance(value, Variable) else value
    return numpy.asarray(backend_of(array).to_host(array))


def listed_dtype(value: Any, *beside: Any) -> Any:
    """The float dtype of (nested) lists: that of an element, or of the arrays ``beside`` them."""
    typed: list[Any] = [*beside]
    rest = [value]
    while rest:
        part = rest.pop()
        if isinstance(part, (list, tuple)):
            rest += part
        elif isinstance(getattr(part, "dtype", None), numpy.dtype):
            typed.append(part)
    return result_dtype(*typed)


def refuse_masked(value: Any, name: str) -> None:
    """Raise TypeError for a masked array, whose mask would be forgotten."""
    if isinstance(value, numpy.ma.MaskedArray):
        raise TypeError(
            f"{name} takes no masked array, for its mask would be lost: select with "
            "ts.where(~m.mask, x, 0.0), or give m.filled(value)"
        )


def refuse_several(value: Any) -> None:
    """Raise TypeError for a list or tuple of tensors on the graph, which an array would leave."""
    if _on_the_graph(value):
        kind = "tuple" if isinstance(value, tuple) else "list"
        raise TypeError(
            f"a {kind} of {len(value)} tensors is no tensor. If a layer returned it as (y, state), "
            "take its parts: y, state = layer(x). To make one tensor of them, use ts.stack([...])"
        )


def _on_the_graph(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_on_the_graph, value))
    return isinstance(value, Variable) and value._requires_grad


def together(name: str, values: list[Any], beside_tensors: Iterable[Any]) -> list[Any]:
    """The values of an operation, all on one side.

    NumPy arrays beside tensors of the device are new to it: they go where creation happens.

    Raises:
        TypeError: tensors, or arrays, of two sides; the message names both.
    """
    chosen = current()
    if any(type(value) is chosen.array_type for value in values):
        for k, arg in enumerate(beside_tensors):
            if type(arg) is numpy.ndarray:
                values[k] = chosen.from_host(values[k])
    one_backend(name, values)
    return values


def as_static(name: str, value: Any) -> Any:
    """A static parameter (an index, a shape): its tensors as arrays, its arrays and lists copied.

    So backward sees the index as it was, also if a loop has filled it again.

    Raises:
        TypeError: a tensor in it requires grad: no gradient would pass.
    """
    if name == "keepdims":
        return as_flag(name, value)
    if type(value) is tuple and STATIC.issuperset(map(type, value)):
        return value
    if isinstance(value, Variable):
        if value._requires_grad:
            raise TypeError(
                f"no gradient passes through {name}: give its values alone, with detach()"
            )
        value = value._data
    refuse_masked(value, name)
    if isinstance(value, (tuple, list)):
        parts = [as_static(name, part) for part in value]
        return tuple(parts) if isinstance(value, tuple) else parts
    if not is_array(value):
        return value
    return value if known(value) else value.copy()


def as_flag(name: str, value: Any) -> bool:
    """A static parameter that is true or false.

    Raises:
        TypeError: it is something else, which Python would take for true.
    """
    if not isinstance(value, (bool, numpy.bool_, int)):
        raise TypeError(f"{name} is True or False; got {value!r:.60}")
    return bool(value)


def settle(out: Any, values: Iterable[Any]) -> Any:
    """A result as an array, which is float64 only if one of the ``values`` it came from was."""
    if type(out) is not numpy.ndarray:
        out = xp(out).asarray(out)
    if out.dtype is FLOAT64:
        for value in values:
            if getattr(value, "dtype", None) is FLOAT64:
                return out
        return out.astype(result_dtype(*values))
    return out


def single(value: Any) -> Any:
    """A float16 array or tensor, and those of a tuple, in float32; others unchanged."""
    if type(value) is tuple:
        return tuple(map(single, value))
    half = getattr(value, "dtype", None) is FLOAT16
    return value.astype(numpy.float32) if half else value


def in_single(function: F) -> F:
    """Let a function compute in float32 where float16 is too short; the result is as its first
    argument."""

    first = next(iter(inspect.signature(function).parameters))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            y = function(*map(single, args), **{k: single(v) for k, v in kwargs.items()})
        except TypeError as error:
            explain(error, function.__name__, function, args, kwargs)
            raise
        x = args[0] if args else kwargs[first]
        return y.astype(FLOAT16) if getattr(x, "dtype", None) is FLOAT16 else y

    return cast("F", call)


def all_finite(value: Any) -> bool:
    """Whether a value, or each of a tuple, holds no NaN and no Inf."""
    if isinstance(value, (tuple, list)):
        return all(all_finite(v) for v in value)
    if type(value) is float:
        return math.isfinite(value)
    if not is_array(value) or value.dtype.kind != "f":
        return True
    return bool(xp(value).isfinite(value).all())
