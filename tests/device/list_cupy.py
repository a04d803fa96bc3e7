"""Write what CuPy has, from the wheel that is installed: names, and the keywords of each.

    pip install 'cupy-cuda12x==14.*' && python tests/device/list_cupy.py

It imports without a driver or a GPU. The list, ``cupy_names.json`` beside this file, is what the
strict fake device lets through.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any


def parameters(function: Any) -> list[str] | None:
    """Names of the parameters, ``*`` for any number; None where nothing tells."""
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        first = (function.__doc__ or "").partition("\n")[0]
        found = re.search(r"\w\(([^)]*)\)", first)  # what Cython leaves of a signature
        if found is None:
            return None
        names = (part.partition("=")[0].split(" ")[-1] for part in found[1].split(", "))
        return [name for name in names if name not in ("self", "", "/", "*")]
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return ["*" if p.kind in kinds else p.name for p in given if p.name != "self"]


def main() -> None:
    """Look through the namespace and the array type."""
    import cupy

    functions, ufuncs, values = {}, {}, []
    for name in sorted(vars(cupy)):
        value = getattr(cupy, name)
        if name.startswith("_") or inspect.ismodule(value):
            continue
        if isinstance(value, cupy.ufunc):
            ufuncs[name] = value.nin
        elif callable(value) and not isinstance(value, type):
            functions[name] = parameters(value)
        else:
            values.append(name)
    methods, attributes = {}, []
    for name in dir(cupy.ndarray):
        value = getattr(cupy.ndarray, name)
        if name.startswith("_") and not name.startswith("__"):
            continue
        if callable(value):
            methods[name] = parameters(value)
        else:
            attributes.append(name)
    found = {
        "version": cupy.__version__,
        "functions": functions,
        "ufuncs": ufuncs,
        "ufunc_methods": {"reduce": parameters(cupy.add.reduce), "at": parameters(cupy.add.at)},
        "values": values,
        "methods": methods,
        "attributes": attributes,
        "kernel": parameters(cupy.ElementwiseKernel),
        "reduction": parameters(cupy.ReductionKernel),
    }
    path = Path(__file__).with_name("cupy_names.json")
    path.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
    print(f"{path}: {len(functions)} functions, {len(ufuncs)} ufuncs, {len(methods)} methods")


if __name__ == "__main__":
    main()
