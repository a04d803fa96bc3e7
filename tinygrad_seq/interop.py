"""NumPy's own functions on tensors: ``np.tanh(t)`` is ``ts.tanh(t)``, on the graph.

The table pairs each NumPy function with the function of ``ops`` of the same name. What is not in
it gets NumPy arrays where nothing requires grad, and raises a sentence elsewhere; no NumPy function
ever sees a tensor as an object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from . import ops
from .autograd import Variable
from .backend import backend_of, xp

_SAME_NAME = {
    getattr(numpy, name): getattr(ops, name) for name in ops.__all__ if hasattr(numpy, name)
}
_OTHER_NAME = {
    numpy.linalg.norm: lambda x, ord=None, axis=None, keepdims=False: ops.norm(
        x, 2 if ord is None else ord, axis, keepdims
    ),
    numpy.amax: ops.max,
    numpy.copy: lambda x: x * 1,
    numpy.amin: ops.min,
    numpy.positive: lambda x: x,
    numpy.split: lambda x, parts, axis=0: list(ops.split(x, parts, axis)),
}
_TABLE: dict[Any, Any] = {**_SAME_NAME, **_OTHER_NAME}

# Questions about shape and equality, and constants: the values are enough, no gradient is lost.
_ON_VALUES = frozenset(
    getattr(numpy, name)
    for name in (
        "allclose",
        "empty_like",
        "full_like",
        "ones_like",
        "zeros_like",
        "array_equal",
        "array_equiv",
        "isclose",
        "iscomplexobj",
        "isrealobj",
        "may_share_memory",
        "ndim",
        "result_type",
        "shape",
        "shares_memory",
        "size",
    )
)


def from_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What ``Tensor.__array_ufunc__`` does: the op of the ufunc's name."""
    op = _TABLE.get(ufunc)
    if method != "__call__" or op is None:
        called = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        raise TypeError(_unsupported(called))
    if kwargs:
        raise TypeError(
            f"np.{ufunc.__name__} on a tensor takes no {', '.join(kwargs)}: a tensor is a value, "
            "is not written into"
        )
    return op(*inputs)


def from_numpy_function(function: Any, args: Any, kwargs: Any) -> Any:
    """What ``Tensor.__array_function__`` does: the op of the function's name."""
    if function in _ON_VALUES:
        args, kwargs = _arrays(args), _arrays(kwargs)
        np = xp(*args, *kwargs.values())
        args = [np.asarray(a) if isinstance(a, list) else a for a in args]  # CuPy takes no lists
        return getattr(np, function.__name__)(*args, **kwargs)
    op = _TABLE.get(function)
    if op is None and not _requires_grad((args, kwargs)):
        return function(*_on_host(args), **_on_host(kwargs))  # the values are enough
    if op is None:
        raise TypeError(_unsupported(function.__name__))
    if kwargs.get("out", None) is not None:
        raise TypeError(f"np.{function.__name__} on a tensor takes no out: tensors are values")
    return op(*args, **kwargs)


def _unsupported(name: str) -> str:
    return (
        f"np.{name} has no derivative rule here: take the values alone with t.detach().numpy(), or "
        "define it with @ts.primitive"
    )


def _arrays(value: Any, of: Callable[[Any], Any] = lambda array: array) -> Any:
    """``of`` the array of every tensor, also within lists."""
    if isinstance(value, Variable):
        return of(value._data)
    if isinstance(value, (list, tuple)):
        return type(value)(_arrays(v, of) for v in value)
    if isinstance(value, dict):
        return {name: _arrays(v, of) for name, v in value.items()}
    return value


def _on_host(value: Any) -> Any:
    """Tensors as NumPy arrays, also within lists."""
    return _arrays(value, lambda array: backend_of(array).to_host(array))


def _requires_grad(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_requires_grad, value))
    if isinstance(value, dict):
        return any(map(_requires_grad, value.values()))
    return isinstance(value, Variable) and value._requires_grad
