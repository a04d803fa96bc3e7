"""A strict stand-in for CuPy, where there is no GPU: what CuPy would refuse, it refuses.

Its arrays are no ndarrays. They speak the part of CuPy's API that CuPy has (``cupy_names.json``,
made by ``list_cupy.py`` from the wheel): other names and keywords fail. It refuses host arrays and
lists mixed in, ``np.asarray`` and NumPy's functions on its arrays, host arrays as indices, 0-d
arrays as Python ints, writes in which a position is repeated (on a GPU any of them may win), and
kernels that read, shifted, the memory they write. An index out of range wraps silently, as it does
there. What was never written is NaN. Kernels are
compiled as C and run element by element.

``counts`` has the launches, copies to and from the device, and the times that the host had to wait.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

NAMES = json.loads(Path(__file__).with_name("cupy_names.json").read_text())
FLOATS = (float, int, bool, complex, np.generic, type(None), str, type, np.dtype, slice)


class Counts:
    """What was asked of the device since the last ``reset``."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.launches = self.uploads = self.downloads = self.waits = 0


counts = Counts()


class ndarray:
    """An array on the device: values that only the functions of this module may touch."""

    __hash__ = None
    __array_priority__ = 100
    __slots__ = ("__weakref__", "_host", "base")

    def __init__(self, shape: Any, dtype: Any = float) -> None:
        self._host, self.base = np.empty(shape, dtype), None

    # -- refused, as CuPy does ------------------------------------------------------------------

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use `.get()`")

    def __array_ufunc__(self, ufunc: Any, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"numpy.{ufunc.__name__} was called with an array of the device")

    def __array_function__(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was called with an array of the device")

    # -- what needs no device -------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name in NAMES["methods"] and not name.startswith("__"):
            return lambda *args, **kwargs: _method(self, name, args, kwargs)
        if name in NAMES["attributes"] and name in ("T", "mT", "real", "imag"):
            return _wrap(getattr(self._host, name), (self,))
        if name in NAMES["attributes"]:
            return getattr(self._host, name)
        raise AttributeError(f"cupy.ndarray has no attribute {name!r}")

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Any:
        return (self[k] for k in range(len(self)))

    # -- reading back: the host waits -----------------------------------------------------------

    def get(self, stream: Any = None, order: str = "C", out: Any = None) -> np.ndarray:
        counts.downloads += 1
        counts.waits += 1
        return self._host.copy(order)

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec)

    # -- elements -------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> ndarray:
        host = _index(index, self._host.shape)
        return _wrap(self._host[host], (self,))

    def __setitem__(self, index: Any, value: Any) -> None:
        host = _index(index, self._host.shape)
        parts = host if isinstance(host, tuple) else (host,)
        if any(isinstance(p, np.ndarray) and p.dtype.kind in "iu" for p in parts):
            places = np.arange(self._host.size).reshape(self._host.shape)[host]
            if np.unique(places).size != places.size:
                raise AssertionError("a write in which a position is repeated: any may win")
        self._host[host] = _scalar_or_array(value)
        counts.launches += 1

    # -- exchange -------------------------------------------------------------------------------

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self._host.__array_interface__, "version": 3}

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._host.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    def __reduce__(self) -> Any:
        return _from_host, (self.get(),)


def _operator(name: str, own: Any, self: ndarray, other: Any) -> Any:
    """``self`` on the left of ``other``, by NEP 13: NumPy's ufunc asks CuPy's array first.

    CuPy then takes the memory of what has ``__cuda_array_interface__``, and answers with an array.
    A tensor that requires grad has none: a graph would be lost.
    """
    known = ndarray | np.ndarray | np.generic
    if isinstance(other, known) or not hasattr(other, "__array_ufunc__"):
        return own(self, other)
    if hasattr(other, "__cuda_array_interface__"):
        memory = types.SimpleNamespace(__array_interface__=other.__cuda_array_interface__, of=other)
        return own(self, _from_host(np.asarray(memory)))
    return other.__array_ufunc__(getattr(np, name), "__call__", self, other)


def _binary(name: str) -> Any:
    def forward(self: ndarray, other: Any) -> Any:
        return _operator(name, ufunc(name), self, other)

    def reflected(self: ndarray, other: Any) -> Any:
        return ufunc(name)(other, self)

    def in_place(self: ndarray, other: Any) -> Any:
        return ufunc(name)(self, other, out=self)

    return forward, reflected, in_place


_OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide",
    "floordiv": "floor_divide", "mod": "remainder", "pow": "power", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor",
}  # fmt: skip
for _sign, _name in _OPERATORS.items():
    for _prefix, _function in zip(("", "r", "i"), _binary(_name), strict=True):
        setattr(ndarray, f"__{_prefix}{_sign}__", _function)
_COMPARED = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
for _sign, _name in zip(("eq", "ne", "lt", "le", "gt", "ge"), _COMPARED, strict=True):
    setattr(ndarray, f"__{_sign}__", _binary(_name)[0])
