"""NumPy's own functions on tensors: ``np.tanh(t)`` is ``ts.tanh(t)``, on the graph.

The table pairs each NumPy function with the function of ``ops`` of the same name. A call is read by
NumPy's signature, with its positions and keywords. An argument that our function lacks is refused
unless it has NumPy's default. A function outside the table gets NumPy arrays if nothing requires
grad, and raises otherwise. No NumPy function gets a tensor as an object.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy

from . import ops
from .autograd import Variable, mark_written
from .autograd.observe import looked
from .autograd.operands import on_host
from .backend import backend_of, xp
from .trees import leaves, mapped


def _where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    if x is None and y is None:
        return numpy.nonzero(_on_host(condition))
    return ops.where(condition, x, y)


def _full_like(a: Any, fill_value: Any, dtype: Any = None) -> Any:
    if not _requires_grad(fill_value):
        return numpy.full_like(_on_host(a), _on_host(fill_value), dtype=dtype)
    spread = ops.broadcast_to(fill_value, numpy.shape(a))
    return spread if dtype is None else ops.astype(spread, dtype)


def _svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    if not compute_uv:
        return ops.linalg.svdvals(a)
    if full_matrices and a.shape[-1] != a.shape[-2]:
        raise ValueError("np.linalg.svd of a tensor is compact: say full_matrices=False")
    return ops.linalg.svd(a)


def _listed(cut: Callable[..., Any]) -> Callable[..., Any]:
    """A function that splits, with its pieces in a list as in NumPy."""
    return functools.wraps(cut)(lambda *args, **kwargs: list(cut(*args, **kwargs)))


_WRITES = ("put_along_axis",)  # NumPy's writes into its argument, ours is a function
_CUTS = ("split", "array_split", "hsplit", "vsplit", "dsplit")

TABLE: dict[Any, Callable[..., Any]] = {
    **{
        getattr(numpy, name): getattr(ops, name)
        for name in ops.__all__
        if hasattr(numpy, name) and name not in _WRITES
    },
    **{
        getattr(numpy.linalg, name): getattr(ops.linalg, name)
        for name in ops.linalg.__all__
        if hasattr(numpy.linalg, name)
    },
    **{getattr(numpy, name): _listed(getattr(ops, name)) for name in _CUTS},
    numpy.amax: ops.max,
    numpy.amin: ops.min,
    numpy.full_like: _full_like,
    numpy.copy: lambda x: x * 1,
    numpy.fix: ops.trunc,
    numpy.lib.stride_tricks.sliding_window_view: ops.sliding_window_view,
    numpy.linalg.svd: _svd,
    numpy.linspace: ops.arrange.evenly_spaced,
    numpy.positive: lambda x: x,
    numpy.rint: lambda x: ops.round(x),
    numpy.where: _where,
}
"""NumPy's functions, each with ours."""

METHODS: dict[str, dict[Any, Callable[..., Any]]] = {
    "reduce": {
        numpy.add: ops.sum,
        numpy.multiply: ops.prod,
        numpy.maximum: ops.max,
        numpy.minimum: ops.min,
        numpy.logaddexp: ops.logsumexp,
        numpy.logical_and: ops.all,
        numpy.logical_or: ops.any,
    },
    "accumulate": {
        numpy.add: ops.cumsum,
        numpy.multiply: ops.cumprod,
        numpy.maximum: ops.cummax,
        numpy.minimum: ops.cummin,
        numpy.logaddexp: ops.logcumsumexp,
    },
}
"""Methods of ufuncs: ``np.add.reduce`` and the like. ``outer`` is there for all."""

# Shapes, order, equality and constants: they have no derivative, so values are enough.
_ON_VALUES = """
    allclose argpartition argwhere array_equal array_equiv count_nonzero digitize flatnonzero
    isclose isin isneginf isposinf lexsort nanargmax nanargmin nonzero searchsorted
"""
_ON_SHAPES = """
    can_cast common_type empty_like iscomplexobj isrealobj may_share_memory ndim ones_like
    result_type shape shares_memory size zeros_like
"""
ON_SHAPES = frozenset(getattr(numpy, name) for name in _ON_SHAPES.split())
ON_VALUES = ON_SHAPES.union(getattr(numpy, name) for name in _ON_VALUES.split())

