"""Check gradients: of this library's operations, and of your own.

    @gradient_property(x=arrays((3, 4)), w=arrays((4, 2)))
    def test_my_op(x, w):
        return my_op(x, w)

| need                                         | use                                           |
|----------------------------------------------|-----------------------------------------------|
| check one function at one point              | `gradcheck`, `gradgradcheck`, `check_float32` |
| a gradient that knows nothing of the rules   | `central_differences`, `complex_step`         |
| a property test over drawn inputs            | `gradient_property`                           |
| draw arrays, shapes, axes, indices, lengths  | `arrays`, `shapes`, `axes`, `indices`, ...    |
| see whether tests would notice a wrong rule  | `mutation_report`, `mutants`                  |

Drawing needs Hypothesis (`pip install hypothesis`); the rest needs NumPy alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .gradcheck import check_float32, gradcheck, gradgradcheck
from .mutations import Case, Mutant, MutationReport, mutants, mutation_report
from .oracles import central_differences, complex_step
from .report import GradientError

if TYPE_CHECKING:
    from .property import gradient_property

    # isort: off
    from .strategies import (
        arrays, axes, basic_indices, broadcastable_shapes, floats, indices, integer_arrays, lengths,
        masks, mixed_indices, modules, shapes, slices, views,
    )  # fmt: skip

__all__ = [
    "Case", "GradientError", "Mutant", "MutationReport", "arrays", "axes", "basic_indices",
    "broadcastable_shapes", "central_differences", "check_float32", "complex_step", "floats",
    "gradcheck", "gradgradcheck", "gradient_property", "indices", "integer_arrays", "lengths",
    "masks", "mixed_indices", "modules", "mutants", "mutation_report", "shapes", "slices", "views",
]  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """What needs Hypothesis is imported when it is asked for."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = "property" if name == "gradient_property" else "strategies"
        try:
            return getattr(importlib.import_module(f".{module}", __name__), name)
        except ModuleNotFoundError as error:
            raise ImportError(
                "The strategies and properties of tinygrad_seq.testing draw their cases with "
                "Hypothesis: pip install hypothesis. The oracles and gradcheck work without it."
            ) from error
