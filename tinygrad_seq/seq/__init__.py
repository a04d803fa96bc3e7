"""Floor 5: sequence modelling on top of the cells: how a gradient goes back through time."""

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
    "teacher_forcing",
]
