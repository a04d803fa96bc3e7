"""What each operation is called with in the generated tests, one file per family."""

from . import (  # noqa: F401  # fill CASES
    arithmetic,
    choosing,
    products,
    questions,
    reductions,
    scans,
    shapes,
)
from .base import CASES, cases_of

__all__ = ["CASES", "cases_of"]
