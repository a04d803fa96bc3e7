"""What each operation is called with in the generated tests, one file per family."""

from . import (  # noqa: F401  # fill CASES
    algebra,
    arithmetic,
    choosing,
    joining,
    products,
    questions,
    reductions,
    running,
    scans,
    shapes,
)
from .base import CASES, cases_of

__all__ = ["CASES", "cases_of"]
