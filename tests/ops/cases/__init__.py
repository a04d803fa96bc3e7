"""What each operation is called with in the generated tests, one file per family."""

from . import arithmetic, choosing, products, questions, reductions, shapes  # noqa: F401  # fill CASES
from .base import CASES, cases_of

__all__ = ["CASES", "cases_of"]
