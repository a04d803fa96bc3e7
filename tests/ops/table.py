"""The operations under test: every primitive of the op table, and what is composed of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tinygrad_seq import ops
from tinygrad_seq.autograd import PRIMITIVES, Primitive

OWN: dict[str, Primitive] = {
    name: p
    for name, p in sorted(PRIMITIVES.items())
    if p.forward.__module__.startswith("tinygrad_seq.")
}
DIFFERENTIABLE = {name: p for name, p in OWN.items() if p.rules}
QUESTIONS = {name: p for name, p in OWN.items() if not p.rules}

# Composed functions whose arguments are not in the order (arrays, parameters).
ADAPTED: dict[str, Callable[..., Any]] = {
    "einsum": lambda *xs, subscripts: ops.einsum(subscripts, *xs),
    "hstack": lambda *xs: ops.hstack(xs),
    "vstack": lambda *xs: ops.vstack(xs),
    "index_add": lambda x, v, index: ops.index_add(x, index, v),
    "index_set": lambda x, v, index: ops.index_set(x, index, v),
    "average": lambda x, *w, axis, keepdims: ops.average(x, axis, *w, keepdims=keepdims),
    "block": lambda a, b, c, d: ops.block([[a, b], [c, d]]),
    "column_stack": lambda *xs: ops.column_stack(xs),
    "dstack": lambda *xs: ops.dstack(xs),
    "linalg.multi_dot": lambda *xs: ops.linalg.multi_dot(xs),
    "put_along_axis": lambda x, v, indices, axis: ops.put_along_axis(x, indices, v, axis),
    "select": lambda a, b, c, condlist: ops.select(condlist, [a, b], c),
    "topk": lambda x, k, axis: ops.topk(x, k, axis)[0],
}

COMPOSED: dict[str, Callable[..., Any]] = {
    name: ADAPTED.get(name, getattr(ops, name))
    for name in ops.__all__
    if not isinstance(getattr(ops, name), Primitive) and name != "one_hot"  # it has no gradient
}
COMPOSED |= {
    f"linalg.{name}": ADAPTED.get(f"linalg.{name}", getattr(ops.linalg, name))
    for name in ops.linalg.__all__
    if getattr(ops.linalg, name) not in OWN.values()
    and getattr(ops, name, 0) is not getattr(ops.linalg, name)
}

FUNCTIONS: dict[str, Callable[..., Any]] = {**DIFFERENTIABLE, **COMPOSED}


DECOMPOSED = {"cholesky", "cofactors", "det", "inv", "slogdet", "solve", "svd"}
DECOMPOSED |= {f"linalg.{name}" for name in ("matrix_norm", "matrix_power", "norm", "svdvals")}
"""What NumPy's linear algebra computes, which the fake device does not have."""


def host_only(name: str) -> Any:
    """The name as a parameter, marked where the fake device lacks what it calls."""
    marks = [pytest.mark.host("the fake device has no linear algebra")] * (name in DECOMPOSED)
    return pytest.param(name, marks=marks)


def bound(name: str, kwargs: dict[str, Any]) -> Callable[..., Any]:
    """The operation as a function of its arrays alone, under its own name."""
    f = FUNCTIONS[name] if name in FUNCTIONS else OWN[name]
    variadic = isinstance(f, Primitive) and f.variadic

    def call(*args: Any) -> Any:
        return f(args, **kwargs) if variadic else f(*args, **kwargs)

    call.__name__ = name
    return call