# Arguments that change neither values nor gradients: the sort algorithm, the memory layout.
_NO_MATTER = {"kind", "stable", "casting", "copy", "subok", "optimize", "overwrite_input"}
_WRITE_UNCOPIED = (numpy.nan_to_num,)  # with copy=False, into their argument
_OTHER_NAME = {"a_min": "min", "a_max": "max", "newshape": "shape", "correction": "ddof"}
_IDENTITY = {ops.sum: 0, ops.prod: 1, ops.nansum: 0, ops.all: True, ops.any: False}
_JOINED = {ops.sum: ops.add, ops.prod: ops.multiply, ops.max: ops.maximum, ops.min: ops.minimum}
_WIDENED = {  # which take dtype, and compute in it
    ops.sum, ops.prod, ops.mean, ops.var, ops.std, ops.trace, ops.cumsum, ops.cumprod, ops.nansum,
    ops.nanmean, ops.cumulative_sum, ops.cumulative_prod, ops.linalg.trace,
}  # fmt: skip
_UFUNC = {"where": True, "order": "K", "dtype": None}

# Signatures of C functions, which older NumPys do not tell.
_TOLD: dict[Any, Callable[..., Any]] = {
    numpy.concatenate: lambda arrays, /, axis=0, out=None, *, dtype=None, casting="same_kind": 0,
    numpy.dot: lambda a, b, out=None: 0,
    numpy.inner: lambda a, b, /: 0,
    numpy.where: _where,
}


# What writes into its first argument.
WRITERS = frozenset(
    (numpy.copyto, numpy.fill_diagonal, numpy.place, numpy.put, numpy.put_along_axis, numpy.putmask)
)


def from_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What ``Tensor.__array_ufunc__`` does: the op of the ufunc's name, or of its method's."""
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    if any(out is not None for out in kwargs.get("out") or ()):
        raise TypeError(_refusal(name, "out"))
    if method in METHODS and ufunc in METHODS[method]:
        kwargs = {"axis": 0, **kwargs}  # where our functions take all axes
        return _adapted(name, METHODS[method][ufunc], _reduce, inputs, kwargs)
    op = TABLE.get(ufunc)
    if op is None and not _requires_grad((inputs, kwargs)):
        _told((inputs, kwargs), name)
        return getattr(ufunc, method)(*_on_host(inputs), **_on_host(kwargs))
    if op is None or method not in ("__call__", "outer"):
        raise TypeError(_unsupported(name))
    named = {key: kwargs[key] for key in kwargs.keys() & signature_of(op).parameters.keys()}
    for key, value in kwargs.items():
        if key not in named and key not in _NO_MATTER and not _same(value, _UFUNC.get(key)):
            raise TypeError(_refusal(name, key))
    if method == "outer":
        a, b = ops.joining.operands(name, inputs)
        inputs = ops.reshape(a, (*a.shape, *(1,) * b.ndim)), b
    return op(*inputs, **named)


def _reduce(array: Any, axis: Any, dtype: Any = None, out: Any = None, keepdims: bool = False,
            initial: Any = None, where: Any = True) -> None:  # fmt: skip
    """The signature of ``ufunc.reduce``, which that of ``ufunc.accumulate`` is a part of."""


def from_numpy_function(function: Any, args: Any, kwargs: Any) -> Any:
    """What ``Tensor.__array_function__`` does: the op of the function's name."""
    if function in ON_VALUES:
        if function not in ON_SHAPES:
            _told((args, kwargs), function.__name__)
        args, kwargs = _arrays(args), _arrays(kwargs)
        np = xp(*args, *kwargs.values())
        args = [np.asarray(a) if isinstance(a, list) else a for a in args]  # CuPy takes no lists
        return getattr(np, function.__name__)(*args, **kwargs)
    if function in WRITERS:
        return _write(function, args, kwargs)
    op = TABLE.get(function)
    if op is None and not _requires_grad((args, kwargs)):
        if isinstance(kwargs.get("out"), Variable):
            raise TypeError(f"np.{function.__name__} on a tensor takes no out: tensors are values")
        _told((args, kwargs), function.__name__)
        return function(*_on_host(args), **_on_host(kwargs))  # the values are enough
    if op is None:
        name = name_of(function)
        here = f": ts.{name} gives a new tensor" if name in _WRITES else ""
        raise TypeError(f"{_unsupported(name)}{here}")
    return _adapted(name_of(function), op, _TOLD.get(function, function), args, kwargs)


