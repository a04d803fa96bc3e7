"""Floor 5: what is done with sequences: gradients through time, hidden Markov sums, writing."""

from . import hmm
from .bptt import bptt
from .feedback import FeedbackCell, teacher_forcing
from .rtrl import RTRL
from .truncation import Full, Randomised, Truncated

__all__ = [
    "RTRL",
    "FeedbackCell",
    "Full",
    "Randomised",
    "Truncated",
    "bptt",
    "hmm",
    "teacher_forcing",
]
