"""Floor 4: modules, layers, recurrent cells, initialisers and losses."""

from . import init
from .activation import ReLU, Sigmoid, Tanh
from .cells import Cell, GRUCell, LSTMCell, RNNCell
from .container import ModuleList, Sequential
from .dropout import Dropout
from .embedding import Embedding
from .layers import GRU, LSTM, RNN
from .linear import Linear
from .losses import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    MSELoss,
    NLLLoss,
    bce_with_logits,
    cross_entropy,
    mse_loss,
    nll_loss,
)
from .module import LoadReport, Module, Parameter
from .norm import LayerNorm
from .recurrent import Bidirectional, Recurrent, unrolled

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "BCEWithLogitsLoss",
    "Bidirectional",
    "Cell",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "LoadReport",
    "MSELoss",
    "Module",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "RNNCell",
    "ReLU",
    "Recurrent",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "bce_with_logits",
    "cross_entropy",
    "init",
    "mse_loss",
    "nll_loss",
    "unrolled",
]
