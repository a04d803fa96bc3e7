"""The seam between the library and the arrays that it computes with.

A primitive never names NumPy: it asks ``xp(x)`` for the namespace of the arrays it was given, and
``backend_of(x)`` for the few kernels that array libraries spell differently or lack. Another
library joins by subclassing :class:`Backend`, overriding what it has a faster form of, and
registering its array type; no primitive changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import numpy
from numpy.exceptions import AxisError

from .erf import erf
from .jit import KERNELS as COMPILED
from .recurrence import KERNELS

__all__ = ["Array", "AxisError", "Backend", "backend_of", "is_array", "xp"]

Array: TypeAlias = Any
"""An array of whichever library computes; ``numpy.ndarray`` by default."""


class Backend:
    """An array library: its namespace, the way to and from the host, and its kernels.

    The methods written here are the composites in terms of the namespace: the reference, which
    another backend may replace one by one.

    Attributes:
        name: How users name it, ``"numpy"``.
        np: The array namespace, with NumPy's names.
        array_type: The type of its arrays.
        kernels: Recurrent layers over a whole sequence, by name; see ``recurrence``.
    """

    name = "numpy"
    np: Any = numpy
    array_type: type = numpy.ndarray
    kernels: Mapping[str, Callable[..., Any]] = KERNELS

    def to_host(self, array: Array) -> numpy.ndarray:
        """The same values as a NumPy array."""
        return numpy.asarray(array)

    def from_host(self, array: numpy.ndarray) -> Array:
        """The same values as an array of this library."""
        return array

    def quiet(self) -> AbstractContextManager[Any]:
        """No floating-point warnings inside."""
        return numpy.errstate(all="ignore")

    def erf(self, x: Array) -> Array:
        """Error function, 2/√π ∫₀ˣ e^(-t²) dt, to about 1e-16."""
        return erf(self.np, x)

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + e⁻ˣ), in place after the first step."""
        np = self.np
        with np.errstate(over="ignore"):  # e⁻ˣ = ∞ gives the right limit, 0
            y = np.exp(np.negative(x))
        y += 1
        return np.reciprocal(y)

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        """``target[index] += values`` where duplicates in ``index`` add up; writes ``target``.

        Whole rows chosen by one integer array (the gradient of an embedding) are sorted and
        summed run by run, several times faster than adding them one at a time.
        """
        np = self.np
        rows = index[0] if isinstance(index, tuple) and len(index) == 1 else index
        if not (is_array(rows) and rows.dtype.kind in "iu" and rows.size and target.ndim > 1):
            # add.at reads past the end of values that it has to broadcast itself (NumPy 2.4)
            np.add.at(target, index, np.broadcast_to(values, target[index].shape))
            return
        ids, n = rows.reshape(-1), target.shape[0]
        if ids.min() < -n or ids.max() >= n:
            raise IndexError(f"index {ids.min()}..{ids.max()} is out of bounds for {n} rows")
        ids = ids % n  # a negative id counts from the end
        values = np.broadcast_to(values, rows.shape + target.shape[1:])
        values = values.reshape((ids.size, *target.shape[1:]))
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
        target[ids[starts]] += np.add.reduceat(values[order], starts, axis=0)


_numpy = Backend()
_numpy.kernels = KERNELS | COMPILED  # these fall through to the others without numba
_by_type: dict[type, Backend] = {numpy.ndarray: _numpy}


def backend_of(*values: Any) -> Backend:
    """The backend of the first array among ``values``; NumPy when there is none."""
    for value in values:
        backend = _by_type.get(type(value))
        if backend is not None:
            return backend
    return _numpy


def xp(value: Any = None, *others: Any) -> Any:
    """The array namespace (NumPy's names) of the first array among the arguments."""
    backend = _by_type.get(type(value))
    return backend_of(*others).np if backend is None else backend.np


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array of a known library."""
    return type(value) in _by_type or isinstance(value, numpy.ndarray)
