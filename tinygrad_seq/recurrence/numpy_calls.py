"""How a map is written as a call of NumPy."""

from __future__ import annotations

import functools
from typing import Any

import numpy

from .. import ops
from .program import SAME

TEMPLATES: dict[Any, str] = {
    SAME: "copyto({out}, {0})",
    ops.relu: "maximum({0}, 0, out={out})",
    ops.maximum: "maximum({0}, {1}, out={out})",
    ops.minimum: "minimum({0}, {1}, out={out})",
    ops.where: "copyto({out}, {2}); copyto({out}, {1}, where={0})",
    ops.tanh: "tanh({0}, {out})",
    ops.absolute: "absolute({0}, {out})",
    ops.arithmetic.product: "product({0}, {1}, {out})",
    ops.arithmetic.quotient: "quotient({0}, {1}, {out})",
}
"""How a map is written, beside the ufuncs of NumPy that have the names of primitives."""

EXACT = (ops.arithmetic.product, ops.arithmetic.quotient)
"""Maps that read their operands again after the result was written."""

NAMES = [
    "add", "subtract", "multiply", "divide", "negative", "exp", "log", "sqrt", "square", "sin",
    "cos", "expm1", "log1p", "greater", "less", "greater_equal", "less_equal", "equal",
    "not_equal", "sign", "floor", "ceil",
]  # fmt: skip
TEMPLATES |= {
    getattr(ops, name): name + ("({0}, {out})" if numpy_ufunc.nin == 1 else "({0}, {1}, {out})")
    for name in NAMES
    if isinstance(numpy_ufunc := getattr(numpy, name), numpy.ufunc)
}
CALLS = [*NAMES, "maximum", "minimum", "copyto", "tanh", "absolute", "dot", "matmul", "where"]


def space_of(np: Any) -> dict[str, Any]:
    """The functions that a loop calls, of an array library."""
    product, quotient = ops.arithmetic.product.forward, ops.arithmetic.quotient.forward
    found: dict[str, Any] = {name: getattr(np, name) for name in CALLS}
    found["rows_dot"] = functools.partial(_rows_dot, np)
    found["row_max"] = lambda x, out=None: x.max(-1, out, True)
    if np is not numpy:
        return found | {
            "product": lambda a, b, out: np.copyto(out, product(a, b)),
            "quotient": lambda a, b, out: np.copyto(out, quotient(a, b)),
            "outer": np.multiply,
            "row_sum": lambda x, count, out=None: np.divide(x.sum(-1, keepdims=True), count, out),
        }
    return found | {
        "product": functools.partial(_unless_nan, numpy.multiply, product),
        "quotient": functools.partial(_unless_nan, numpy.true_divide, quotient),
        "outer": _outer,
        "row_sum": _row_sum,
    }


def _unless_nan(plain: Any, exact: Any, a: Any, b: Any, out: Any) -> None:
    """``plain`` into an array; ``exact``, which differs where that gives NaN, if it does."""
    with numpy.errstate(all="ignore"):
        plain(a, b, out)
        flat = out.reshape(-1)
        squares = flat.dot(flat)  # NaN if one is: the quickest that NumPy has
        if squares != squares:
            numpy.copyto(out, exact(a, b))


@functools.cache
def _column(size: int, dtype: Any, value: float) -> Any:
    return numpy.full((size, 1), value, dtype)


def _row_sum(x: Any, count: int, out: Any = None) -> Any:
    """Sums over rows ÷ ``count``, as products with a vector: quicker than ``add.reduce``."""
    return numpy.matmul(x, _column(x.shape[-1], x.dtype, 1 / count), out)


def vector_sum(x: Any, axis: int, keepdims: bool) -> Any:
    """Sums over the last axis or the one before, as products with ones."""
    if type(x) is not numpy.ndarray or x.dtype.kind != "f":
        return x.sum(axis, keepdims=keepdims)
    ones = _column(x.shape[axis], x.dtype, 1)
    y = numpy.matmul(x, ones) if axis == x.ndim - 1 else numpy.matmul(ones.T, x)
    return y if keepdims else y.squeeze(axis)


def _rows_dot(np: Any, a: Any, w: Any, out: Any) -> None:
    """A product of rows of several axes, as one of all rows where they lie one after the other."""
    if a.flags.c_contiguous and out.flags.c_contiguous:
        np.matmul(a.reshape(-1, a.shape[-1]), w, out=out.reshape(*w.shape[:-2], -1, w.shape[-1]))
    else:
        blocks = w.reshape(*w.shape[:-2], *(1,) * (a.ndim - 2), *w.shape[-2:])
        np.matmul(a, w if w.ndim == 2 else blocks, out=out)


def _outer(numbers: Any, row: Any, out: Any) -> None:
    """A product of numbers ``(..., 1)`` by one row, by BLAS: NumPy's loops are as short as rows."""
    if out.flags.c_contiguous and numbers.dtype == row.dtype == out.dtype:
        numpy.dot(numbers.reshape(-1, 1), row.reshape(1, -1), out.reshape(-1, row.size))
    else:
        numpy.multiply(numbers, row, out)
