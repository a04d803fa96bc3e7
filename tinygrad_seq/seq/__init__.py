"""Floor 5: sequence modelling: writing sequences, and reading one to write another."""

from .beam import Hypothesis, beam_search, select
from .context import ContextState, at_each_step
from .encoder_decoder import EncoderDecoder
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
    "ContextState",
    "EncoderDecoder",
    "Hypothesis",
    "after",
    "at_each_step",
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
