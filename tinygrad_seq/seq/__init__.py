"""Floor 5: sequence modelling, from the hidden Markov model on."""

from . import hmm

__all__ = ["hmm"]