for _sign, _name in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_sign}__", lambda self, _name=_name: ufunc(_name)(self))
ndarray.__matmul__ = lambda self, other: _operator("matmul", module.matmul, self, other)
ndarray.__rmatmul__ = lambda self, other: module.matmul(other, self)


# -- between the two sides ---------------------------------------------------------------------


def _from_host(array: np.ndarray) -> ndarray:
    made = ndarray.__new__(ndarray)
    made._host, made.base = array, None
    return made


def _wrap(value: Any, sources: tuple[Any, ...]) -> Any:
    """Results as arrays of the device; a view of an argument costs no launch."""
    if isinstance(value, list | tuple):
        return type(value)(_wrap(v, sources) for v in value)
    if not isinstance(value, np.ndarray | np.generic):
        return value
    made = _from_host(np.asarray(value))
    for source in sources:
        if source._host is made._host:
            return source
        if np.may_share_memory(source._host, made._host):
            made.base = source if source.base is None else source.base
            return made
    made._host = np.array(made._host)  # of its own
    counts.launches += 1
    return made


def refuse_race(out: ndarray, ins: Any, elementwise: bool = True) -> None:
    """Refuse to write where another thread may still read: elsewhere in the same memory."""
    for value in ins:
        if not isinstance(value, ndarray) or not np.may_share_memory(out._host, value._host):
            continue
        seen = [(a.ctypes.data, a.shape, a.strides) for a in (out._host, value._host)]
        if (seen[0] != seen[1] or not elementwise) and np.shares_memory(out._host, value._host):
            raise AssertionError("a kernel reads what its other threads write")


def _scalar_or_array(value: Any) -> Any:
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, FLOATS):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def _argument(value: Any) -> Any:
    """An argument of a function that is no ufunc: lists of arrays and shapes pass."""
    if isinstance(value, list | tuple):
        return type(value)(_argument(v) for v in value)
    return _scalar_or_array(value) if value is not Ellipsis else value


def _arrays(values: Any) -> tuple[ndarray, ...]:
    found: list[ndarray] = []
    for value in values:
        if isinstance(value, ndarray):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _arrays(value)
    return tuple(found)


def _index(index: Any, shape: tuple[int, ...]) -> Any:
    """An index as NumPy takes it; integers in arrays wrap where they are out of range.

    A float is cut short.
    """
    parts = index if isinstance(index, tuple) else (index,)
    taken = sum(
        p._host.ndim if isinstance(p, ndarray) and p._host.dtype.kind == "b" else 1
        for p in parts
        if p is not None and p is not Ellipsis
    )
    host, axis = [], 0
    for part in parts:
        if isinstance(part, ndarray):
            values = part._host
            if values.dtype.kind == "b":
                counts.waits += 1  # how many are true decides the shape
                axis += values.ndim
            else:
                values = values % shape[axis] if shape[axis] else values
                axis += 1
            host.append(values)
        elif part is Ellipsis:
            axis += len(shape) - taken
            host.append(part)
        elif part is None or isinstance(part, bool):
            host.append(part)
        elif isinstance(part, float):
            axis += 1
            host.append(int(part))
        elif isinstance(part, slice | int | np.integer):
            bounds = (part.start, part.stop, part.step) if isinstance(part, slice) else ()
            if any(isinstance(b, ndarray) for b in bounds):
                raise TypeError("slice bounds must be Python ints")
            axis += 1
            host.append(part)
        else:
            raise IndexError(f"arrays of the device are not indexed by {type(part)}")
    return tuple(host) if isinstance(index, tuple) else host[0]


def _check(what: str, names: list[str] | None, args: Any, kwargs: Any) -> None:
    """Refuse keywords, and numbers of arguments, that CuPy does not have."""
    free = names is None or any(n.startswith("*") for n in names)
    if not free and len(args) > len(names or ()):
        raise TypeError(f"{what} takes {names}; got {len(args)} arguments")
    allowed = None if names is None or "*" in names else set(names)
    unknown = set(kwargs) - allowed if allowed is not None else set()
    if unknown:
        raise TypeError(f"{what} got an unexpected keyword argument {sorted(unknown)}")


# -- functions ----------------------------------------------------------------------------------


