"""Checks of the layers' arguments, with their error messages."""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from .. import ops
from ..autograd.observe import looked
from ..autograd.operands import on_host
from ..backend import default_dtype, generator, there, xp
from ..tensor import Tensor

State: TypeAlias = Tensor | tuple[Tensor, ...]
"""The state that a cell passes from step to step: one tensor, or a tuple of them."""

Mask: TypeAlias = np.ndarray[Any, Any]
"""Which steps are read, booleans ``(T, N)``, or ``(T,)`` for one sequence."""


def positive(owner: str, name: str, value: Any) -> int:
    """A size, as a positive int."""
    try:
        size = operator.index(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"{owner} expects an int for {name}; got {kind} {value!r}") from None
    if size < 1:
        raise ValueError(f"{owner} expects {name} of at least 1; got {size}")
    return size


def fraction(owner: str, name: str, value: float) -> float:
    """A probability, between 0 and 1."""
    if not isinstance(value, Real):
        raise TypeError(f"{owner} expects a number between 0 and 1 for {name}; got {value!r}")
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{owner} expects {name} between 0 and 1; got {value}")
    return float(value)


def flag(owner: str, name: str, value: Any) -> bool:
    """A setting that is True or False. (A string such as ``"False"`` would count as True.)"""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{owner} expects {name} to be True or False; got {value!r}")
    return bool(value)


def only_none(set_to_none: bool) -> None:
    """PyTorch's ``zero_grad(set_to_none=...)``: only its default, True, is supported."""
    if set_to_none is not True:
        raise ValueError(
            "zero_grad() makes gradients None: leave set_to_none out, and read p.grad as zero "
            "where it is None"
        )


def seed_of(owner: str, seed: Any) -> int:
    """A seed, 0 or more; for None one from the library's generator."""
    if seed is None:
        return int(generator().integers(2**63))
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"{owner} expects a seed that is an integer, 0 or more; got {seed!r}")
    return int(seed)


def floating_dtype(owner: str, dtype: Any) -> np.dtype[Any]:
    """A floating dtype; the default one for None."""
    chosen = default_dtype() if dtype is None else np.dtype(dtype)
    if chosen.kind != "f":
        raise TypeError(f"{owner} expects a floating dtype (float32, float64); got {chosen}")
    return chosen


def as_tensor(x: Any, dtype: Any = None) -> Tensor:
    """``x`` as a Tensor; Python numbers and lists take ``dtype``."""
    if isinstance(x, Tensor):
        return x
    return Tensor(x) if hasattr(x, "dtype") else Tensor(x, dtype=dtype)


def as_sequence(x: Any) -> Tensor:
    """``x`` as a Tensor. Host integers stay on the host: they are ids, which are checked there."""
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "iu":
        return Tensor._wrap(np.asarray(x))
    return as_tensor(x)


def beside(array: np.ndarray[Any, Any], x: Tensor) -> Any:
    """A host array copied to the device of ``x``."""
    return there(array, x._data)


