"""Recurrent nets: cells, wrappers around them, and layers that apply them along time."""

from .cell import Cell
from .cells import GRUCell, LSTMCell, RNNCell
from .derivation import Derivation, derivation
from .layers import GRU, LSTM, RNN
from .learned import InitialState
from .normalised import LayerNormGRUCell, LayerNormLSTMCell, LayerNormRNNCell
from .plain import MGUCell, SLSTMCell, SRUCell
from .recurrent import Bidirectional, Recurrent
from .reweighted import WeightDrop, WeightNorm
from .stacked import Stacked
from .variants import CoupledLSTMCell, LeakyCell, PeepholeLSTMCell
from .wrappers import VariationalDropout, Zoneout

__all__ = [
    "GRU", "LSTM", "RNN", "Bidirectional", "Cell", "CoupledLSTMCell", "Derivation", "GRUCell",
    "InitialState", "LSTMCell", "LayerNormGRUCell", "LayerNormLSTMCell", "LayerNormRNNCell",
    "LeakyCell", "MGUCell", "PeepholeLSTMCell", "RNNCell", "Recurrent", "SLSTMCell", "SRUCell",
    "Stacked", "VariationalDropout", "WeightDrop", "WeightNorm", "Zoneout", "derivation",
]  # fmt: skip