def ufunc(name: str) -> Any:
    """An elementwise function: arrays of the device and scalars, nothing else."""
    nin = NAMES["ufuncs"][name]

    def call(*args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind") -> Any:
        if len(args) > nin:
            args, (out,) = args[:nin], args[nin:]
        given = [_scalar_or_array(a) for a in args]
        if not _arrays(args):
            return _wrap(getattr(np, name)(*given), ())
        with np.errstate(all="ignore"):
            f = getattr(np, name)  # NumPy has some of CuPy's ufuncs as functions
            typed = {"dtype": dtype, "casting": casting} if isinstance(f, np.ufunc) else {}
            result = f(*given, **typed)
        if out is None:
            return _wrap(result, ())
        refuse_race(out, args)
        if not np.can_cast(result.dtype, out.dtype, casting):
            raise TypeError(f"output (typecode {out.dtype}) cannot hold {result.dtype}")
        out._host[...] = result
        counts.launches += 1
        return out

    call.reduce = lambda *args, **kwargs: _call(
        f"{name}.reduce", getattr(np, name).reduce, NAMES["ufunc_methods"]["reduce"], args, kwargs
    )
    return call


def _call(what: str, function: Any, names: Any, args: Any, kwargs: Any) -> Any:
    _check(what, names, args, kwargs)
    if what == "matmul" and len(args) > 2:
        raise ValueError("According to `signature`, `func` requires 2 arguments, but 3 given")
    if what == "array_equal" and not all(hasattr(a, "shape") for a in args[:2]):
        raise AttributeError("'list' object has no attribute 'shape'")
    counts.waits += what in ("argsort", "sort", "unique")  # Thrust, which sorts for CuPy, waits
    sources = _arrays((*args, *kwargs.values()))
    outs = kwargs.get("out")
    args, kwargs = _argument(args), {k: _argument(v) for k, v in kwargs.items()}
    with np.errstate(all="ignore"):
        result = function(*args, **kwargs)
    if outs is not None:
        refuse_race(outs, sources[:-1], elementwise=what not in ("matmul", "dot"))
        counts.launches += 1
        return outs
    return _wrap(result, sources)


def _method(self: ndarray, name: str, args: Any, kwargs: Any) -> Any:
    names = NAMES["methods"][name]
    if name == "astype":
        kwargs = {k: v for k, v in kwargs.items() if k != "copy" or v is not None}
    return _call(
        f"ndarray.{name}", lambda s, *a, **k: getattr(s, name)(*a, **k), names and ["self", *names],
        (self, *args), kwargs,
    )  # fmt: skip


class _Module(types.ModuleType):
    """The namespace: what CuPy has, computed by NumPy."""

    def __getattr__(self, name: str) -> Any:
        if name in NAMES["ufuncs"]:
            made = ufunc(name)
        elif name in NAMES["functions"]:
            function, names = getattr(np, name), NAMES["functions"][name]

            def made(*args: Any, **kwargs: Any) -> Any:
                return _call(name, function, names, args, kwargs)

        elif name in NAMES["values"]:
            made = getattr(np, name)
        else:
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        setattr(self, name, made)
        return made


module = _Module("cupy")
module.ndarray = ndarray


def array(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K", **kwargs: Any) -> Any:
    _check("array", NAMES["functions"]["array"], (), kwargs)
    if isinstance(obj, ndarray):
        counts.launches += 1
        return _from_host(np.array(obj._host, dtype, copy=copy, order=order))
    if _arrays([obj] if not isinstance(obj, list | tuple) else obj):
        raise TypeError("a list of arrays of the device is no array")
    counts.uploads += 1
    return _from_host(np.array(obj, dtype, copy=True, order=order))


def asarray(a: Any, dtype: Any = None, order: Any = None, **kwargs: Any) -> Any:
    _check("asarray", NAMES["functions"]["asarray"], (), kwargs)
    if isinstance(a, ndarray) and (dtype is None or a.dtype == dtype):
        return a
    return array(a, dtype, order=order or "K")


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, **kwargs: Any) -> Any:
    return a.get(order=order) if isinstance(a, ndarray) else np.asarray(a)


def from_dlpack(array: Any) -> ndarray:
    class Host:
        def __dlpack__(self, **kwargs: Any) -> Any:
            return array.__dlpack__()

        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

    return _from_host(np.from_dlpack(Host()))


def _empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    made = np.empty(shape, dtype, order)
    if made.dtype.kind == "f":
        made.fill(np.nan)  # whoever reads what was never written will see it
    return _from_host(made)


def _synchronize() -> None:
    counts.waits += 1


module.array, module.asarray, module.asnumpy = array, asarray, asnumpy
module.from_dlpack, module.empty = from_dlpack, _empty
module.empty_like = lambda prototype, dtype=None: _empty(prototype.shape, dtype or prototype.dtype)
stream = types.SimpleNamespace(synchronize=_synchronize)
module.cuda = types.SimpleNamespace(
    runtime=types.SimpleNamespace(getDeviceCount=lambda: 1), get_current_stream=lambda: stream
)
module.shape = lambda a: np.shape(_scalar_or_array(a))
module.ndim = lambda a: np.ndim(_scalar_or_array(a))


def install() -> types.ModuleType:
    """Let ``import cupy`` find this module."""
    from . import fake_kernels

    module.ElementwiseKernel = fake_kernels.ElementwiseKernel
    module.ReductionKernel = fake_kernels.ReductionKernel
    sys.modules["cupy"] = module
    return module


__all__ = ["counts", "install", "module", "ndarray"]
