"""Imports Hypothesis, or says how to install it."""

from __future__ import annotations

try:
    from hypothesis import HealthCheck, given
    from hypothesis import settings as Settings
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:
    raise ImportError(
        "The strategies and properties of tinygrad_seq.testing draw their cases with Hypothesis: "
        "pip install 'tinygrad-seq[testing]', or pip install -e '.[testing]' in a clone. The "
        "oracles and gradcheck work without it."
    ) from error

__all__ = ["HealthCheck", "Settings", "given", "hnp", "st"]
