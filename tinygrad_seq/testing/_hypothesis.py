"""Hypothesis, or a sentence that says how to get it; only what draws needs it."""

from __future__ import annotations

try:
    from hypothesis import HealthCheck, given
    from hypothesis import settings as Settings
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:
    raise ImportError(
        "The strategies and properties of tinygrad_seq.testing draw their cases with Hypothesis: "
        "pip install 'tinygrad-seq[test]', or pip install -e '.[test]' in a checkout. The oracles "
        "and gradcheck work without it."
    ) from error

__all__ = ["HealthCheck", "Settings", "given", "hnp", "st"]