def zeros_beside(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Zeros on the device of ``x``, in its dtype."""
    return Tensor._wrap(xp(x._data).zeros(shape, x.dtype))


def features(owner: str, x: Any, name: str, size: int, dtype: Any) -> Tensor:
    """An input whose last axis has ``size`` features of the dtype of the weights."""
    tensor = as_tensor(x, dtype)
    if tensor.ndim == 0 or tensor.shape[-1] != size:
        raise ValueError(
            f"{owner} expects {name}={size} on the last axis; got x of shape {tensor.shape}"
        )
    same_dtype(owner, "x", tensor, dtype)
    return tensor


def same_dtype(
    owner: str, name: str, tensor: Tensor, dtype: Any, other: str = "its weights"
) -> None:
    """Refuse to mix dtypes: a float64 input would quietly make float64 of a float32 model."""
    if tensor.dtype != dtype:
        raise TypeError(
            f"{owner} expects {name} of {dtype}, as {other}; got {tensor.dtype}: "
            f"use {name}.astype('{dtype}')"
        )


def state_of(
    owner: str, given: Any, names: tuple[str, ...], shapes: list[tuple[int, ...]], dtype: Any
) -> State:
    """A recurrent state: one tensor, or a tuple with one tensor for each name."""
    several = len(names) > 1
    parts = given if several else (given,)
    fits = isinstance(given, tuple | list) == several and len(parts) == len(names)
    if not fits or any(part is None or isinstance(part, int) for part in parts):
        wanted = f"a tuple ({', '.join(names)})" if several else "one tensor"
        got = f"a {type(given).__name__}"
        if isinstance(given, tuple | list):
            got += f" of {len(given)}" if not fits else " with None in it"
            if given and all(isinstance(part, int) for part in given):
                got = f"{given!r:.60}: lengths are given by name, lengths=[...]"
        raise TypeError(f"{owner} expects its state as {wanted}; got {got}")
    tensors = tuple(as_tensor(part, dtype) for part in parts)
    for name, tensor, shape in zip(names, tensors, shapes, strict=True):
        if tensor.shape != shape:
            raise ValueError(f"{owner} expects {name} of shape {shape}; got {tensor.shape}")
        same_dtype(owner, name, tensor, dtype)
    return tensors if several else tensors[0]


def _read(values: Any) -> np.ndarray[Any, Any]:
    """Ids, lengths and masks as a NumPy array: they are checked on the host."""
    if isinstance(values, Tensor):
        looked(values, "a check on the host")
    return on_host(values)


def integers(owner: str, name: str, values: Any) -> np.ndarray[Any, Any]:
    """Integers of any kind as a NumPy array of int64, so that arithmetic does not wrap."""
    array = _read(values)
    if array.size == 0 and not hasattr(values, "dtype"):
        array = array.astype(np.int64)  # NumPy makes floats of an empty list
    if array.dtype.kind not in "iu":
        raise TypeError(f"{owner} expects integer {name}; got {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise IndexError(f"{owner} expects {name} below 2^63; got {array.max()}")
    return array.astype(np.int64, copy=False)


def booleans(owner: str, name: str, values: Any) -> np.ndarray[Any, Any]:
    """Booleans of any kind as a NumPy array."""
    array = _read(values)
    if array.dtype.kind != "b":
        raise TypeError(f"{owner} expects a {name} of booleans; got {array.dtype}")
    return array.copy()  # the caller may overwrite it


def indices(owner: str, name: str, values: Any, size: int) -> np.ndarray[Any, Any]:
    """Integers within 0..size-1; the error names the first that is not, and its position."""
    array = integers(owner, name, values)
    return ops.index.ids_below(array, size, f"{owner} expects {name}")


def valid_steps(
    lengths: Any, mask: Any, shape: tuple[int, ...], owner: str = "a recurrent layer"
) -> Mask | None:
    """Which steps of x, ``(T, N, ...)`` or ``(T, I)``, are read; None if all are.

    Raises:
        TypeError: the lengths are not integers, or the mask is not booleans.
        ValueError: both are given, or the lengths are not one for each sequence, or not in 1..T, or
            the mask has not one for each step.
    """
    if mask is not None:
        if lengths is not None:
            raise ValueError("give lengths or a mask, not both: a mask says which steps are read")
        valid = mask_of(mask, shape, owner)
        return None if valid.all() else valid
    if lengths is None:
        return None
    array = integers(owner, "lengths", lengths)
    steps = shape[0]
    if len(shape) < 3:
        raise ValueError(f"lengths need a batch, x of shape (T, N, ...); got x of shape {shape}")
    if array.shape != shape[1:2]:
        raise ValueError(
            f"lengths must be one for each of {shape[1]} sequences, of shape ({shape[1]},); "
            f"got shape {array.shape}"
        )
    wrong = np.flatnonzero((array < 1) | (array > steps))
    if wrong.size:
        n = int(wrong[0])
        raise ValueError(f"lengths must be from 1 to {steps} steps; sequence {n} has {array[n]}")
    return None if (array == steps).all() else np.arange(steps)[:, None] < array


def mask_of(mask: Any, shape: tuple[int, ...], owner: str = "a recurrent layer") -> Mask:
    """The mask of an x of this shape, as a NumPy array."""
    array = booleans(owner, "mask", mask)
    expected = shape[: min(2, len(shape) - 1)]
    if array.shape != expected:
        raise ValueError(
            f"mask must have one boolean for each step, of shape {expected} "
            f"for x of shape {shape}; got shape {array.shape}"
        )
    return array