def _adapted(name: str, op: Any, numpys: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Call ``op`` with what was given to a NumPy function, by that function's signature.

    Arguments of the same name are passed on; arguments that NumPy requires come first in both.
    """
    theirs, ours = signature_of(numpys), signature_of(op).parameters
    try:
        given = theirs.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise TypeError(f"np.{name}: {error}") from None
    call: list[Any] = []
    named: dict[str, Any] = {}
    beyond: dict[str, Any] = {}
    for key, value in given.items():
        parameter, own = theirs.parameters[key], _OTHER_NAME.get(key, key)
        if parameter.kind is parameter.VAR_POSITIONAL:
            call += value
        elif parameter.kind is parameter.VAR_KEYWORD:
            named |= value
        elif parameter.default is parameter.empty and len(call) < len(ours):
            call.append(value)
        elif _same(value, parameter.default) or (
            key in _NO_MATTER and numpys not in _WRITE_UNCOPIED
        ):
            continue
        elif own not in ours:
            beyond[key] = value
        elif ours[own].kind is parameter.POSITIONAL_ONLY:
            call.append(value)
        else:
            named[own] = value
    for key in named.keys() - ours.keys():
        raise TypeError(_refusal(name, key))
    return _beyond(name, op, call, named, **beyond)


def _beyond(name: str, op: Any, call: list[Any], named: dict[str, Any], **beyond: Any) -> Any:
    """Call ``op`` with what NumPy's reductions take and ours do not: dtype, where, initial."""
    initial, mask = beyond.pop("initial", None), beyond.pop("where", None)
    if op in _WIDENED and "dtype" in beyond:
        call[0] = ops.astype(call[0], beyond.pop("dtype"))
    neutral: Any = _IDENTITY.get(op, initial if op in _JOINED else None)
    if mask is not None and neutral is None:
        beyond["where"] = mask
    elif mask is not None:
        call[0] = ops.where(mask, call[0], neutral)
    if initial is not None and op not in _JOINED:
        beyond["initial"] = initial
    for key in beyond:
        raise TypeError(_refusal(name, key))
    y = op(*call, **named)
    return y if initial is None else _JOINED[op](y, initial)


@functools.cache
def signature_of(function: Any) -> inspect.Signature:
    """The parameters of a NumPy function or of one of ours."""
    return inspect.signature(function)


def name_of(function: Any) -> str:
    """What a user calls a NumPy function, after ``np.``."""
    name: str = function.__name__
    if getattr(numpy, name, None) is function:
        return name
    module = getattr(function, "__module__", None) or "numpy.linalg"
    return f"{module.removeprefix('numpy.')}.{name}"


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and bool(value == default))


def _refusal(name: str, key: str) -> str:
    if key == "out":
        return (
            f"np.{name} on a tensor takes no out: its values go into a new one. To update a "
            "parameter: with ts.no_grad(): p.copy_(p - lr * p.grad)"
        )
    return (
        f"np.{name} on a tensor takes no {key}: leave it out, or take the values alone with "
        "t.detach().numpy()"
    )


def _write(function: Any, args: Any, kwargs: Any) -> None:
    """Let NumPy write into a tensor off the graph, and mark it as written."""
    target = args[0] if args else next(iter(kwargs.values()))
    if _requires_grad((args, kwargs)):
        along = "ts.put_along_axis gives a new tensor, as does "
        raise TypeError(
            f"np.{function.__name__} writes in place, and no gradient would pass: "
            f"{along if function is numpy.put_along_axis else 'use '}"
            "x = ts.index_set(x, i, v); for a parameter, p.copy_(v) under no_grad()"
        )
    if isinstance(target, Variable) and backend_of(target._data).name != "numpy":
        raise TypeError(
            f"np.{function.__name__} does not write into the GPU's memory: use t[i] = v"
        )
    _told((args, kwargs), function.__name__)
    function(*_on_host(args), **_on_host(kwargs))
    if isinstance(target, Variable):
        mark_written(target._data)


def _unsupported(name: str) -> str:
    return (
        f"np.{name} has no derivative rule here: take the values alone with t.detach().numpy(), or "
        "define it with @ts.primitive"
    )


def _arrays(value: Any, of: Callable[[Any], Any] = lambda array: array) -> Any:
    """``of`` applied to the array of every tensor, also within lists."""
    return mapped(lambda part: of(part._data) if isinstance(part, Variable) else part, value)


def _told(value: Any, name: str) -> None:
    """Tell observers that the numbers of tensors are read, by a function of NumPy."""
    for part in leaves(value):
        looked(part, f"np.{name}")


def _on_host(value: Any) -> Any:
    """Tensors as NumPy arrays, also within lists."""
    return _arrays(value, on_host)


def _requires_grad(value: Any) -> bool:
    return any(isinstance(part, Variable) and part._requires_grad for part in leaves(value))
