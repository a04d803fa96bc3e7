"""Layer 5: modules, layers, recurrent cells, initialisers and losses."""

# isort: off
from ..hints import NN
from ..messages import publish
from ..recurrence import unrolled
from . import init
from .activation import ReLU, Sigmoid, Tanh
from .attention import AdditiveAttention, Attention, BilinearAttention, DotAttention
from .container import Identity, ModuleDict, ModuleList, Sequential
from .ctc import CTCLoss, ctc_loss
from .dropout import Dropout
from .embedding import Embedding
from .linear import Linear
from .linear_cells import LinearCell, LRUCell, MinGRUCell, MinLSTMCell, RGLRUCell
from .linear_layers import LRU, RGLRU, LinearLayer, MinGRU, MinLSTM
from .losses import (
    BCEWithLogitsLoss, CrossEntropyLoss, NLLLoss, bce_with_logits, cross_entropy, nll_loss,
)  # fmt: skip
from .module import LoadReport, Module
from .norm import LayerNorm
from .parameter import Buffer, Parameter
from .recurrent import (
    GRU, LSTM, RNN, Bidirectional, Cell, CoupledLSTMCell, Derivation, GRUCell, InitialState,
    LayerNormGRUCell, LayerNormLSTMCell, LayerNormRNNCell, LeakyCell, LSTMCell, MGUCell,
    PeepholeLSTMCell, Recurrent, RNNCell, SLSTMCell, SRUCell, Stacked, VariationalDropout,
    WeightDrop, WeightNorm, Zoneout, derivation,
)  # fmt: skip
from .regression import (
    GaussianNLLLoss, HuberLoss, L1Loss, MSELoss, PoissonNLLLoss, QuantileLoss, gaussian_nll_loss,
    huber_loss, l1_loss, mse_loss, poisson_nll_loss, quantile_loss,
)  # fmt: skip

__all__ = [
    "GRU", "LRU", "LSTM", "RGLRU", "RNN", "AdditiveAttention", "Attention", "BCEWithLogitsLoss",
    "Bidirectional", "BilinearAttention", "Buffer", "CTCLoss", "Cell", "CoupledLSTMCell",
    "CrossEntropyLoss", "Derivation", "DotAttention", "Dropout", "Embedding", "GRUCell",
    "GaussianNLLLoss", "HuberLoss", "Identity", "InitialState", "L1Loss", "LRUCell", "LSTMCell",
    "LayerNorm", "LayerNormGRUCell", "LayerNormLSTMCell", "LayerNormRNNCell", "LeakyCell", "Linear",
    "LinearCell", "LinearLayer", "LoadReport", "MGUCell", "MSELoss", "MinGRU", "MinGRUCell",
    "MinLSTM", "MinLSTMCell", "Module", "ModuleDict", "ModuleList", "NLLLoss", "Parameter",
    "PeepholeLSTMCell", "PoissonNLLLoss", "QuantileLoss", "RGLRUCell", "RNNCell", "ReLU",
    "Recurrent", "SLSTMCell", "SRUCell", "Sequential", "Sigmoid", "Stacked", "Tanh",
    "VariationalDropout", "WeightDrop", "WeightNorm", "Zoneout", "bce_with_logits", "cross_entropy",
    "ctc_loss", "derivation", "gaussian_nll_loss", "huber_loss", "init", "l1_loss", "mse_loss",
    "nll_loss", "poisson_nll_loss", "quantile_loss", "unrolled",
]  # fmt: skip

publish(__name__, NN)
