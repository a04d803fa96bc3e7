"""The interface between the library and its array libraries.

A primitive never names NumPy: ``xp(x)`` is the namespace of its arrays, and ``backend_of(x)`` has
the few functions that array libraries name differently or lack. To add a library, subclass
:class:`Backend`, override what differs, and register its array type (:func:`register`); no
primitive changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeAlias

import numpy
from numpy.exceptions import AxisError

from .dtypes import floating, narrowed, wider
from .erf import erf
from .random import generator
from .scan import SCAN
from .shares import BLOCK, in_blocks, product
from .steps import STEPS, by_block, squares

__all__ = [
    "Array", "AxisError", "Backend", "Source", "backend_of", "is_array", "one_backend", "register",
    "several", "there", "xp",
]  # fmt: skip

Array: TypeAlias = "numpy.ndarray[Any, Any] | Any"
"""An array of whichever library computes; ``numpy.ndarray`` by default."""


PART = 128  # rows that are added one by one

MANY = 8192
"""Of more numbers :meth:`Backend.where` chooses by bits."""

_BITS = {"f": numpy.int32, "d": numpy.int64}


class Source(NamedTuple):
    """The C code of one GPU thread for element ``i``; ``T`` is the dtype of its arrays.

    The arguments of ``cupy.ElementwiseKernel``, or of ``ReductionKernel`` if it reduces.
    """

    ins: str
    outs: str
    body: str
    reduce: tuple[str, str, str] | None = None  # of two values, at the end, the start


class Backend:
    """An array library: its namespace, the way to and from the host, and its kernels.

    The methods here are written with the namespace. They are the reference; another backend may
    override each.

    Attributes:
        name: The name for users, ``"numpy"``.
        np: The array namespace, with NumPy's names.
        array_type: The type of its arrays.
        kernels: Linear recurrences (``scan``), the softmax cross-entropy and the steps of
            optimizers (``steps``), by name.
        kernel: Compiles a :class:`Source` if derived loops are kernels (``recurrence``); None if
            they are calls of the namespace.
        flat: Whether an optimizer joins the parameters of a group into one buffer, because each
            call costs more than its computation.
    """

    name = "numpy"
    np: Any = numpy
    array_type: Any = numpy.ndarray
    kernels: Mapping[str, Callable[..., Any]] = STEPS | SCAN
    kernel: Callable[..., Any] | None = None
    flat = False

    def to_host(self, array: Array) -> numpy.ndarray:
        """The same values as a NumPy array."""
        return numpy.asarray(array)

    def from_host(self, array: numpy.ndarray) -> Array:
        """The same values as an array of this library."""
        return array

    def synchronize(self) -> None:
        """Wait until everything is computed; NumPy always is."""

    def use_device(self, number: int) -> None:
        """Compute on this device of the machine from now on; the host has only one."""

    def joint_sum(
        self, rank: int, size: int, hand_round: Callable[[Any], Any]
    ) -> Callable[[Array], Array] | None:
        """A function for Σ over ranks on their devices, or None if arrays are on the host anyway.

        Args:
            rank: The number of this process.
            size: The number of processes.
            hand_round: Returns on every rank its argument on rank 0.
        """
        return None

    def uniform(self, shape: tuple[int, ...]) -> Array:
        """Draw float32 from U[0, 1), for masks, seeded by the library's generator."""
        return generator().random(shape, dtype=numpy.float32)

    def quiet(self) -> AbstractContextManager[Any]:
        """No floating-point warnings inside."""
        return numpy.errstate(all="ignore")

    def erf(self, x: Array) -> Array:
        """Error function, 2/√π ∫₀ˣ e^(-t²) dt, to about 1e-16.

        Its sixty passes over an array go block by block, so that they stay in the cache.
        """
        np = self.np
        if np is not numpy or not is_array(x) or x.dtype.kind != "f" or x.size <= BLOCK:
            return narrowed(erf(np, wider(x)), x)
        y = np.empty(x.shape, x.dtype)

        def block(y: Array, x: Array) -> None:
            y[...] = erf(np, wider(x))

        by_block(block, y, np.ascontiguousarray(x))
        return y

    def sum(self, x: Array, axis: Any, keepdims: bool) -> Array:
        """Σ x along axes. Where NumPy adds row by row, add in parts: rounding grows with the rows.

        float16 is added in float32.
        """
        np = self.np
        if not is_array(x) or x.dtype.kind != "f":
            return np.sum(x, axis=axis, keepdims=keepdims)
        wide = wider(x)
        if x.size > 2 * PART:
            wide = self._in_parts(wide, axis)
        return narrowed(wide.sum(axis=axis, keepdims=keepdims), x)

    def _in_parts(self, x: Array, axis: Any) -> Array:
        """x with its long rows added in parts, where its sum along axes would add row by row."""
        np = self.np
        axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        known = set(axes) <= set(range(-x.ndim, x.ndim))  # else the sum refuses
        for k in axes if known and (len(axes) < x.ndim or not x.flags.c_contiguous) else ():
            while x.strides[k] > x.itemsize and x.shape[k] > 2 * PART:
                rows = np.moveaxis(x, k, 0)
                whole = len(rows) // PART * PART
                parts = rows[:whole].reshape(-1, PART, *rows.shape[1:]).sum(axis=1)
                parts = np.concatenate([parts, rows[whole:].sum(axis=0, keepdims=True)])
                x = np.moveaxis(parts, 0, k)
        return x

    def mean(self, x: Array, axis: Any, keepdims: bool) -> Array:
        """Σ x / n along axes."""
        np = self.np
        if not is_array(x) or x.dtype.kind != "f" or not x.size:
            return np.mean(x, axis=axis, keepdims=keepdims)
        total = self.sum(wider(x), axis, keepdims)
        return narrowed(total * (np.size(total) / x.size), x)

    def matmul(self, a: Array, b: Array) -> Array:
        """NumPy's matmul."""
        return product(a, b) if self.np is numpy else self.np.matmul(a, b)

    def plus_row(self, y: Array, row: Array | None) -> Array:
        """y ``(..., n)`` + row ``(n,)``, written to y if the dtype allows it."""
        np = self.np
        if row is None:
            return y
        if np.shape(row) != y.shape[-1:] or np.result_type(y, row) != y.dtype:
            return y + row
        if np is not numpy or y.size <= BLOCK:
            return np.add(y, row, out=y)
        rows = y.reshape(-1, y.shape[-1])
        in_blocks(lambda low, high: np.add(rows[low:high], row, out=rows[low:high]), *rows.shape)
        return y

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + e⁻ˣ), in place after the first step."""
        np, x = self.np, floating(x)  # an unsigned x has no -x
        with np.errstate(over="ignore"):  # e⁻ˣ = ∞ gives the right limit, 0
            y = np.exp(np.negative(x))
        y += 1
        return np.reciprocal(y)

    def where(self, condition: Array, a: Array, b: Array) -> Array:
        """a where the condition holds, else b.

        Of many numbers on the host by their bits: NumPy branches at each, which takes ten times as
        long where the condition is irregular.
        """
        np, condition = self.np, self.np.asarray(condition, bool)
        if np is numpy and condition.size > MANY:
            dtype = np.result_type(a, b)
            bits = _BITS.get(dtype.char)
            if bits and all(getattr(x, "dtype", dtype) == dtype for x in (a, b)):
                a, b = (np.asarray(x, dtype).view(bits) for x in (a, b))
                chosen = (-condition.view(np.int8)).astype(bits) & (a ^ b)
                chosen ^= b
                return chosen.view(dtype)
        return np.where(condition, a, b)

    def product(self, a: Array, b: Array) -> Array:
        """a b, and 0 where a is 0, or where b is 0 and a is not NaN."""
        np = self.np
        with self.quiet():
            y = np.multiply(a, b)
            if np.isnan(np.sum(y)):
                y = self.where((a == 0) | ((b == 0) & (a == a)), 0.0, y)
        return y

    def quotient(self, a: Array, b: Array) -> Array:
        """a / b, and 0 where a is 0."""
        np = self.np
        with self.quiet():
            y = np.true_divide(a, b)
            if np.isnan(np.sum(y)):
                y = self.where(a == 0, 0.0, y)
        return y

    def joint_norm(self, gradients: Sequence[Array]) -> Any:
        """The norm of all gradients as one vector, without overflow of g²."""
        return math.hypot(*(self._norm(g) for g in gradients))

    def _norm(self, g: Array) -> float:
        np = self.np
        norm = math.sqrt(squares(g))
        if 1e-15 < norm < math.inf:
            return norm
        largest = float(np.max(np.abs(g))) if g.size else 0.0
        if largest == 0 or not math.isfinite(largest):
            return largest
        return largest * math.sqrt(squares(g / largest))

    def shrink(self, gradients: Sequence[Array], norm: Any, bound: float, eps: float) -> bool:
        """Write g ← g · min(1, bound / (norm + ε)) into every gradient; returns if it did."""
        scale = bound / (norm + eps)
        if scale >= 1:
            return False
        for g in gradients:
            by_block(lambda part: self.np.multiply(part, scale, out=part), g)  # also if it is NaN
        return True

    def index(self, index: Any, shape: tuple[int, ...]) -> Any:
        """An index into an array of that shape, in the form of this array library."""
        return index

    def assign(self, target: Array, index: Any, values: Any) -> None:
        """``target[index] = values``; for a repeated position the last value stays."""
        target[index] = values

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        """``target[index] += values`` where duplicates in ``index`` add up; writes ``target``.

        Whole rows chosen by one integer array (the gradient of an embedding) are sorted and
        summed run by run, several times faster than adding them one at a time.
        """
        np = self.np
        rows = index[0] if isinstance(index, tuple) and len(index) == 1 else index
        if not (is_array(rows) and rows.dtype.kind in "iu" and rows.size and target.ndim > 1):
            # add.at reads past the end of values that it must broadcast (NumPy 2.4)
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
_by_type: dict[type, Backend] = {numpy.ndarray: _numpy}


def register(backend: Backend) -> Backend:
    """Register a backend for the type of its arrays."""
    _by_type[backend.array_type] = backend
    return backend


def backend_of(*values: Any) -> Backend:
    """The backend of the first array among ``values``; NumPy when there is none."""
    for value in values:
        backend = _by_type.get(type(value))
        if backend is not None:
            return backend
    return _numpy


def xp(value: Any = None, *others: Any) -> Any:
    """The array namespace (NumPy's names) of the first array among the arguments."""
    if type(value) is numpy.ndarray:  # called in every operation
        return numpy
    return backend_of(value, *others).np


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array of a registered library."""
    return type(value) in _by_type or isinstance(value, numpy.ndarray)


def there(array: Array, beside: Array) -> Array:
    """``array`` on the device of the array ``beside``: itself, or a copy."""
    here, target = backend_of(array), backend_of(beside)
    return array if here is target else target.from_host(here.to_host(array))


def several() -> bool:
    """Whether a library other than NumPy is in use."""
    return len(_by_type) > 1


def one_backend(owner: str, values: Iterable[Any]) -> None:
    """Refuse arrays of two libraries in one operation.

    Raises:
        TypeError: the arrays among ``values`` are on different devices.
    """
    found = {b.name: v for v in values if (b := _by_type.get(type(v))) is not None}
    if len(found) > 1:
        what = " and ".join(f"one of shape {v.shape} on {name}" for name, v in found.items())
        raise TypeError(
            f"{owner} takes arrays on one side only; got {what}: bring them together with "
            f"t.to({next(iter(found))!r}) or t.to({list(found)[-1]!r})"
        )
