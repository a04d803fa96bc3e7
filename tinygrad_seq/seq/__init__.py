"""Layer 6: gradients through time, hidden Markov models, generation of sequences."""

from typing import TYPE_CHECKING

from ..hints import SEQ
from ..messages import unknown_in
from . import hmm
from .beam import Hypothesis, beam_search, select
from .bptt import bptt
from .constraints import at_least, no_repeats
from .context import ContextState, at_each_step
from .ctc import ctc_beam_search, ctc_greedy
from .encoder_decoder import EncoderDecoder
from .feedback import FeedbackCell, teacher_forcing
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
from .rtrl import RTRL
from .truncation import Full, Randomised, Truncated

if not TYPE_CHECKING:  # type checkers report unknown names themselves
    __getattr__ = unknown_in(__name__, SEQ, lambda: __all__)

__all__ = [
    "RTRL",
    "ContextState",
    "EncoderDecoder",
    "FeedbackCell",
    "Full",
    "Hypothesis",
    "Randomised",
    "Truncated",
    "after",
    "at_each_step",
    "at_least",
    "beam_search",
    "bptt",
    "coin",
    "ctc_beam_search",
    "ctc_greedy",
    "end_symbol",
    "generate",
    "greedy",
    "hmm",
    "no_repeats",
    "sample",
    "select",
    "teacher_forcing",
    "temperature",
    "top_k",
    "top_p",
    "written",
]

__dir__ = __all__.copy  # what dir() and an editor list: the API alone
