"""Making tensors: from values, of one value, and at random."""

from __future__ import annotations

from typing import Any

import numpy

from . import ops
from .autograd import is_grad_enabled
from .autograd.observe import replaceable
from .backend import backend_named, backend_of, current, default_dtype, generator
from .messages import warn
from .tensor import Tensor

_CUDA = (2, 13)  # DLPack's numbers for memory of a GPU, and for managed memory


def tensor(
    data: Any, dtype: Any = None, requires_grad: bool = False, name: str | None = None
) -> Tensor:
    """A tensor with a copy of ``data``; see :class:`Tensor`, which wraps an array uncopied.

    Of a tensor it copies the numbers, and warns if that tensor requires grad.
    """
    if isinstance(data, Tensor) and data.requires_grad and is_grad_enabled():
        warn(
            "ts.tensor copies the numbers of a tensor that requires grad, off the graph: say "
            "t.clone() to stay on the graph, or t.detach().clone() if a copy is wanted"
        )
    made = Tensor(data, dtype=dtype)
    made._data = made.clone()._data if isinstance(data, Tensor) else made._data.copy()
    made.name = name
    return made.requires_grad_(requires_grad)


def _shape(given: tuple[Any, ...]) -> tuple[int, ...]:
    """``(3, 4)`` or ``((3, 4),)`` as a shape."""
    listed = len(given) == 1 and isinstance(given[0], (tuple, list))
    shape = tuple(given[0] if listed else given)
    if not all(isinstance(n, (int, numpy.integer)) for n in shape):
        raise TypeError(f"a shape is made of integers, and dtype= is given by name; got {given}")
    return shape


def _made(array: Any, requires_grad: bool) -> Tensor:
    """A tensor of an array that is where it belongs."""
    return Tensor._wrap(array).requires_grad_(requires_grad)


@replaceable
def zeros(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of a shape, ``zeros(3, 4)`` or ``zeros((3, 4))``, float32 by default."""
    return _made(current().np.zeros(_shape(shape), dtype or default_dtype()), requires_grad)


@replaceable
def ones(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of a shape, ``ones(3, 4)`` or ``ones((3, 4))``, float32 by default."""
    return _made(current().np.ones(_shape(shape), dtype or default_dtype()), requires_grad)


@replaceable
def full(shape: Any, value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """One value everywhere, float32 by default; a tensor as the value stays on the graph."""
    if isinstance(value, Tensor):
        spread = ops.broadcast_to(value, _shape((shape,) if isinstance(shape, int) else shape))
        return spread if dtype is None else spread.astype(dtype)
    return _made(current().np.full(shape, value, dtype or default_dtype()), requires_grad)


@replaceable
def zeros_like(like: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros with the shape and dtype of ``like``."""
    like = Tensor(like)
    return _made(backend_of(like._data).np.zeros(like.shape, dtype or like.dtype), requires_grad)


@replaceable
def ones_like(like: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones with the shape and dtype of ``like``."""
    like = Tensor(like)
    return _made(backend_of(like._data).np.ones(like.shape, dtype or like.dtype), requires_grad)


@replaceable
def full_like(like: Any, value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """One value everywhere, with the shape and dtype of ``like``; a tensor stays on the graph."""
    like = Tensor(like)
    if isinstance(value, Tensor):
        return full(like.shape, value, dtype or like.dtype)
    return _made(
        backend_of(like._data).np.full(like.shape, value, dtype or like.dtype), requires_grad
    )


@replaceable
def arange(*bounds: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """start, start + step, ... up to but not stop: ``arange(stop)``, ``arange(start, stop, step)``.

    Integers give int64; a float among the bounds gives the default float.
    """
    array = numpy.arange(*bounds)
    if dtype is None and array.dtype.kind == "f":
        dtype = default_dtype()
    return Tensor(array if dtype is None else array.astype(dtype), requires_grad)


def linspace(
    start: Any, stop: Any, num: int = 50, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """``num`` evenly spaced values from start to stop, both included; of tensors, on the graph."""
    if isinstance(start, Tensor) or isinstance(stop, Tensor):
        spaced: Tensor = ops.arrange.evenly_spaced(start, stop, num)
        return spaced if dtype is None else spaced.astype(dtype)
    return Tensor(numpy.linspace(start, stop, num).astype(dtype or default_dtype()), requires_grad)


def eye(n: int, m: int | None = None, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """The identity matrix, float32 by default."""
    return _made(current().np.eye(n, m, dtype=dtype or default_dtype()), requires_grad)


def rand(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform on [0, 1), ``rand(3, 4)`` or ``rand((3, 4))``; from the library's generator."""
    return Tensor(generator().random(_shape(shape)).astype(dtype or default_dtype()), requires_grad)


def randn(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Standard normal, ``randn(3, 4)`` or ``randn((3, 4))``; from the library's generator."""
    return Tensor(
        generator().standard_normal(_shape(shape)).astype(dtype or default_dtype()), requires_grad
    )


def from_dlpack(other: Any) -> Tensor:
    """A tensor that shares memory with an array of another library, through DLPack.

    It lives where the array does: memory of a GPU comes as a tensor on ``"cupy"``.

    Raises:
        RuntimeError: the array is on a GPU, and CuPy cannot be had here.
    """
    device, _ = other.__dlpack_device__()
    name = "cupy" if device in _CUDA else "numpy"
    return Tensor._wrap(backend_named(name).np.from_dlpack(other))
