"""Floor 5: sequence modelling: writing sequences, and reading one to write another."""

from .beam import Hypothesis, beam_search, select
from .generation import (
    after,
    coin,
    end_symbol,
    generate,
    greedy,
    sample,
    temperature,
    top_k,
    top_p,
    written,
)

__all__ = [
    "Hypothesis",
    "after",
    "beam_search",
    "coin",
    "end_symbol",
    "generate",
    "greedy",
    "sample",
    "select",
    "temperature",
    "top_k",
    "top_p",
    "written",
]
