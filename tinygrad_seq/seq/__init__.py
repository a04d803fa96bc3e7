"""Layer 6: gradients through time, hidden Markov models, generation of sequences."""

# isort: off
from ..hints import SEQ
from ..messages import publish
from . import hmm
from .beam import Hypothesis, beam_search, select
from .bptt import bptt
from .constraints import at_least, no_repeats
from .context import ContextState, at_each_step
from .ctc import ctc_beam_search, ctc_greedy
from .encoder_decoder import EncoderDecoder
from .feedback import FeedbackCell, teacher_forcing
from .generation import (
    after, coin, end_symbol, generate, greedy, sample, temperature, top_k, top_p, written,
)  # fmt: skip
from .rtrl import RTRL
from .truncation import Full, Randomised, Truncated

__all__ = [
    "RTRL", "ContextState", "EncoderDecoder", "FeedbackCell", "Full", "Hypothesis", "Randomised",
    "Truncated", "after", "at_each_step", "at_least", "beam_search", "bptt", "coin",
    "ctc_beam_search", "ctc_greedy", "end_symbol", "generate", "greedy", "hmm", "no_repeats",
    "sample", "select", "teacher_forcing", "temperature", "top_k", "top_p", "written",
]  # fmt: skip

publish(__name__, SEQ)
