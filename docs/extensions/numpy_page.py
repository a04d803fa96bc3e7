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
`np.tanh(t)` is `ts.tanh(t)`: NumPy hands its functions to a tensor, which answers with its own. A
call is read by NumPy's signature. What a function of ours does not know is refused in a sentence,
unless it is NumPy's default.
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
without `np.`). It is made by `docs/extensions/numpy_page.py`, and a test holds it to the truth.
"""

SECTIONS = {
    "differentiable": """
The result is on the graph. A name of its own here (`ts.tanh`, `ts.linalg.inv`) has the signature of
its docstring. These differ from NumPy: `linalg.svd` is compact (`full_matrices=False`) where the
matrix is not square, `linalg.cholesky` takes the symmetric part of its matrix,
`lib.stride_tricks.sliding_window_view` gives a copy, and `ts.put_along_axis` gives a new tensor
where NumPy's writes.
""",
    "values only": """
The answer has no derivative (booleans, positions, shapes, constants). Tensors that require grad may
be asked.
""",
    "refused": """
Where nothing requires grad they compute with the values and give arrays. A tensor that requires
grad raises `np.NAME has no derivative rule here: take the values alone with t.detach().numpy(), or
define it with @ts.primitive`.
""",
    "not asked": """
NumPy does not hand these to a tensor: they make arrays, read files, or speak of dtypes and
settings. Where they take an array, a tensor that requires grad raises `this tensor requires grad,
and an array would leave the graph`.
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
    asked = isinstance(function, np.ufunc) or hasattr(function, "_implementation")
    return "refused" if asked else "not asked"


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
