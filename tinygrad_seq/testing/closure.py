"""What a function closes over instead of taking as an argument: a check cannot convert it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..nn import Module
from ..tensor import Tensor


def closed_over(f: Callable[..., Any], dtype: Any) -> list[tuple[str, Any]]:
    """Names and values of Modules, Tensors and arrays that f reads from outside, not in dtype."""
    try:
        variables = inspect.getclosurevars(inspect.unwrap(f))
    except (TypeError, ValueError):
        return []
    outside = {**variables.globals, **variables.nonlocals}
    return [(name, value) for name, value in outside.items() if _differs(value, np.dtype(dtype))]


def advice(f: Callable[..., Any], dtype: Any) -> str:
    """A sentence on what f closes over in another dtype, and on what to do; empty if nothing."""
    found = closed_over(f, dtype)
    if not found:
        return ""
    names = " and ".join(f"`{name}`" for name, _ in found)
    name, value = found[0]
    verb = "is" if len(found) == 1 else "are"
    text = (
        f"{names} {verb} closed over, and a check can neither convert nor differentiate what is "
        f"not an argument: pass {name}={name} as an argument of the function"
    )
    return f"{text} (a Module's parameters are inputs too)" if isinstance(value, Module) else text


def _differs(value: Any, dtype: np.dtype[Any]) -> bool:
    if isinstance(value, Module):
        return any(parameter.dtype != dtype for parameter in value.parameters())
    if isinstance(value, Tensor | np.ndarray):
        return bool(value.dtype.kind == "f" and value.dtype != dtype)
    return False
