"""Floor 4: modules, layers, recurrent cells, initialisers and losses."""

from . import init
from .activation import ReLU, Sigmoid, Tanh
from .attention import AdditiveAttention, Attention, BilinearAttention, DotAttention
from .cell import Cell
from .cells import GRUCell, LSTMCell, RNNCell
from .container import ModuleList, Sequential
from .dropout import Dropout
from .embedding import Embedding
from .layers import GRU, LSTM, RNN
from .learned import InitialState
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
from .normalised import LayerNormGRUCell, LayerNormLSTMCell, LayerNormRNNCell
from .recurrent import Bidirectional, Recurrent, unrolled
from .stacked import Stacked
from .variants import CoupledLSTMCell, LeakyCell, PeepholeLSTMCell
from .wrappers import VariationalDropout, Zoneout

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdditiveAttention",
    "Attention",
    "BCEWithLogitsLoss",
    "Bidirectional",
    "BilinearAttention",
    "Cell",
    "CoupledLSTMCell",
    "CrossEntropyLoss",
    "DotAttention",
    "Dropout",
    "Embedding",
    "GRUCell",
    "InitialState",
    "LSTMCell",
    "LayerNorm",
    "LayerNormGRUCell",
    "LayerNormLSTMCell",
    "LayerNormRNNCell",
    "LeakyCell",
    "Linear",
    "LoadReport",
    "MSELoss",
    "Module",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "PeepholeLSTMCell",
    "RNNCell",
    "ReLU",
    "Recurrent",
    "Sequential",
    "Sigmoid",
    "Stacked",
    "Tanh",
    "VariationalDropout",
    "Zoneout",
    "bce_with_logits",
    "cross_entropy",
    "init",
    "mse_loss",
    "nll_loss",
    "unrolled",
]
