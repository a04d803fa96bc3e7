"""Write docs/numpy.md: what each function of NumPy does with a tensor.

    python docs/extensions/numpy_page.py > docs/numpy.md

The statuses are read off the tables of ``tinygrad_seq.interop``; a test compares the page.
"""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import numpy as np

from tinygrad_seq.autograd import Primitive
from tinygrad_seq.interop import METHODS, ON_VALUES, TABLE

INTRODUCTION = """
`np.tanh(t)` calls `ts.tanh(t)`: NumPy passes a call with a tensor on to the tensor. The arguments
follow NumPy's signature. An argument that our function does not have raises an error, unless it has
NumPy's default value.
"""
EXAMPLE = """```python
>>> import numpy as np
>>> import tinygrad_seq as ts
>>> t = ts.tensor([[3.0, 0.0], [0.0, 4.0]], requires_grad=True)
>>> np.linalg.norm(t, 2).item(), np.prod(t, 0, np.float64).dtype
(4.0, dtype('float64'))
>>> np.mean(t, where=[True, False])  # doctest: +ELLIPSIS
Traceback (most recent call last):
TypeError: np.mean on a tensor takes no where: leave it out, or take the values alone with ...

```"""
CONTENTS = """
This page lists every function of the main namespace of NumPy {version} and of `np.linalg` (names
without `np.`). `docs/extensions/numpy_page.py` writes it, and a test compares it with the library.
"""

SECTIONS = {
    "differentiable": """
The result is recorded. Our own functions (`ts.tanh`, `ts.linalg.inv`) have the signature in their
docstring. These differ from NumPy: `linalg.svd` is compact (`full_matrices=False`) for a matrix
that is not square, `linalg.cholesky` takes the symmetric part of its matrix,
`lib.stride_tricks.sliding_window_view` returns a copy, and `ts.put_along_axis` returns a new tensor
instead of writing.
""",
    "values only": """
The result has no derivative (booleans, positions, shapes, constants). The argument may require
grad.
""",
    "refused": """
If no argument requires grad, these compute with the values and return arrays. A tensor that
requires grad raises `np.NAME has no derivative rule here: take the values alone with
t.detach().numpy(), or define it with @ts.primitive`.
""",
    "not dispatched": """
NumPy does not pass these calls on to a tensor: the functions make arrays, read files, or concern
dtypes and settings. If they take an array, a tensor that requires grad raises `this tensor requires
grad, and an array would leave the graph`.
""",
}


def filled(words: str) -> str:
    """A paragraph in the width of the pages."""
    return textwrap.fill(" ".join(words.split()), 130, break_on_hyphens=False)


def functions() -> dict[str, Any]:
    """Every function by the name after ``np.``."""
    found = {}
    for space, before in ((np, ""), (np.linalg, "linalg.")):
        for name in dir(space):
            value = getattr(space, name)
            if callable(value) and not name.startswith("_") and not inspect.isclass(value):
                found[before + name] = value
    return found


def status(function: Any) -> str:
    """One of the sections."""
    op = TABLE.get(function)
    if op is not None:
        return "values only" if isinstance(op, Primitive) and not op.rules else "differentiable"
    if function in ON_VALUES:
        return "values only"
    dispatched = isinstance(function, np.ufunc) or hasattr(function, "_implementation")
    return "refused" if dispatched else "not dispatched"


def page() -> str:
    """The whole page."""
    version = ".".join(np.__version__.split(".")[:2])
    contents = filled(CONTENTS.replace("{version}", version))
    parts = ["# NumPy's functions on tensors", filled(INTRODUCTION), EXAMPLE, contents]
    for section, words in SECTIONS.items():
        names = [f"`{name}`" for name, f in functions().items() if status(f) == section]
        parts += [f"## {section.capitalize()}", filled(words), filled(", ".join(names) + ".")]
    told = [
        f"`{method}` of {', '.join(f'`{ufunc.__name__}`' for ufunc in table)}"
        for method, table in METHODS.items()
    ]
    outer = "`outer` of every ufunc of two arguments"
    parts += ["## Methods of ufuncs", filled(f"{'; '.join(told)}; {outer}.")]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
