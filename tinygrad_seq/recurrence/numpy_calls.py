"""How a map is written as a call of NumPy."""

from __future__ import annotations

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
}
"""How a map is written, beside the ufuncs of NumPy that have the names of primitives."""

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
