"""Hidden Markov recursions: hidden values behind what is observed, in logs throughout.

:class:`Chain` computes with three tables from any source: log P(h_1), log P(h_{t+1} | h_t) and the
log-likelihoods log P(x_t | h_t).
:class:`HMM` has the tables as parameters, with symbols as observations, and
:class:`GaussianHMM` with numbers.
"""

from .chain import Chain
from .gaussian import GaussianHMM
from .model import HMM

__all__ = ["HMM", "Chain", "GaussianHMM"]
